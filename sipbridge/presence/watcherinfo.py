"""Watcher information documents (RFC 3858): who watches a resource, and in which state.

`parse` takes the documents of deployed servers; a row whose address is missing is dropped. Whether a document
fits the version that went before is for the one who keeps the table (RFC 3858 §3.2, §4.3). `serialise` writes
what the schema allows: version and state are required, rows carry id, status and event.
"""

from dataclasses import dataclass, field

from sipbridge.errors import DocumentError
from sipbridge.presence import markup
from sipbridge.presence.deviations import Notebook
from sipbridge.presence.markup import Element, attribute, escape, split, text_of
from sipbridge.presence.model import Deviation
from sipbridge.presence.namespaces import WATCHERINFO
from sipbridge.presence.rpid import LANG

ROOT = f"{{{WATCHERINFO}}}watcherinfo"
LIST = f"{{{WATCHERINFO}}}watcher-list"
WATCHER = f"{{{WATCHERINFO}}}watcher"


@dataclass(frozen=True, slots=True)
class WatcherEntry:
    """One watcher (RFC 3858 §4.1).

    `status` is active, pending, waiting or terminated; `event` why it got there; times are seconds.
    """

    uri: str
    status: str
    event: str
    id: str | None = None
    display_name: str | None = None
    expiration: int | None = None
    duration_subscribed: int | None = None
    lang: str | None = None


@dataclass(frozen=True, slots=True)
class WatcherList:
    """The watchers of one resource in one event package."""

    resource: str
    package: str
    watchers: tuple[WatcherEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class WatcherInfo:
    """One document. `state` full or partial."""

    version: int
    state: str
    lists: tuple[WatcherList, ...] = ()
    deviations: tuple[Deviation, ...] = field(default=(), compare=False)


def parse(body: bytes, charset: str | None = None) -> WatcherInfo:
    """Read a watcher information document. Raises DocumentError."""
    return from_root(markup.parse(body, charset), Notebook())


def from_root(root: Element, notes: Notebook) -> WatcherInfo:
    """The document under this root element. Raises DocumentError."""
    if str(root.tag) != ROOT:
        name = split(str(root.tag))[1]
        raise DocumentError(f"{str(root.tag)[:120]} is no watcherinfo document", path=name)
    version = number(root, "version", notes)
    if version is None:
        notes.note("bad-number", root, "a watcherinfo document without version")
    state = root.get("state", "").strip().lower()
    if state not in ("full", "partial"):
        notes.note("not-in-schema", root, f"state {state[:40]!r} is read as partial")
        state = "partial"
    lists = tuple(read_list(child, notes) for child in root if str(child.tag) == LIST)
    return WatcherInfo(version or 0, state, lists, tuple(notes.deviations))


def read_list(element: Element, notes: Notebook) -> WatcherList:
    """One resource's watchers."""
    rows = [read_watcher(child, notes) for child in element if str(child.tag) == WATCHER]
    return WatcherList(
        element.get("resource", "").strip(),
        element.get("package", "").strip(),
        tuple(row for row in rows if row is not None),
    )


def read_watcher(element: Element, notes: Notebook) -> WatcherEntry | None:
    """One row, None if it does not say who."""
    uri = text_of(element).strip()
    if not uri:
        notes.note("empty-element", element, "a watcher without address is left out")
        return None
    name = element.get("id")
    if name is None:
        notes.note("no-id", element, "a watcher without id")
    return WatcherEntry(
        uri,
        element.get("status", "").strip().lower(),
        element.get("event", "").strip().lower(),
        None if name is None else str(name),
        None if (shown := element.get("display-name")) is None else str(shown),
        number(element, "expiration", notes),
        number(element, "duration-subscribed", notes),
        None if (lang := element.get(LANG)) is None else str(lang),
    )


def number(element: Element, name: str, notes: Notebook) -> int | None:
    """A whole number from an attribute, None if it is absent or unreadable."""
    text = element.get(name)
    if text is None:
        return None
    text = text.strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        notes.note("bad-number", element, f"{name} {text[:40]!r} is no number")
        return None
    return int(text)


def serialise(document: WatcherInfo) -> bytes:
    """The document as UTF-8 text."""
    head = f' version="{document.version}"' + attribute("state", document.state)
    out = [f'<?xml version="1.0" encoding="UTF-8"?>\n<watcherinfo xmlns="{WATCHERINFO}"{head}>']
    for listed in document.lists:
        head = attribute("resource", listed.resource) + attribute("package", listed.package)
        rows = "".join(map(print_watcher, listed.watchers))
        out.append(f"<watcher-list{head}>{rows}</watcher-list>")
    out.append("</watcherinfo>\n")
    return "".join(out).encode()


def print_watcher(entry: WatcherEntry) -> str:
    """One row."""
    head = (
        attribute("id", entry.id)
        + attribute("status", entry.status)
        + attribute("event", entry.event)
    )
    head += attribute("display-name", entry.display_name) + attribute("xml:lang", entry.lang)
    if entry.expiration is not None:
        head += f' expiration="{entry.expiration}"'
    if entry.duration_subscribed is not None:
        head += f' duration-subscribed="{entry.duration_subscribed}"'
    return f"<watcher{head}>{escape(entry.uri)}</watcher>"
