"""`sipbridge publish`: a SIP presence user agent on the command line.

Publishes, keeps the publication refreshed until interrupted, then removes it. With `--once` it ends after
the 200 and leaves the publication to run out. One JSON line for each answer: `{"status", "etag", "expires"}`.
"""

import asyncio
import re
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeVar

from sipbridge.app.sip_client import SipClient
from sipbridge.app.tracing import Tracing
from sipbridge.cli.connection import Connection
from sipbridge.cli.files import complain, print_json
from sipbridge.cli.wishes import Wishes, capture
from sipbridge.errors import ConfigurationError, SipBridgeError
from sipbridge.events.package import EventPackage
from sipbridge.events.presence_package import PIDF, PRESENCE
from sipbridge.events.publisher import Published, PublishFailed, Unpublished
from sipbridge.events.subscriber import RefreshFailed, Refused
from sipbridge.mapping.attributes import Activity, Attribute, AttributeKind, Place, Privacy, Sphere
from sipbridge.mapping.ocsg import to_document
from sipbridge.presence import pidf
from sipbridge.sip.policy import Credentials
from sipbridge.uri import Uri

GOODBYE_SECONDS = 3.0
"""How long the removal may take at the end."""

Word = TypeVar("Word", bound=StrEnum)
KINDS: dict[str, tuple[AttributeKind, type[StrEnum]]] = {
    "activity": (AttributeKind.ACTIVITY, Activity),
    "place": (AttributeKind.PLACE, Place),
    "sphere": (AttributeKind.SPHERE, Sphere),
    "privacy": (AttributeKind.PRIVACY, Privacy),
}


def plain(word: str) -> str:
    """Letters only, lower case: `on-the-phone`, `OnThePhone` and `on the phone` are one word."""
    return re.sub(r"[^a-z]", "", word.lower())


def value_of(option: str, kind: type[Word], word: str) -> Word:
    """The value a word means; the kind's own name in front may be left out."""
    wanted = plain(word)
    for value in kind:
        if wanted in (plain(value), plain(value.removeprefix(kind.__name__))):
            return value
    raise ConfigurationError(f"--{option}", f"one of {', '.join(kind)}")


def body_of(uri: Uri, words: Mapping[str, str]) -> bytes:
    """The document that says what the options say. Raises ConfigurationError naming the option."""
    attributes: list[Attribute] = []
    for option, (kind, values) in KINDS.items():
        if option in words:
            value = value_of(option, values, words[option])
            attributes.append(Attribute(kind, value))  # type: ignore[arg-type]
    note = words.get("note")
    if note and not any(a.kind is AttributeKind.ACTIVITY for a in attributes):
        attributes.insert(0, Attribute(AttributeKind.ACTIVITY, Activity.AVAILABLE))
    attributes = [
        Attribute(a.kind, a.value, note) if a.kind is AttributeKind.ACTIVITY else a
        for a in attributes
    ]
    return pidf.serialise(to_document(attributes, presentity=uri, at=datetime.now(UTC)))


def client_of(
    uri: Uri, peer: Connection, wishes: Wishes, packages: Mapping[str, EventPackage]
) -> SipClient:
    """A client for one identity at the command's server."""
    credentials = None
    if peer.password is not None:
        credentials = Credentials(peer.user or uri.username, peer.password)
    server = f"{peer.host}:{peer.port}"
    client = SipClient(
        uri,
        server,
        transport=peer.transport,
        credentials=credentials,
        tls=peer.tls,
        packages=packages,
        headers=wishes.headers,
    )
    client.on_failure = lambda said: complain(f"{said.destination}: {said.error}")
    return client


@asynccontextmanager
async def opened(client: SipClient, wishes: Wishes) -> AsyncIterator[None]:
    """The client's sockets for as long as the block lasts, and what goes over them in the capture file.

    Raises ConfigurationError for a capture file that cannot be written, SipBridgeError for a server whose
    name has no address, or to which there is no way.
    """
    sink = None if wishes.trace is None else capture(wishes.trace)
    try:
        await client.open()
    except OSError as error:
        raise SipBridgeError(f"--server {client.server[0]}: {error.strerror or error}") from None
    tracing = Tracing([client.driver])
    if sink is not None:
        tracing.keep(sink)
    try:
        yield
    finally:
        await client.close()
        tracing.close()


async def run(
    uri: Uri,
    peer: Connection,
    words: Mapping[str, str],
    document: bytes | None,
    wishes: Wishes,
    once: bool,
) -> int:
    """Returns the exit status: 1 when the server refused."""
    body = document if document is not None else body_of(uri, words)
    package = wishes.package(PRESENCE)
    if wishes.accept:
        wishes = replace(wishes, headers=(*wishes.headers, ("Accept", ", ".join(wishes.accept))))
    client = client_of(peer.from_ or uri, peer, wishes, {package.name: package})
    async with opened(client, wishes):
        publication = client.publish(
            body,
            entity=uri,
            expires=wishes.expires,
            content_type=wishes.content_type or PIDF,
            package=package.name,
        )
        return await keep_published(client, publication, once)


async def keep_published(client: SipClient, publication: str, once: bool) -> int:
    interrupted = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, interrupted.set)
    stop = loop.create_task(interrupted.wait())
    try:
        while True:
            answer = loop.create_task(client.wait_for(answered))
            await asyncio.wait({answer, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                answer.cancel()
                break
            said = answer.result()
            if isinstance(said, Published):
                print_json({"status": 200, "etag": said.etag, "expires": said.expires}, line=True)
                if once:
                    return 0
            elif isinstance(said, PublishFailed):
                print_json({"status": said.status, "etag": None, "expires": None}, line=True)
                complain(f"PUBLISH failed: {why(said.status, said)}")
                advise(said.status, client)
                if not said.will_retry or once:
                    return 1
    finally:
        stop.cancel()
    client.unpublish(publication)
    await client.wait_for(lambda said: isinstance(said, Unpublished), GOODBYE_SECONDS)
    return 0


def answered(said: object) -> bool:
    return isinstance(said, Published | PublishFailed)


def advise(status: int | None, client: SipClient) -> None:
    """What to try after a refusal that the person at the terminal can do something about."""
    if status not in (401, 407):
        return
    if client.credentials is None:
        complain("the server asks for a password: --password-file FILE")
    else:
        complain(f"is the password that of user {client.credentials.username!r}? See --user")


def why(status: int | None, said: PublishFailed | Refused | RefreshFailed) -> str:
    """Why a request failed: what the server said, else where it was sent and what became of it there."""
    return said.tried or f"{status or ''} {said.reason}".lstrip()
