"""Subscriptions to a list: what the subscriber makes of their notifications (RFC 4662 §5).

One subscription to a list stands for many. A NOTIFY is a multipart/related body: the first part (the one that
`start` names) is the table of contents, an RLMI document with all members or with those that changed; the
others hold the members' own documents and are named in it by content id. A `ListView` belongs to one dialog
of such a subscription and keeps the table; what it hands out is, for each member that the NOTIFY speaks of,
the state of its virtual subscription and its document, if one came along.

Versions grow by one (§5.2). An older or equal one is a late copy and says nothing. A gap before a part means
that something was missed: what came is used, and `missed` asks for a refresh of the subscription, which
brings a full list. Lists in lists arrive as members whose document is a multipart body again.
"""

from dataclasses import dataclass

from sipbridge.errors import DocumentError
from sipbridge.presence import rlmi
from sipbridge.presence.rlmi import Instance, Resource, ResourceList
from sipbridge.sip.fields import parse_media_type
from sipbridge.sip.multipart import Part, parse

RLMI = "application/rlmi+xml"

MAX_MEMBERS = 10_000
"""Members of one list; a directory of a whole company, and no more memory than a peer should get."""


@dataclass(frozen=True, slots=True)
class Member:
    """One virtual subscription of a list. `content_type` "" and `body` b"" when no document came along.

    state: "active", "pending" or "terminated" as on the wire, "" when nothing is known yet. name: for
    people, as the list has it.
    """

    uri: str
    instance: str
    state: str
    reason: str = ""
    name: str = ""
    content_type: str = ""
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class ListChange:
    """What one NOTIFY said. `gone`: URIs that are in the list no more; `missed`: refresh the subscription."""

    members: tuple[Member, ...] = ()
    gone: tuple[str, ...] = ()
    missed: bool = False


class ListView:
    """The list as far as it is known in one dialog."""

    def __init__(self) -> None:
        self.version = -1
        self.members: dict[str, dict[str, Member]] = {}
        """By URI and instance id; the latest document of each is kept."""

    def receive(self, content_type: str, body: bytes) -> ListChange:
        """The body of a NOTIFY. Raises DocumentError or ParseError when it cannot be read."""
        table, parts = opened(content_type, body)
        if table.version <= self.version:
            return ListChange()
        missed = not table.full and table.version != self.version + 1
        self.version = table.version
        members = [m for r in table.resources for m in self.told(r, parts)]
        gone: list[str] = []
        if table.full:
            named = {resource.uri for resource in table.resources}
            gone = [uri for uri in self.members if uri not in named]
            for uri in gone:
                del self.members[uri]
        return ListChange(tuple(members), tuple(gone), missed)

    def told(self, resource: Resource, parts: dict[str, Part]) -> list[Member]:
        """What is said of one resource, noted down."""
        if resource.uri not in self.members and len(self.members) >= MAX_MEMBERS:
            raise DocumentError(f"more than {MAX_MEMBERS} members")
        known = self.members.setdefault(resource.uri, {})
        name = resource.names[0].text if resource.names else ""
        if not resource.instances:
            return [Member(resource.uri, "", "", name=name)]
        members = []
        for instance in resource.instances:
            member = of_instance(resource.uri, name, instance, parts)
            members.append(member)
            if member.state == "terminated":
                known.pop(instance.id, None)
            else:
                known[instance.id] = member
        return members


def of_instance(uri: str, name: str, instance: Instance, parts: dict[str, Part]) -> Member:
    part = parts.get(instance.cid or "")
    return Member(
        uri,
        instance.id,
        instance.state,
        instance.reason or "",
        name,
        str(part.content_type) if part is not None and part.content_type is not None else "",
        part.body if part is not None else b"",
    )


def opened(content_type: str, body: bytes) -> tuple[ResourceList, dict[str, Part]]:
    """The table of contents, and the parts by content id. A bare RLMI document has no parts."""
    media = parse_media_type(content_type)
    if media.essence == RLMI:
        return rlmi.parse(body, media.charset), {}
    parts = parse(body, media)
    start = (media.parameters.get("start") or "").strip("<>")
    by_id = {part.content_id: part for part in parts if part.content_id}
    tables = [p for p in parts if p.content_type is not None and p.content_type.essence == RLMI]
    table = by_id.get(start) if start else None
    if table is None:
        if not tables:
            raise DocumentError("a list notification without table of contents")
        table = tables[0]
    charset = table.content_type.charset if table.content_type is not None else None
    return rlmi.parse(table.body, charset), by_id
