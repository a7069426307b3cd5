"""Requests of the RESTful Presence interface, read widely.

Scalars may come as strings (`"5"`, `"true"`), `null` counts as absent, unknown members are ignored: real
clients of this interface do all of it. What makes no sense raises `InvalidValue` with the path of the part
and, where the list of values is closed, the list. Presence attributes are read by `mapping.attributes`.

The query object travels percent-encoded in the address, in several spellings: with and without double
quotes round it, with `+` for space, encoded twice, raw, and without the name `query`.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import lru_cache
from typing import TypeVar
from urllib.parse import unquote, unquote_plus

import orjson

from sipbridge.errors import InvalidValue, ParseError
from sipbridge.gateway.contract import Metric, StartNotification, TimeMetric
from sipbridge.gateway.ports import Reference
from sipbridge.mapping.attributes import (
    AttributeKind,
    kind_from_json,
    mapping,
    not_listed,
    number,
    sequence,
    text,
)
from sipbridge.uri import Uri

MAX_WORD = 256
"""Characters in an application name, correlator, interface name."""
MAX_ADDRESS = 4096
"""Characters in a URI or channel; the URI parser has the same limit."""
MAX_KINDS = 64
"""Elements of a list of kinds: there are six, and duplicates are allowed."""
MAX_INT = 2**31 - 1
"""XML Schema int."""


class Criterion(StrEnum):
    """The words of `criteria`, which is documented for Terminal Status."""

    REACHABLE = "Reachable"
    UNREACHABLE = "UnReachable"
    BUSY = "Busy"


Word = TypeVar("Word", bound=StrEnum)


def read_body(body: bytes) -> Mapping[str, object]:
    """The JSON object of a request body. Raises InvalidValue (part "body")."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidValue(f"not JSON: {error}", part="body") from None
    return mapping(value, "body")


def read_uri(obj: object, part: str) -> Uri:
    """A URI. Raises InvalidValue."""
    given = text(obj, part, MAX_ADDRESS).strip()
    try:
        return Uri.parse(given)
    except ParseError as error:
        raise InvalidValue(f"{error}; write it like sip:alice@example.com", part=part) from None


def read_word(obj: object, part: str, most: int = MAX_WORD) -> str:
    """A string that is not empty. Raises InvalidValue."""
    given = text(obj, part, most)
    if not given.strip():
        raise InvalidValue("empty", part=part)
    return given


def read_kinds(obj: object, part: str = "attributes") -> frozenset[AttributeKind]:
    """A list of kinds, as a set; absent and empty mean all. One bare name is a list of one."""
    if obj is None:
        return frozenset()
    items = [obj] if isinstance(obj, str) else sequence(obj, part, MAX_KINDS)
    return frozenset(kind_from_json(item, f"{part}[{i}]") for i, item in enumerate(items))


def read_boolean(obj: object, part: str) -> bool:
    """true, false, or one of these words as a string. Raises InvalidValue with the list."""
    if isinstance(obj, bool):
        return obj
    word = obj.strip().lower() if isinstance(obj, str) else ""
    if word in ("true", "false"):
        return word == "true"
    said = "missing" if obj is None else f"no boolean: {str(obj)[:60]!r}"
    raise InvalidValue(said, part=part, valid=("true", "false"))


def read_integer(obj: object, part: str) -> int:
    """An XML Schema int, also as a string. Raises InvalidValue."""
    given = number(obj, part)
    if not given.is_integer() or abs(given) > MAX_INT:
        raise InvalidValue(f"no integer: {str(obj)[:60]!r}", part=part)
    return int(given)


def read_listed(obj: object, part: str, words: type[Word]) -> Word:
    try:
        return words(obj)  # type: ignore[arg-type]
    except ValueError:
        raise not_listed(obj, part, words) from None


def read_reference(obj: object, part: str = "reference") -> Reference:
    """Where notifications go. Whether the caller owns the endpoint is the gateway's question."""
    members = mapping(obj, part)
    name = members.get("interfaceName")
    return Reference(
        endpoint=read_word(members.get("endpoint"), f"{part}.endpoint", MAX_ADDRESS),
        correlator=read_word(members.get("correlator"), f"{part}.correlator"),
        interface_name="" if name is None else text(name, f"{part}.interfaceName", MAX_WORD),
    )


def read_metric(obj: object, part: str) -> TimeMetric:
    members = mapping(obj, part)
    return TimeMetric(
        read_listed(members.get("metric"), f"{part}.metric", Metric),
        read_integer(members.get("units"), f"{part}.units"),
    )


def read_decisions(obj: object) -> list[tuple[AttributeKind, bool]]:
    """The decisions of Update Subscription Authorization, in their order."""
    decisions = []
    for i, item in enumerate(sequence(obj, "decisions", MAX_KINDS)):
        part = f"decisions[{i}]"
        members = mapping(item, part)
        kind = members.get("presenceAttribute")
        if isinstance(kind, list) and len(kind) == 1:  # one template prints it so
            kind = kind[0]
        decisions.append(
            (
                kind_from_json(kind, f"{part}.presenceAttribute"),
                read_boolean(members.get("decision"), f"{part}.decision"),
            )
        )
    return decisions


def read_start(members: Mapping[str, object]) -> StartNotification:
    """Start Presence Notification. `criteria` has no effect, but has to be one of its words."""
    duration, count = members.get("duration"), members.get("count")
    return StartNotification(
        presentity=read_uri(members.get("presentity"), "presentity"),
        reference=read_reference(members.get("reference")),
        frequency=read_metric(members.get("frequency"), "frequency"),
        check_immediate=read_boolean(members.get("checkImmediate"), "checkImmediate"),
        attributes=read_kinds(members.get("attributes")),
        duration=None if duration is None else read_metric(duration, "duration"),
        count=None if count is None else read_integer(count, "count"),
        criteria=read_criteria(members.get("criteria")),
    )


def read_criteria(obj: object) -> tuple[str, ...]:
    """One word or an array of them; absent: none. Raises InvalidValue with the list of words."""
    if obj is None:
        return ()
    if not isinstance(obj, list):
        return (read_listed(obj, "criteria", Criterion).value,)
    words = sequence(obj, "criteria", MAX_KINDS)
    return tuple(read_listed(w, f"criteria[{i}]", Criterion).value for i, w in enumerate(words))


def read_expires(given: str | None) -> int | None:
    """Seconds in X-Presence-Expires; 0: for ever. None when the request does not say."""
    if given is None:
        return None
    word = given.strip()
    if not (word.isascii() and word.isdecimal() and len(word) <= 10) or int(word) > MAX_INT:
        raise InvalidValue(f"no number of seconds: {word[:60]!r}", part="X-Presence-Expires")
    return int(word)


# --- the query object ---------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def read_presence_query(query: bytes) -> tuple[Uri, frozenset[AttributeKind]]:
    """Presentity and kinds from a query string. Remembered: whoever polls asks the same again."""
    members = query_object(query)
    return (
        read_uri(members.get("presentity"), "presentity"),
        read_kinds(members.get("attributes")),
    )


def query_object(query: bytes) -> Mapping[str, object]:
    """The JSON object in a query string. Raises InvalidValue (part "query")."""
    try:
        raw = query.decode()
    except UnicodeDecodeError:
        raise InvalidValue("not UTF-8", part="query") from None
    for candidate in candidates(raw):
        try:
            value = orjson.loads(candidate)
        except orjson.JSONDecodeError:
            continue
        if isinstance(value, dict):
            return value
    wanted = 'query={"presentity": "sip:alice@example.com"}, percent-encoded'
    raise InvalidValue(f"a JSON object is needed, like {wanted}", part="query")


def candidates(raw: str) -> Iterable[str]:
    """The texts a query string may stand for, the likeliest first."""
    for piece in raw.split("&"):
        name, equals, value = piece.partition("=")
        if name == "query" and equals:
            break
    else:
        value = raw
    # A literal plus first: telephone numbers have one, and JSON with spaces as plus signs is no JSON.
    for decode in (unquote, unquote_plus):
        once = bare(decode(value))
        yield once
        if once[:3].upper() in ("%7B", "%22"):
            yield bare(decode(once))


def bare(candidate: str) -> str:
    """Without one pair of double quotes round it."""
    candidate = candidate.strip()
    if len(candidate) > 1 and candidate[0] == candidate[-1] == '"':
        return candidate[1:-1]
    return candidate
