"""Subscriptions to a list: what the subscriber makes of their notifications (RFC 4662 §5).

One subscription to a list stands for many. A NOTIFY is a multipart/related body: the first part (the one that
`start` names) is the table of contents, an RLMI document with all members or with those that changed; the
others hold the members' own documents and are named in it by content id. A `ListView` belongs to one such
subscription and keeps who is in the list and in what state; what it hands out is, for each member that the
NOTIFY speaks of, the state of its virtual subscription and its document, if one came along.

Versions grow by one in a dialog (§5.2). A gap before a part means that something was missed: what came is
used, and `missed` asks for a refresh of the subscription, which brings a full list; so does a document that
the table names and that is not there. A full list is always taken, whatever its version: the dialog has kept
the order already (RFC 3261 §12.2.2), so a lower version only means that the server began to count anew. After
`restart` a new dialog speaks.

A member can be a list itself. Its document is a multipart body again, perhaps inside a signed one, whose
signature is not looked at. Its members stand in its place.
"""

from dataclasses import dataclass, replace

from sipbridge.errors import DocumentError, ParseError
from sipbridge.presence import rlmi
from sipbridge.presence.rlmi import Instance, Resource, ResourceList
from sipbridge.sip.fields import MediaType, parse_media_type
from sipbridge.sip.multipart import Part, parse

RLMI = "application/rlmi+xml"
RELATED = "multipart/related"
WRAPPERS = frozenset({"multipart/signed", "multipart/mixed"})
"""Types whose first part is what counts (RFC 1847 §2.1)."""

MAX_MEMBERS = 4_000
"""Members of one list; the largest table that is read (256 KiB) names about 3,000."""

MAX_DEPTH = 4
"""Lists in lists; what is deeper is a member whose document nobody understands."""

RANKS = {"active": 3, "pending": 2, "terminated": 1}
"""Which of several instances speaks for a member: the one that says most."""


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a list. `content_type` "" and `body` b"" when no document came along.

    state: of its virtual subscription, "active", "pending" or "terminated" as on the wire, "" when nothing is
    known yet. name: for people, as the list has it.
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
    """The list as far as it is known."""

    def __init__(self, depth: int = 1) -> None:
        self.depth = depth
        self.version = -1
        self.members: dict[str, dict[str, Member]] = {}
        """By URI and instance id, without documents."""
        self.names: dict[str, str] = {}
        self.lists: dict[str, ListView] = {}
        """Members that are lists themselves, by URI."""

    def restart(self) -> None:
        """A new dialog begins to count anew; who was in the list is kept until it says who is."""
        self.version = -1
        for inner in self.lists.values():
            inner.restart()

    def roster(self) -> dict[str, Member]:
        """Everybody in the list by URI, members of lists in it included, lists themselves not."""
        found: dict[str, Member] = {}
        for uri, instances in self.members.items():
            if uri in self.lists:
                found |= self.lists[uri].roster()
            else:
                known = best(instances) or Member(uri, "", "", name=self.names[uri])
                found[uri] = known
        return found

    def receive(self, content_type: str, body: bytes) -> ListChange:
        """The body of a NOTIFY. Raises DocumentError or ParseError when it cannot be read."""
        table, parts = opened(content_type, body)
        if not table.full and table.version == self.version:
            return ListChange()
        missed = not table.full and table.version != self.version + 1
        self.version = table.version
        gone = self.without(table) if table.full else []
        members: list[Member] = []
        for resource in table.resources:
            if table.full:
                self.members.pop(resource.uri, None)  # instances that are not named are no more
            change = self.told(resource, parts)
            members += change.members
            gone += change.gone
            missed |= change.missed or lacks_document(resource, parts)
        return ListChange(tuple(members), tuple(gone), missed)

    def without(self, table: ResourceList) -> list[str]:
        """Forget who is not in a full list any more."""
        named = {resource.uri for resource in table.resources}
        gone: list[str] = []
        for uri in [uri for uri in self.members if uri not in named]:
            del self.members[uri], self.names[uri]
            inner = self.lists.pop(uri, None)
            gone += [uri] if inner is None else inner.roster()
        return gone

    def told(self, resource: Resource, parts: dict[str, Part]) -> ListChange:
        """What is said of one resource, noted down: of itself, or of its members if it is a list."""
        uri = resource.uri
        if uri not in self.members and len(self.members) >= MAX_MEMBERS:
            raise DocumentError(f"more than {MAX_MEMBERS} members")
        if resource.names or uri not in self.names:
            self.names[uri] = resource.names[0].text if resource.names else ""
        known = self.members.setdefault(uri, {})
        if not resource.instances:
            known.clear()
        said = {i.id: of_instance(uri, self.names[uri], i, parts) for i in resource.instances}
        known |= {id: replace(member, content_type="", body=b"") for id, member in said.items()}
        speaks = best({**known, **said}) or Member(uri, "", "", name=self.names[uri])
        for id in [id for id, member in known.items() if member.state == "terminated"]:
            if len(known) > 1:
                del known[id]
        if is_list(speaks) and self.depth < MAX_DEPTH:
            return self.list_told(speaks)
        if uri not in self.lists:
            return ListChange((speaks,))
        if speaks.state != "terminated":
            return ListChange()
        return ListChange((speaks,), tuple(self.lists.pop(uri).roster()))

    def list_told(self, member: Member) -> ListChange:
        """A member that is a list has a document: what its table says."""
        inner = self.lists.get(member.uri) or ListView(self.depth + 1)
        try:
            change = inner.receive(member.content_type, member.body)
        except (DocumentError, ParseError):
            return ListChange(
                (member,)
            )  # whoever reads the document will say what is wrong with it
        self.lists[member.uri] = inner
        return change


def best(instances: dict[str, Member]) -> Member | None:
    """Of several instances the one that says most, the one with a document before others."""
    return max(
        instances.values(), key=lambda m: (RANKS.get(m.state, 0), bool(m.body)), default=None
    )


def lacks_document(resource: Resource, parts: dict[str, Part]) -> bool:
    """Does the table promise a document of this resource that did not come?"""
    return any(i.cid is not None and i.cid not in parts for i in resource.instances)


def is_list(member: Member) -> bool:
    """Is the document of this member the notification of a list?"""
    if not member.content_type.startswith("multipart/"):
        return False
    try:
        media, _ = unwrapped(parse_media_type(member.content_type), member.body)
    except ParseError:
        return False
    return media.essence == RELATED


def unwrapped(media: MediaType, body: bytes) -> tuple[MediaType, bytes]:
    """The content of a signed body, with its type; any other body as it is. Raises ParseError."""
    for _ in range(MAX_DEPTH):
        if media.essence not in WRAPPERS:
            break
        first = next(iter(parse(body, media)), None)
        if first is None or first.content_type is None:
            raise ParseError("nothing with a type inside", field="Content-Type")
        media, body = first.content_type, first.body
    return media, body


def of_instance(uri: str, name: str, instance: Instance, parts: dict[str, Part]) -> Member:
    part = parts.get(instance.cid or "")
    content_type, body = "", b""
    if part is not None and part.content_type is not None:
        content_type, body = str(part.content_type), part.body
    return Member(uri, instance.id, instance.state, instance.reason or "", name, content_type, body)


def opened(content_type: str, body: bytes) -> tuple[ResourceList, dict[str, Part]]:
    """The table of contents, and the parts by content id. A bare RLMI document has no parts."""
    media, body = unwrapped(parse_media_type(content_type), body)
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
