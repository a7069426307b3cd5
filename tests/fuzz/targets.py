"""What is fuzzed: bytes that strangers send us. A step raises when a promise is broken.

`sip`: one SIP message, as a datagram and over a stream, in one piece and in two. `document`: one presence
body of any format, with everything that is made of it. `validation`: what people are told of a document
that does not fit its schema; a target of its own, because it is slow and no peer can ask for it. A refusal
by one of our own errors is a good answer. A target is several steps, and each has to be done in time.
"""

import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from sipbridge.cli.decode import decode
from sipbridge.cli.inspect import inspect_bytes
from sipbridge.errors import DocumentError, InvalidValue, SipBridgeError
from sipbridge.mapping import bems, webex
from sipbridge.mapping.attributes import list_from_json, list_to_json
from sipbridge.mapping.ocsg import to_attributes, to_document
from sipbridge.presence import common_policy, pidf, pidf_diff, simple_filter
from sipbridge.presence.model import Presence
from sipbridge.presence.narrowing import narrowed, triggered
from sipbridge.presence.reading import read
from sipbridge.presence.schema import is_valid, validate
from sipbridge.sip.message import Request, Response
from sipbridge.sip.parser import (
    DEFAULT_LIMITS,
    KeepAlive,
    MessageError,
    StreamParser,
    parse_datagram,
)

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
PRESENTITY = "sip:alice@example.com"
MAX_VALIDATED = 8 * 1024
ROOMIER = replace(DEFAULT_LIMITS, headers=DEFAULT_LIMITS.headers + 1)
"""For what we print: Content-Length is always there, and may be one line more than the most that came."""


def datagram(data: bytes) -> None:
    """Read, judge, print and read again."""
    json.dumps(decode(data))
    try:
        message = parse_datagram(data)
    except MessageError:
        return
    if isinstance(message, Request | Response):
        printed = bytes(message)
        again = parse_datagram(printed, ROOMIER)
        assert not isinstance(again, KeepAlive)
        assert bytes(again) == printed, "what was printed reads as something else"


def stream(data: bytes) -> None:
    """A stream says the same however it is cut."""
    whole = StreamParser()
    found = [seen(one) for one in whole.feed(data)]
    cut = len(data) // 2
    halves = StreamParser()
    cut_found = [seen(one) for part in (data[:cut], data[cut:]) for one in halves.feed(part)]
    assert cut_found == found, "a stream in two pieces says something else"


def seen(one: Request | Response | KeepAlive | MessageError) -> str:
    return str(one) if isinstance(one, KeepAlive | MessageError) else repr(bytes(one))


def inspection(data: bytes) -> None:
    """Whatever it is, it can be told as JSON."""
    status, facts = inspect_bytes(data)
    json.dumps(facts, default=str)
    assert status == 1 or "error" not in facts


def validation(data: bytes) -> None:
    """For people, who validate documents of a size that people read."""
    if len(data) <= MAX_VALIDATED:
        validate(data)


def policy(data: bytes) -> None:
    """Presence rules, as clients upload them."""
    with contextlib.suppress(SipBridgeError):
        common_policy.parse(data)


def reading(data: bytes) -> None:
    """Read it as whatever it is; map and print presence."""
    try:
        found = read(data)
    except SipBridgeError:
        return
    if isinstance(found, Presence):
        presence(found)


def presence(found: Presence) -> None:
    """Print and read again; map to every vocabulary and back."""
    printed = pidf.serialise(found)
    try:
        again = pidf.parse(printed)
    except DocumentError as error:
        raise AssertionError(f"what we print we do not read: {error}") from error
    assert pidf.serialise(again) == printed, "printing is not stable"
    webex.derive(found, at=AT)
    bems.derive(found, at=AT)
    mapped = list_to_json(to_attributes(found, at=AT, presentity=PRESENTITY).attributes)
    try:
        attributes = list_from_json(json.loads(json.dumps(mapped)))
    except InvalidValue:
        return  # shown as it is, and longer, or less of a URI, than what may be published
    written = pidf.serialise(to_document(attributes, presentity=PRESENTITY, at=AT))
    # RFC 4480 §3.2 has `lunch` in its prose, and not in its schema.
    if b"lunch" not in written and not is_valid(written):
        raise AssertionError(f"what we write is not valid: {validate(written).errors}")


PART = (
    b'<p:pidf-diff xmlns:p="urn:ietf:params:xml:ns:pidf-diff" xmlns="urn:ietf:params:xml:ns:pidf">'
    b'<p:add sel="*"><note>n</note></p:add><p:remove sel="*/tuple[1]"/></p:pidf-diff>'
)
BASE = pidf.serialise(
    pidf.parse(
        b'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:a@b"><tuple id="t"><status>'
        b"<basic>open</basic></status><contact>sip:c@d</contact></tuple><note>hello</note></presence>"
    )
)


def partial(data: bytes) -> None:
    """A difference for a document of ours, a document for a difference of ours, a filter for ours."""
    for base, part in ((BASE, data), (data, PART)):
        with contextlib.suppress(DocumentError):
            pidf.parse(pidf_diff.applied(base, pidf_diff.parse(part)))
    with contextlib.suppress(DocumentError):
        filters = simple_filter.parse(data)
        pidf.parse(narrowed(BASE, filters))
        triggered(BASE, BASE.replace(b"open", b"closed"), filters)


Step = Callable[[bytes], None]
TARGETS: Mapping[str, tuple[Step, ...]] = {
    "sip": (datagram, stream),
    "document": (inspection, policy, reading, partial),
    "validation": (validation,),
}
