"""The body of a list notification as a notifier writes it (RFC 4662 §5): the counterpart of `resource_list`.

A multipart/related body whose root, which `start` names, is the table of contents; the documents follow in
the table's order, each named in it by its content id. A document may be such a body again: a list in a list.
Content ids are unique for all times (RFC 2392 §2): a token that nobody can guess, a number, our domain. The
same token is the boundary, so no document can hold it but by seeing it beforehand.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sipbridge.events.notifier import Content
from sipbridge.presence import rlmi
from sipbridge.presence.model import Note
from sipbridge.presence.rlmi import Instance, Resource, ResourceList
from sipbridge.sip.fields import parse_media_type
from sipbridge.sip.headers import Headers
from sipbridge.sip.multipart import Part, build

RLMI = "application/rlmi+xml"

PART_OVERHEAD = 260
"""Bytes that a document costs beside itself: its delimiter, its headers, its content id in the table."""


@dataclass(frozen=True, slots=True)
class Row:
    """One member as one NOTIFY shows it. instance: None: nothing is known. content: its document, if sent."""

    uri: str
    name: str = ""
    instance: Instance | None = None
    content: Content | None = None


def body_of(
    uri: str,
    version: int,
    rows: Sequence[Row],
    *,
    full: bool,
    token: str,
    domain: str,
    name: str = "",
) -> Content:
    """The body of a NOTIFY for the list at `uri`. token: fresh and unguessable; letters and digits."""
    ids = [f"{number}.{token}@{domain}" for number in range(len(rows) + 1)]
    table = ResourceList(
        uri,
        version,
        full,
        tuple(map(resource, rows, ids[1:])),
        (Note(name),) if name else (),
    )
    parts = [Part(Headers(), rlmi.serialise(table), ids[0], parse_media_type(TABLE_TYPE))]
    for row, id in zip(rows, ids[1:], strict=True):
        if row.content is not None:
            kind = parse_media_type(row.content.content_type)
            parts.append(Part(Headers(), row.content.body, id, kind))
    body, content_type = build(parts, token, type_=RLMI, start=ids[0])
    return Content(content_type, body)


TABLE_TYPE = f"{RLMI};charset=UTF-8"


def resource(row: Row, id: str) -> Resource:
    """The member's row of the table. `id` is the content id of its document, if it has one."""
    names = (Note(row.name),) if row.name else ()
    if row.instance is None:
        return Resource(row.uri, names)
    cid = id if row.content is not None else None
    told = Instance(row.instance.id, row.instance.state, row.instance.reason, cid)
    return Resource(row.uri, names, (told,))
