"""Timed status: a status of the past or the future, inside a tuple (RFC 4481)."""

from sipbridge.presence.deviations import Notebook
from sipbridge.presence.fragments import extension, standing_alone
from sipbridge.presence.markup import (
    Element,
    attribute,
    attributes,
    escape,
    local,
    pairs_of,
    split,
    text_of,
)
from sipbridge.presence.model import Basic, Extension, Note, TimedStatus
from sipbridge.presence.namespaces import PIDF, TIMED_STATUS
from sipbridge.presence.rpid import print_note, read_note, read_time


def read_timed_status(element: Element, notes: Notebook) -> TimedStatus:
    """from, until, basic, notes; everything else is kept."""
    since = until = basic = None
    said: list[Note] = []
    others: list[Extension] = []
    more: list[tuple[str, str]] = []
    for key, value in pairs_of(element):
        if key == "from":
            since = read_time(value, element, notes)
        elif key == "until":
            until = read_time(value, element, notes)
        else:
            more.append((key, value))
    for child in element:
        plain = local(str(child.tag))
        ours = split(str(child.tag))[0] in (TIMED_STATUS, PIDF)
        if (
            ours
            and plain == "basic"
            and basic is None
            and text_of(child).strip() in ("open", "closed")
        ):
            basic = Basic(text_of(child).strip())
        elif ours and plain == "note":
            said.append(read_note(child, notes))
        else:
            if ours and plain == "basic":
                notes.note("bad-basic", child)
            others.append(extension(child))
    return TimedStatus(since, until, basic, tuple(said), tuple(others), tuple(more))


def print_timed_status(value: TimedStatus) -> str:
    """basic, notes, extensions, in the schema's order."""
    more = attribute("from", value.since.text) if value.since else ""
    if value.until is not None:
        more += attribute("until", value.until.text)
    more += attributes(value.attributes)
    inner = f"<ts:basic>{escape(value.basic.value)}</ts:basic>" if value.basic else ""
    inner += "".join(print_note("ts:note", note) for note in value.notes)
    inner += "".join(standing_alone(kept.xml) for kept in value.extensions)
    return f"<ts:timed-status{more}>{inner}</ts:timed-status>"
