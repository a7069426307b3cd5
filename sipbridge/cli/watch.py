"""`sipbridge watch`: a SIP watcher on the command line, one JSON line for each notification.

On a terminal it is a table instead that follows the notifications (`watch_table.py`), unless `--json` or
`--raw` asks for lines. Each line is `{"at", "presentity", "state", "reason", "expires", "content_type",
"attributes", "watchers", "deviations", "call_id"}`; with `--raw` the body too. The subscriptions are
refreshed until the command is interrupted, then ended; `--expires 0` looks once. Exit status 1 when a
subscription is refused.
"""

import asyncio
import signal
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol

from msgspec.structs import asdict
from rich.console import Console

from sipbridge.app.sip_client import SipClient
from sipbridge.cli.connection import Connection
from sipbridge.cli.files import complain, print_json
from sipbridge.cli.publish import advise, client_of, opened, why
from sipbridge.cli.watch_table import WatchTable
from sipbridge.cli.wishes import Wishes
from sipbridge.errors import DocumentError
from sipbridge.events.presence_package import PRESENCE
from sipbridge.events.subscriber import Notified, RefreshFailed, Refused, Terminated
from sipbridge.events.winfo_package import PRESENCE_WINFO
from sipbridge.mapping.attributes import list_to_json
from sipbridge.mapping.ocsg import to_attributes
from sipbridge.presence.model import Presence
from sipbridge.presence.reading import TYPES, read, split_type
from sipbridge.presence.watcherinfo import WatcherInfo
from sipbridge.uri import Uri

GOODBYE_SECONDS = 3.0
"""How long ending the subscriptions may take."""
KNOWN = {p.name: p for p in (PRESENCE, PRESENCE_WINFO)}
REFUSALS = frozenset({"rejected", "noresource"})
"""Reasons of Subscription-State by which even who looks once was refused."""
WATCHER = "sip:watcher@localhost"
"""Who watches when `--from` does not say."""


class Show(Protocol):
    """How notifications are shown."""

    def show(self, line: Mapping[str, object]) -> None: ...

    def end(self, uri: str, state: str) -> None: ...


class Lines:
    """For programs: a line of JSON for each."""

    def show(self, line: Mapping[str, object]) -> None:
        print_json(line, line=True)

    def end(self, uri: str, state: str) -> None:
        """Said on standard error; there is no line for what was no notification."""


async def run(
    uris: Sequence[Uri],
    peer: Connection,
    wishes: Wishes,
    winfo: bool,
    raw: bool,
    json: bool = False,
) -> int:
    """Returns the exit status: 1 when a subscription was refused."""
    package = wishes.package(KNOWN.get(wishes.event, PRESENCE_WINFO if winfo else PRESENCE))
    own = winfo or package.name == PRESENCE_WINFO.name
    from_ = peer.from_ or (uris[0] if own else Uri.parse(WATCHER))
    client = client_of(from_, peer, wishes, {package.name: package})
    async with opened(client, wishes):
        if json or raw or not sys.stdout.isatty():
            return await keep_watching(client, uris, wishes.expires, raw, Lines())
        with WatchTable(map(str, uris), own, Console(file=sys.stdout)) as table:
            return await keep_watching(client, uris, wishes.expires, raw, table)


async def keep_watching(
    client: SipClient, uris: Sequence[Uri], expires: int | None, raw: bool, show: Show
) -> int:
    """expires: seconds, 0: look once."""
    loop = asyncio.get_running_loop()
    interrupted = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, interrupted.set)
    (package,) = client.packages
    watched = {
        client.fetch(uri, package) if expires == 0 else client.subscribe(uri, package, expires): uri
        for uri in uris
    }
    stop = loop.create_task(interrupted.wait())
    looked = set[str]() if expires == 0 else None
    refused = 0
    while watched and not interrupted.is_set():
        heard = loop.create_task(client.wait_for(lambda said: True))
        await asyncio.wait({heard, stop}, return_when=asyncio.FIRST_COMPLETED)
        if not heard.done():
            heard.cancel()
            break
        said = heard.result()
        refused += hear(said, watched, raw, show, looked)
        if isinstance(said, Refused):
            advise(said.status, client)
    stop.cancel()
    for subscription in watched:
        client.unsubscribe(subscription)
    for _ in watched:
        await client.wait_for(lambda said: isinstance(said, Terminated), GOODBYE_SECONDS)
    return 1 if refused else 0


def hear(
    said: object,
    watched: dict[str, Uri],
    raw: bool,
    show: Show,
    looked: set[str] | None = None,
) -> int:
    """Show a notification, forget what ended; 1 for a refusal.

    looked: of those that look once, who has seen something; their end is none of interest.
    """
    match said:
        case Notified() if said.subscription in watched:
            show.show(line_of(said, watched[said.subscription], raw))
            if looked is not None and said.reason not in REFUSALS:
                looked.add(said.subscription)
        case Refused() if said.subscription in watched:
            uri = watched.pop(said.subscription)
            refusal = f"{'not reached' if said.tried else 'refused'}: {why(said.status, said)}"
            show.end(str(uri), refusal)
            complain(f"{uri}: {refusal}")
            return 1
        case RefreshFailed() if said.subscription in watched:
            complain(f"{watched[said.subscription]}: not refreshed: {why(said.status, said)}")
        case Terminated() if said.subscription in watched and not said.will_retry:
            uri = watched.pop(said.subscription)
            if looked and said.subscription in looked:
                return 0
            reason = said.reason or said.status or "without a reason"
            show.end(str(uri), f"terminated: {reason}")
            complain(f"{uri}: ended: {reason}")
            return 1
    return 0


def line_of(said: Notified, uri: Uri, raw: bool) -> dict[str, object]:
    """One notification as JSON."""
    line: dict[str, object] = {
        "at": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "presentity": str(uri),
        "state": said.state,
        "reason": said.reason or None,
        "expires": said.expires,
        "content_type": said.content_type or None,
        "attributes": None,
        "watchers": None,
        "deviations": [],
        "call_id": said.call_id,
    }
    if said.body and (said.package in KNOWN or split_type(said.content_type)[0] in TYPES):
        try:
            line |= content_of(said, uri)
        except DocumentError as error:
            line["error"] = str(error)
            complain(f"{uri}: document refused: {error}")
    if raw:
        line["body"] = said.body.decode("utf-8", "replace")
    return line


def content_of(said: Notified, uri: Uri) -> dict[str, object]:
    """What the body states."""
    document = read(said.body, said.content_type)
    if isinstance(document, Presence):
        mapped = to_attributes(document, at=datetime.now(UTC), presentity=uri)
        return {
            "attributes": list_to_json(mapped.attributes),
            "deviations": [asdict(d) for d in document.deviations],
        }
    if isinstance(document, WatcherInfo):
        return {
            "watchers": [
                {"uri": w.uri, "status": w.status, "event": w.event, "id": w.id}
                for listed in document.lists
                for w in listed.watchers
            ],
            "deviations": [asdict(d) for d in document.deviations],
        }
    return {}
