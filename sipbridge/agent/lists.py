"""Resource lists served (RFC 4662 §4 and 5): one subscription to a list stands for many to its members.

A list subscription holds a tree of rows, one for each member. A member of our domain has a *virtual
subscription*: it is judged by the member's rules for this watcher as a direct one would be, shows the view
that a direct one would show, and stands among the member's watchers. What it says in the table (§5.5):

    active                  decided; its document, polite blocking included
    pending                 nobody has decided; no document
    terminated, rejected    the member's rules refuse this watcher. When they change, a new instance begins
    no instance             a member we cannot speak for: of another domain, or no presentity at all

A member that is a list of ours is a row with rows of its own, and its document a list body again. Lists that
hold themselves, and lists deeper than the limit, are `terminated` with the reason `noresource`.

Each answer to a SUBSCRIBE, and each repeat of a NOTIFY that failed, brings the full state; everything else
brings the rows that have changed since, gathered over a moment (`AgentLimits.list_gather`). The version grows
by one with each body, that of an inner list with each of its own. What does not fit into one NOTIFY waits for
the next, which follows at once: the table of a full state is always whole, and a row whose document had to
wait is shown without it. So it is with a fetch, which ends with the last part. A NOTIFY too large for a
datagram goes by TCP; where the subscriber takes none, it is said in several, which have one document each at
least. Nothing less can be said at a time: a table of many members, and a document in its wrapping, may still
be more than the 1,300 bytes of a datagram, and go as one.

A SUBSCRIBE can bring its list along (RFC 5367). Any address of our domain takes it, but for one that is a
list itself; only members of our domain are subscribed to, and one must be there. Who is not decided waits, as
a direct watcher does, but not for people whom nobody has heard of: a list names hundreds at no cost. In the
dialog the list stays as it is: a SUBSCRIBE with another one is refused.

Who may see what is the members' decision; who is in a list is no secret from whoever may subscribe here.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from sipbridge.agent.admission import refusal
from sipbridge.agent.publications import PublishedState, View
from sipbridge.errors import DocumentError, ParseError
from sipbridge.events.list_body import PART_OVERHEAD, Row, body_of
from sipbridge.events.notifier import (
    Admission,
    Content,
    Input,
    State,
    Subscription,
    accepts,
)
from sipbridge.events.presence_package import EVENTLIST, LIST_TYPES, RESOURCE_LISTS
from sipbridge.identities import Identities, PresentityKey
from sipbridge.presence import lists as resource_lists
from sipbridge.presence.lists import Entry
from sipbridge.presence.model import Note
from sipbridge.presence.rlmi import Instance
from sipbridge.presence.rules import Permission, SubHandling
from sipbridge.sip.dialog import ROOM_FOR_HEAD, Json
from sipbridge.sip.locate import LARGE
from sipbridge.sip.message import Request
from sipbridge.uri import Uri

LEADS_TO = {
    SubHandling.ALLOW: State.ACTIVE,
    SubHandling.POLITE_BLOCK: State.ACTIVE,
    SubHandling.CONFIRM: State.PENDING,
    SubHandling.BLOCK: State.TERMINATED,
}
"""What the members' rules make of a virtual subscription."""

HAPPENED = {
    State.ACTIVE: Input.APPROVED,
    State.PENDING: Input.UNDECIDED,
    State.TERMINATED: Input.REJECTED,
}

ROW_OVERHEAD = 120
"""Bytes of a row in a table, about."""

MAX_ROWS = 4000
"""Rows of one subscription, inner lists included: lists in lists multiply. Others are left out."""

MAX_MEMBERS = 300
"""Members of one list, whose table has to stand in one message of 64 kB."""

OCTETS = 48_000
"""Bytes of one body, about: a message of 64 kB is the largest that UDP carries and that many parsers take."""

DATAGRAM = LARGE - ROOM_FOR_HEAD
"""Bytes of one body where only datagrams get through, unless one document alone makes it more."""

TABLE_OVERHEAD = 250
"""Bytes of a body without rows and documents, about."""

DOCUMENTS = 100
"""Documents in one NOTIFY."""

LIST_HEADERS = (("Require", EVENTLIST),)
"""In each 2xx and NOTIFY of a list subscription (§4.2, §4.5)."""

VERSION_LEAP = 100_000
"""Added to the version of a restored subscription: it must grow, but is not stored each time."""

Lists = Callable[[PresentityKey], Sequence[Entry] | None]
"""The members of the list with that address; None: it is no list."""


class Members(Protocol):
    """Whoever owns the presentities of our domain."""

    def joined(self, member: "Virtual", now: float) -> None:
        """A virtual subscription begins: judge it."""
        ...

    def left(self, member: "Virtual", happened: Input, now: float) -> None:
        """It ends with its list's subscription."""
        ...


class Virtual:
    """The subscription to one member that a list subscription stands for.

    `agent.watchers` sees it as a subscription. `id` is new with each life of it, `number` is its instance's
    id in the table.
    """

    __slots__ = (
        "fresh",
        "id",
        "number",
        "published",
        "resource",
        "row",
        "since",
        "state",
        "subscription",
        "view",
    )

    def __init__(self, resource: Uri, row: "MemberRow", fresh: Callable[[], str]) -> None:
        self.resource = resource
        self.row = row
        self.fresh = fresh
        self.id = fresh()
        self.number = 1
        self.state = State.INIT
        self.since = 0.0
        self.subscription: Subscription = row.owner.subscription
        self.published: PublishedState | None = None
        self.view: View | None = None

    @property
    def watcher(self) -> Uri:
        return self.subscription.watcher

    @property
    def shown(self) -> Uri:
        return self.subscription.shown

    @property
    def display_name(self) -> str:
        return self.subscription.display_name

    @property
    def expires_at(self) -> float:
        return self.subscription.expires_at

    @property
    def reason(self) -> str | None:
        return "rejected" if self.state is State.TERMINATED else None

    def judged(self, permission: Permission, published: PublishedState) -> Iterator[Input]:
        """Go where a decision leads. Yields what happens, the state being that after it."""
        wanted = LEADS_TO[permission.sub_handling]
        self.published = published
        self.view = published.view(permission) if wanted is State.ACTIVE else None
        if wanted is self.state:
            return
        if self.state is State.TERMINATED:
            told = self.row.told
            if told is not None and told[1] is State.TERMINATED:
                self.number += 1  # else nobody has heard of that end, and the instance goes on
            self.renew()
        elif self.state is State.ACTIVE and wanted is State.PENDING:
            self.state = State.TERMINATED
            yield Input.DEACTIVATED
            self.renew()
        fresh, self.state = self.state is State.INIT, wanted
        if not (fresh and wanted is State.TERMINATED):  # who is refused at once was never a watcher
            yield HAPPENED[wanted]

    def renew(self) -> None:
        """Another life of it begins."""
        self.id = self.fresh()
        self.state = State.INIT

    def content(self) -> Content | None:
        """Its document as it is now."""
        if self.view is None or self.published is None:
            return None
        return self.published.content(self.view)


class Room:
    """What fits into one NOTIFY. at_least: so many documents always do."""

    def __init__(self, octets: int, at_least: int) -> None:
        self.octets = octets
        self.at_least = at_least
        self.taken = 0

    def take(self, size: int) -> bool:
        """Is there room for so many bytes more?"""
        full = size > self.octets or self.taken >= DOCUMENTS
        if full and self.taken >= self.at_least:
            self.octets = 0  # what comes later waits too, so that the order is kept
            return False
        self.taken += 1
        self.octets -= size
        return True

    @property
    def divisible(self) -> bool:
        """Could less be said at a time?"""
        return self.taken > self.at_least


class MemberRow:
    """A member of our domain. `told`: instance, state, reason and document as last sent."""

    __slots__ = ("name", "owner", "told", "uri", "virtual")

    def __init__(
        self, owner: "ListUse", entry: Entry, resource: Uri, fresh: Callable[[], str]
    ) -> None:
        self.owner = owner
        self.uri = entry.uri
        self.name = name_of(entry)
        self.told: tuple[int, State, Content | None] | None = None
        self.virtual = Virtual(resource, self, fresh)

    @property
    def root(self) -> "ListUse":
        """The list that is subscribed to."""
        use = self.owner
        while use.above is not None:
            use = use.above.owner
        return use

    def show(self, full: bool, room: Room) -> Row | None:
        """Its row in the next NOTIFY; None if there is nothing to tell, or no room."""
        virtual = self.virtual
        content = virtual.content()
        now = (virtual.number, virtual.state, content)
        if not full and now == self.told:
            return None
        if content is not None and not room.take(len(content.body) + PART_OVERHEAD):
            self.owner.changed[self] = None
            if not full:
                return None
            content = None
        self.told = (virtual.number, virtual.state, content)
        shown = Instance(str(virtual.number), virtual.state.value, virtual.reason)
        return Row(self.uri, self.name, shown, content)


class InnerRow:
    """A member that is a list of ours."""

    __slots__ = ("inner", "name", "owner", "uri")

    def __init__(self, owner: "ListUse", entry: Entry) -> None:
        self.owner = owner
        self.uri = entry.uri
        self.name = name_of(entry)
        self.inner = ListUse(entry.uri, self)

    def show(self, full: bool, room: Room) -> Row | None:
        inner = self.inner
        shown = Instance("1", State.ACTIVE.value)
        inner.begins = full = full or inner.begins
        if full and not room.take(len(inner.rows) * ROW_OVERHEAD + PART_OVERHEAD):
            self.owner.changed[self] = None
            return Row(self.uri, self.name, shown) if self.owner.in_full else None
        content = inner.content(full, room)
        if inner.changed:
            self.owner.changed[self] = None
        return None if content is None else Row(self.uri, self.name, shown, content)


class SilentRow:
    """A member of whom nothing will ever be told. instance: why, if that is known."""

    __slots__ = ("instance", "name", "uri")

    def __init__(self, entry: Entry, instance: Instance | None = None) -> None:
        self.uri = entry.uri
        self.name = name_of(entry)
        self.instance = instance

    def show(self, full: bool, room: Room) -> Row | None:
        return Row(self.uri, self.name, self.instance) if full else None


AnyRow = MemberRow | InnerRow | SilentRow


class ListUse:
    """A list as one subscription is told of it; the context of that subscription, or inside another."""

    def __init__(
        self,
        uri: str,
        above: InnerRow | None = None,
        entries: Sequence[Entry] = (),
        *,
        brought: bool = False,
    ) -> None:
        """above: the row it belongs to, for a list in a list. brought: the SUBSCRIBE said who is in it."""
        self.uri = uri
        self.above = above
        self.entries = tuple(entries)
        self.brought = brought
        self.rows: list[AnyRow] = []
        self.changed: dict[MemberRow | InnerRow, None] = {}
        """Rows that may have something to tell, in the order in which that happened."""
        self.version = 0
        """Of the next body."""
        self.before: dict[ListUse, int] = {}
        """The versions before the last body, of the lists within too."""
        self.by_datagram = False
        self.begins = True
        """The next body has to be a full one."""
        self.in_full = False
        self.opened = False
        self.last: Content | None = None
        """What a fetch was told last: should that have to be said again, the list is closed already."""
        self.subscription: Subscription
        self.token: Callable[[], str]
        self.domain = ""

    def mark(self, row: MemberRow | InnerRow) -> None:
        """This row may have something to tell."""
        self.changed[row] = None
        if self.above is not None:
            self.above.owner.mark(self.above)

    def content(self, full: bool, room: Room) -> Content | None:
        """The next body; None if there is nothing to tell. It counts as told."""
        if self.above is None:
            self.before = {use: use.version for use in self.uses()}
        rows: Sequence[AnyRow] = self.rows if full else tuple(self.changed)
        self.changed, self.in_full = {}, full
        shown = [row for each in rows if (row := each.show(full, room)) is not None]
        if not (shown or full):
            return None
        self.begins = False
        self.version += 1
        return body_of(
            self.uri,
            self.version - 1,
            shown,
            full=full,
            token=self.token(),
            domain=self.domain,
        )

    def uses(self) -> Iterator["ListUse"]:
        """This list and those within."""
        yield self
        for row in self.rows:
            if isinstance(row, InnerRow):
                yield from row.inner.uses()

    def room(self, full: bool, datagram: bool = False) -> Room:
        """What the next NOTIFY can hold beside its table. A part has one document at least, or none goes.

        datagram: from now on. The last body was too large and never left, so its versions are free: the first
        that a subscriber sees is 0 (RFC 4662 §5.2).
        """
        if datagram and not self.by_datagram:
            self.by_datagram = True
            self.take_back()
        table = TABLE_OVERHEAD + (len(self.rows) * ROW_OVERHEAD if full else 0)
        return Room((DATAGRAM if datagram else OCTETS) - table, 0 if full else 1)

    def take_back(self) -> None:
        """The last body did not leave: its versions are free. The next has to be a full one."""
        for use, version in self.before.items():
            use.version = version
        self.begins = True

    def kept(self) -> list[Json] | None:
        """What has to survive a restart: who was brought along, by which names; None for a list of ours."""
        return [kept_entry(entry) for entry in self.entries] if self.brought else None

    def virtuals(self) -> Iterator[Virtual]:
        """All virtual subscriptions, those of inner lists too."""
        for row in self.rows:
            if isinstance(row, MemberRow):
                yield row.virtual
            elif isinstance(row, InnerRow):
                yield from row.inner.virtuals()


@dataclass(frozen=True, slots=True)
class Lister:
    """Makes the rows of list subscriptions. `depth`: lists in lists, 1: none."""

    domain: str
    identities: Identities
    lists: Lists
    members: Members
    fresh: Callable[[], str]
    depth: int

    def of(self, resource: Uri) -> Sequence[Entry] | None:
        """The members of the list with that address; None if it is no list."""
        return self.lists(self.identities.canonical(resource))

    def admission(self, request: Request, admission: Admission) -> Admission | None:
        """What a SUBSCRIBE that was admitted comes to if it is for a list; None if it is not."""
        entries, brought = self.of(admission.resource), brings_list(request)
        if entries is None and not brought:
            return None
        if EVENTLIST not in (*request.supported, *request.require):
            return refusal(421, headers=LIST_HEADERS)
        if "Accept" in request.headers and not accepts(request.accept, LIST_TYPES[:1]):
            return refusal(406)
        if entries is None:
            try:
                entries = self.brought(request)
            except DocumentError:
                return refusal(400, "Bad List")
            if not any(self.is_served(entry) for entry in entries):
                return refusal(403, "Nobody Of This Domain")
        elif brought:
            return refusal(403, "A List Already")
        if len(entries) > MAX_MEMBERS:
            return refusal(413, "List Too Long")
        use = ListUse(str(admission.resource), entries=entries, brought=brought)
        return replace(admission, headers=LIST_HEADERS, context=use)

    def again(self, request: Request, use: ListUse, admission: Admission) -> Admission:
        """The same in the dialog."""
        if brings_list(request):
            try:
                same = use.brought and self.who(self.brought(request)) == self.who(use.entries)
            except DocumentError:
                same = False
            if not same:
                return refusal(415, headers=(("Accept", ""),))
        return replace(admission, headers=LIST_HEADERS)

    def brought(self, request: Request) -> tuple[Entry, ...]:
        """The list in a SUBSCRIBE, each address once. Raises DocumentError."""
        charset = request.content_type.charset if request.content_type is not None else None
        found: dict[PresentityKey | str, Entry] = {}
        for entry in resource_lists.entries(resource_lists.parse(request.body, charset)):
            found.setdefault(self.key(entry.uri) or entry.uri, entry)
        return tuple(found.values())

    def who(self, entries: Iterable[Entry]) -> set[PresentityKey | str]:
        """Whom they name."""
        return {self.key(entry.uri) or entry.uri for entry in entries}

    def is_served(self, entry: Entry) -> bool:
        """Is it somebody, or a list, of our domain?"""
        key = self.key(entry.uri)
        return key is not None and self.served(key) is not None

    def kept(self, resource: Uri, listed: Json) -> ListUse | None:
        """The way back from `ListUse.kept`; None if there is no such list any more."""
        if isinstance(listed, list):
            entries = [entry for each in listed if (entry := restored_entry(each)) is not None]
            return ListUse(str(resource), entries=entries, brought=True)
        found = self.of(resource)
        return None if found is None else ListUse(str(resource), entries=found)

    def open(self, use: ListUse, subscription: Subscription, now: float) -> None:
        """The subscription begins, or is taken up again: everybody in the list is subscribed to."""
        self.fill(use, subscription, use.entries, (self.key(use.uri),), [MAX_ROWS])
        for virtual in use.virtuals():
            virtual.since = now
            self.members.joined(virtual, now)
        use.opened = True

    def close(self, use: ListUse, happened: Input, now: float) -> None:
        """It is over."""
        for virtual in use.virtuals():
            self.members.left(virtual, happened, now)

    def fill(
        self,
        use: ListUse,
        subscription: Subscription,
        entries: Sequence[Entry],
        path: tuple[PresentityKey | None, ...],
        left: list[int],
    ) -> None:
        """Rows for these members, each address once. path: the lists we are in; left: rows still allowed."""
        use.subscription, use.token, use.domain = subscription, self.fresh, self.domain
        seen: set[PresentityKey | str] = set()
        for entry in entries:
            key = self.key(entry.uri)
            if left[0] <= 0 or (key or entry.uri) in seen:
                continue
            left[0] -= 1
            seen.add(key or entry.uri)
            use.rows.append(self.row(use, entry, key, path, left))

    def row(
        self,
        use: ListUse,
        entry: Entry,
        key: PresentityKey | None,
        path: tuple[PresentityKey | None, ...],
        left: list[int],
    ) -> AnyRow:
        resource = None if key is None else self.served(key)
        if key is None or resource is None:
            return SilentRow(entry)
        inside = self.lists(key)
        if inside is None:
            return MemberRow(use, entry, resource, self.fresh)
        if key in path or len(path) >= self.depth:
            return SilentRow(entry, Instance("1", State.TERMINATED.value, "noresource"))
        row = InnerRow(use, entry)
        self.fill(row.inner, use.subscription, inside, (*path, key), left)
        return row

    def key(self, text: str) -> PresentityKey | None:
        """Whose address that is; None if it is none."""
        try:
            return self.identities.canonical(Uri.parse(text))
        except ParseError:
            return None

    def served(self, key: PresentityKey) -> Uri | None:
        """The presentity's address-of-record at our domain; None: it is somebody else's."""
        uri = self.identities.address(Uri.parse(key))
        if uri.scheme not in ("sip", "sips", "pres") or not uri.user:
            return None
        if uri.host.lower() != self.domain.lower():
            return None
        return Uri("sip", user=uri.user, host=self.domain)


def brings_list(request: Request) -> bool:
    """Does this SUBSCRIBE bring its list?"""
    kind = request.content_type if request.body else None
    return kind is not None and kind.essence == RESOURCE_LISTS


def kept_entry(entry: Entry) -> Json:
    """Its URI, or with a name URI, name and language."""
    named = entry.display_name
    return entry.uri if named is None else [entry.uri, named.text, named.lang]


def restored_entry(kept: Json) -> Entry | None:
    """The way back from `kept_entry`; None if that is none."""
    match kept:
        case str(uri):
            return Entry(uri)
        case [str(uri), str(text), None]:
            return Entry(uri, Note(text))
        case [str(uri), str(text), str(lang)]:
            return Entry(uri, Note(text, lang))
    return None


def name_of(entry: Entry) -> str:
    return entry.display_name.text if entry.display_name is not None else ""
