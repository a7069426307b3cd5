"""What a subscription to a list (RFC 4662) means for the gateway: who is in it, and news of each member.

`events.resource_list` reads the notifications; here their members become presentities and their documents
presence. One member whose address or document cannot be read costs nobody else anything: it is named in
`errors`, and it stays a member without news.

A member that has ended for a reason after which its server asks again by itself (RFC 6665 §4.1.3) says
nothing, just as a subscription of our own does; `rejected` and its like are ends.

Until the list has said who is in it, nobody knows: a first NOTIFY without a body, from a server that waits
for a decision or does not trust our address yet, says nothing about members.

A notification that was missed makes the list incomplete. It is asked for once, and again only after a
notification in good order, so that a server that cannot count is not asked for ever.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from sipbridge.app.placeholders import is_placeholder
from sipbridge.errors import DocumentError, ParseError
from sipbridge.events.resource_list import ListChange, ListView, Member
from sipbridge.events.subscriber import Notified
from sipbridge.events.subscriber_tables import AFTER, UNKNOWN_REASON
from sipbridge.gateway.ports import ListMember, ListUpdate, PresenceUpdate
from sipbridge.identities import Identities, PresentityKey
from sipbridge.presence.model import Presence
from sipbridge.presence.reading import read
from sipbridge.sip.policy import NO_POLICY, PeerPolicy
from sipbridge.uri import Uri


@dataclass(slots=True)
class ListNews:
    """What one NOTIFY brought. roster: None if nobody came or went and no state is another."""

    roster: ListUpdate | None = None
    members: list[PresenceUpdate] = field(default_factory=list)
    errors: list[DocumentError] = field(default_factory=list)
    tolerated: list[tuple[str, ...]] = field(default_factory=list)
    """Codes of what was wrong in documents that could be read all the same."""
    refresh: bool = False
    """Something was missed: subscribe again in the dialog."""


class ListWatch:
    """One list as one watcher sees it, through all dialogs of its subscription."""

    def __init__(
        self,
        watcher: PresentityKey,
        group: PresentityKey,
        identities: Identities,
        policy: PeerPolicy = NO_POLICY,
    ) -> None:
        """policy: of the server that keeps the list."""
        self.watcher = watcher
        self.group = group
        self.identities = identities
        self.policy = policy
        self.view = ListView()
        self.call_id = ""
        self.asked = False
        """A refresh was asked for, and nothing in good order has come since."""
        self.roster = ListUpdate(watcher, group, "")
        self.states: dict[str, str] = {}
        """Of the members in the roster, as the list writes their addresses."""
        self.documents: dict[PresentityKey, tuple[bytes, Presence]] = {}

    @property
    def is_list(self) -> bool:
        """Has anything come that only a list says?"""
        return self.view.version >= 0

    def receive(self, said: Notified) -> ListNews:
        """Apply a NOTIFY of the list."""
        news = ListNews()
        if said.call_id != self.call_id:
            self.call_id = said.call_id
            self.view.restart()
        change = self.read(said, news)
        news.refresh = change.missed and not self.asked
        self.asked = change.missed or (self.asked and not change.members)
        changed = said.state != self.roster.state or change.gone or self.is_news(change.members)
        if changed and (self.is_list or self.view.members):
            self.compare(said, news)
        for member in change.members:
            news.members += self.told(member, said, news)
        return news

    def read(self, said: Notified, news: ListNews) -> ListChange:
        """The body of a NOTIFY; nothing if there is none or it cannot be read."""
        try:
            return self.view.receive(said.content_type, said.body) if said.body else ListChange()
        except DocumentError as error:
            news.errors.append(error)
        except ParseError as error:
            news.errors.append(DocumentError(str(error)))
        return ListChange()

    def ended(self, reason: str, trace: str) -> ListUpdate:
        """The subscription to the list is over."""
        return ListUpdate(self.watcher, self.group, "terminated", (), reason, trace)

    def is_news(self, members: tuple[Member, ...]) -> bool:
        """Is one of them new, or in another state?"""
        return any(self.states.get(member.uri) != member.state for member in members)

    def compare(self, said: Notified, news: ListNews) -> None:
        """Who is in the list now."""
        listed = tuple(self.listed(news))
        self.roster = ListUpdate(self.watcher, self.group, said.state, listed, "", said.trace)
        news.roster = self.roster
        kept = {self.identities.canonical(member.uri) for member in listed}
        for key in [key for key in self.documents if key not in kept]:
            del self.documents[key]

    def listed(self, news: ListNews) -> Iterator[ListMember]:
        """Each person once; an address nobody can read is an error."""
        seen: set[PresentityKey] = set()
        roster = self.view.roster()
        self.states = {text: member.state for text, member in roster.items()}
        for text, member in roster.items():
            uri = self.address(text)
            if uri is None:
                news.errors.append(DocumentError(f"a member that is no address: {text[:120]!r}"))
                continue
            key = self.identities.canonical(uri)
            if key not in seen:
                seen.add(key)
                yield ListMember(uri, member.state, member.name)

    def address(self, text: str) -> Uri | None:
        try:
            return Uri.parse(text)
        except ParseError:
            return None

    def told(self, member: Member, said: Notified, news: ListNews) -> Iterator[PresenceUpdate]:
        """The member's news, if it has any."""
        uri = self.address(member.uri)
        final = not AFTER.get(member.reason, UNKNOWN_REASON).again
        if uri is None or not member.state or (member.state == "terminated" and not final):
            return
        key = self.identities.canonical(uri)
        yield PresenceUpdate(
            self.watcher,
            key,
            member.state,
            member.reason,
            self.document(key, member, news),
            said.trace,
            self.group,
        )

    def document(self, key: PresentityKey, member: Member, news: ListNews) -> Presence | None:
        """The member's document; the very object of before if nothing in it has changed.

        None: there is none, or none that says something.
        """
        if not member.body:
            return None
        before = self.documents.get(key)
        if before is not None and before[0] == member.body:
            return before[1]
        try:
            document = read(member.body, member.content_type)
        except DocumentError as error:
            news.errors.append(error)
            return None
        if not isinstance(document, Presence):
            news.errors.append(DocumentError(f"{member.content_type} is no presence"))
            return None
        if is_placeholder(document, self.policy):
            return None
        if document.deviations:
            news.tolerated.append(tuple(d.code for d in document.deviations))
        self.documents[key] = (member.body, document)
        return document
