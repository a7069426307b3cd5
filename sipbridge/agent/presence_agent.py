"""The embedded presence agent (RFC 3856 §3): a presence server of our own for one domain.

It joins two machines of `events`. The compositor takes publications in, the notifier tells the watchers; the
agent is the authority of both: it owns the presentities of its domain, knows their rules, and decides who
sees what. It knows two event packages, presence and presence.winfo.

A PUBLISH changes one presentity's `PublishedState`; each active subscription is offered the news, and the
notifier sends a NOTIFY to those whose own view of it has really changed. A view is the composed document
filtered by what the presentity's rules (RFC 5025) give this watcher:

    allow         active, the filtered document
    polite-block  active, a closed document
    confirm       pending, no document; the presentity sees the watcher by presence.winfo
    block         403 to SUBSCRIBE. Whoever asks then needs no dialog to be told no (RFC 6665 §4.2.1.3). A
                  subscription that lives already ends with `terminated;reason=rejected`

`rules_changed` judges every watcher of a presentity anew. Rules bound to a time are judged again when their
time comes, rules bound to the presentity's sphere whenever it publishes. presence.winfo is for the presentity
itself, others get 403.

A watcher may send filters (RFC 4660) with its SUBSCRIBE. They are applied to what its permission shows, and
say what of that it is told and which changes are worth a NOTIFY. A filter about a list is refused with 488.

A subscription to one of the agent's `lists` stands for one to each of its members (RFC 4662): `agent.lists`
has the rows, the agent judges them as it judges direct subscriptions.

With `storing` on, every publication and subscription is queued as a `StoreChange` and the 200 that promises
it waits for the commit (`UserAgent.store`). `restore` takes them up again: entity-tags and dialogs live on,
and after `resume` everybody is notified of how things stand now. Publishers and subscribers in our own
process, which come by a flow in memory, do not outlive us; what they had is not stored, they publish and
subscribe again.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sipbridge.agent.admission import Door, refusal
from sipbridge.agent.lists import (
    LIST_HEADERS,
    VERSION_LEAP,
    Lister,
    ListUse,
    Virtual,
    brings_list,
)
from sipbridge.agent.ports import (
    Authenticator,
    PublicationRemoved,
    PublicationStored,
    Record,
    RegistrationRemoved,
    RegistrationStored,
    StoreChange,
    SubscriptionRemoved,
    SubscriptionStored,
)
from sipbridge.agent.publications import NotShown, PublishedState, View
from sipbridge.agent.registrar import Registrar
from sipbridge.agent.trust import NOBODY, TrustedPeers
from sipbridge.agent.watchers import (
    WAITING,
    WAITING_LIFE,
    Watcher,
    WatcherInfoView,
    Watchers,
)
from sipbridge.errors import (
    DocumentError,
    FilterError,
    LocalProtocolError,
    ParseError,
    SipBridgeError,
)
from sipbridge.events.compositor import Change, Compositor, Publication, warning
from sipbridge.events.conditional import entity_tag
from sipbridge.events.notifier import (
    BUSY_RETRY_AFTER,
    NOTHING_NEW,
    Admission,
    Content,
    Input,
    Notifier,
    State,
    Subscription,
)
from sipbridge.events.package import EventPackage
from sipbridge.events.presence_package import BRINGS_LIST, EVENTLIST, PRESENCE, SIMPLE_FILTER
from sipbridge.events.winfo_package import PRESENCE_WINFO
from sipbridge.identities import Identities, PresentityKey
from sipbridge.presence import pidf, simple_filter
from sipbridge.presence.lists import Entry
from sipbridge.presence.model import Presence
from sipbridge.presence.narrowing import narrowed, triggered
from sipbridge.presence.rules import Permission, RuleSet, SubHandling, evaluate, next_change
from sipbridge.presence.simple_filter import Filter, Filters, merged
from sipbridge.sip.dialog import Json
from sipbridge.sip.fields import parse_media_type
from sipbridge.sip.message import Request
from sipbridge.sip.nat import Nat
from sipbridge.sip.timers import Deadline
from sipbridge.sip.usage import ServerRequest
from sipbridge.sip.user_agent import UserAgent
from sipbridge.uri import Uri

WINFO_LEAP = 100_000
"""Added to the version of a restored winfo subscription: it must grow, but is not stored each time."""


@dataclass(frozen=True, slots=True)
class AgentLimits:
    """How much the agent takes on."""

    subscriptions: int = 200_000
    """About 4 kB each."""
    publications: int = 200_000
    """About 4 kB each, the document included."""
    min_notify_interval: float = 0.0
    """Least seconds between two NOTIFYs of one subscription; RFC 3856 §6.10 recommends 5, 0 tells at once."""
    nat: Nat = Nat.OFF
    """Whose NOTIFYs go to the source of the SUBSCRIBE instead of its Contact."""
    list_depth: int = 4
    """Lists in lists that are shown; 1: none."""
    list_gather: float = 0.1
    """Seconds in which changes of a list's members are gathered into one NOTIFY."""
    entity_tags: bool = True
    """Do NOTIFYs carry entity-tags, so that watchers need not be told again what they hold (RFC 5839)?"""
    rate_control: bool = True
    """May watchers ask how often they are notified (RFC 6446)?"""


@dataclass(frozen=True, slots=True)
class NotRestored:
    """A stored record could not be taken up; it is removed from the store."""

    id: str
    reason: str


class Presentity:
    """Everything we hold about one presentity."""

    __slots__ = (
        "judged_again",
        "key",
        "members",
        "published",
        "subscriptions",
        "waits",
        "watchers",
        "winfo",
    )

    def __init__(self, key: PresentityKey, report: Callable[[object], None]) -> None:
        self.key = key
        self.published = PublishedState(key, report)
        self.subscriptions: dict[str, Subscription] = {}
        """To its presence, the living ones, by their id."""
        self.members: dict[Virtual, None] = {}
        """Subscriptions to lists that it is in, as they concern it."""
        self.winfo: dict[str, Subscription] = {}
        """To its presence.winfo."""
        self.watchers = Watchers()
        self.waits: dict[str, Deadline] = {}
        """When those who wait have waited long enough, by the watcher's id."""
        self.judged_again: Deadline | None = None

    @property
    def empty(self) -> bool:
        return not (
            self.published.publications
            or self.subscriptions
            or self.members
            or self.winfo
            or self.watchers.there
        )


class Seen:
    """What the agent remembers of a subscription: whose it is, and how it sees that presentity."""

    __slots__ = ("before", "filters", "presentity", "seen", "told", "view")

    def __init__(self, presentity: Presentity) -> None:
        self.presentity = presentity
        self.filters: Filters = ()
        """What it wants of what it may see (RFC 4660)."""
        self.before: Filters | None = None
        """What it wanted until the SUBSCRIBE that is being answered; None if that brings no filters."""
        self.seen: bytes | None = None
        """What it might have seen when it was last asked whether that is worth a NOTIFY."""
        self.view: View | None = None
        """Of an active subscription to presence."""
        self.told: WatcherInfoView | None = None
        """Of a subscription to presence.winfo."""

    def permitted(self) -> Content | None:
        """What it may see now."""
        return self.presentity.published.content(self.view) if self.view is not None else None

    def content(self) -> Content | None:
        """What it may see and wants to."""
        content = self.permitted()
        if content is None or not self.filters:
            return content
        try:
            body = narrowed(content.body, self.filters)
        except SipBridgeError as error:
            self.not_filtered(error)
            return content
        return Content(content.content_type, body, etag=entity_tag(content.content_type, body))

    def worth_telling(self) -> bool:
        """Has something happened that its filters call worth a NOTIFY? Each change is asked about once."""
        if not any(each.triggers for each in self.filters):
            return True
        content = self.permitted()
        before, self.seen = self.seen, content.body if content is not None else None
        if before is None or self.seen is None:
            return before is not self.seen
        try:
            return triggered(before, self.seen, self.filters)
        except SipBridgeError as error:
            self.not_filtered(error)
            return True

    def not_filtered(self, error: SipBridgeError) -> None:
        """It is told whole then, and nobody else misses anything."""
        self.presentity.published.report(NotShown(self.presentity.key, str(error)))


@dataclass(frozen=True, slots=True)
class Refiltered:
    """New filters of a watcher, not stored yet: if they cannot be, he is told 500 and keeps the old ones."""

    seen: Seen
    before: Filters
    after: Filters

    def change_committed(self, now: float) -> None:
        """They stay."""

    def change_failed(self, now: float) -> None:
        if self.seen.filters is self.after:
            self.seen.filters = self.before


@dataclass(frozen=True, slots=True)
class JudgeAgain:
    """The rules of a presentity mean something else from now on (RFC 4745 §7.3, validity)."""

    agent: "PresenceAgent"
    presentity: Presentity

    def handle_timeout(self, now: float) -> None:
        self.presentity.judged_again = None
        self.agent.judge(self.presentity, now)


@dataclass(frozen=True, slots=True)
class WaitingOver:
    """A waiting watcher has waited long enough."""

    agent: "PresenceAgent"
    presentity: Presentity
    id: str

    def handle_timeout(self, now: float) -> None:
        self.agent.waiting_over(self.presentity, self.id, "giveup", now)


class PresenceAgent:
    """Serves one domain at one user agent core."""

    def __init__(
        self,
        ua: UserAgent,
        *,
        domain: str,
        identities: Identities,
        rules: Callable[[PresentityKey], RuleSet | None],
        sub_handling: SubHandling,
        wall: Callable[[float], datetime],
        authenticator: Authenticator | None = None,
        trusted: TrustedPeers = NOBODY,
        min_expires: int = PRESENCE.min_expires,
        max_expires: int = PRESENCE.max_expires,
        default_expires: int = PRESENCE.default_expires,
        limits: AgentLimits | None = None,
        storing: bool = False,
        registrar: bool = False,
        lists: Callable[[PresentityKey], Sequence[Entry] | None] = lambda key: None,
    ) -> None:
        """`rules` gives a presentity's rule set, None for none; undecided watchers get `sub_handling`.

        wall: the aware UTC time at a `now`. storing: queue StoreChanges; somebody must then report commits.
        registrar: serve REGISTER too. lists: who is in the list with that address, None if it is no list.
        """
        self.limits = limits = limits or AgentLimits()
        self.ua = ua
        self.identities = identities
        self.rules = rules
        self.sub_handling = sub_handling
        self.wall = wall
        self.storing = storing
        self.door = Door(domain, identities, authenticator, trusted, report=ua.report)
        self.lister = Lister(domain, identities, lists, self, ua.identifiers.tag, limits.list_depth)
        self.listed = 0
        """Members of lists that are subscribed to."""
        ua.supported += [EVENTLIST, BRINGS_LIST]
        self.presentities: dict[PresentityKey, Presentity] = {}
        self.stored: set[str] = set()
        """Ids of the publications that are in the store."""

        def bounded(package: EventPackage) -> EventPackage:
            return replace(
                package,
                min_expires=min_expires,
                max_expires=max_expires,
                default_expires=default_expires,
            )

        self.registrar = (
            Registrar(
                ua,
                self.door,
                wall,
                min_expires=min_expires,
                default_expires=default_expires,
                max_expires=max_expires,
                storing=storing,
            )
            if registrar
            else None
        )
        self.presence = bounded(PRESENCE)
        self.winfo = bounded(PRESENCE_WINFO)
        self.compositor = Compositor(
            ua, {self.presence.name: self.presence}, self, max_publications=limits.publications
        )
        self.notifier = Notifier(
            ua,
            {self.presence.name: self.presence, self.winfo.name: self.winfo},
            self,
            max_subscriptions=limits.subscriptions,
            min_interval=limits.min_notify_interval,
            entity_tags=limits.entity_tags,
            rate_control=limits.rate_control,
            nat=limits.nat,
        )

    def rules_changed(self, presentity: PresentityKey, now: float) -> None:
        """Judge every watcher of the presentity anew, tell those for whom something changed."""
        if presentity in self.presentities:
            self.judge(self.presentities[presentity], now)

    # --- publications (the compositor's authority) ------------------------------------------------

    def admit_publisher(self, incoming: ServerRequest, now: float) -> Admission:
        admission = self.door.admit(incoming, now, for_itself=True)
        if admission.status < 300 and self.lister.of(admission.resource) is not None:
            return refusal(403, "A List Has No Presence")
        return admission

    def read_document(self, package: EventPackage, content_type: str, body: bytes) -> Presence:
        charset = parse_media_type(content_type).parameters.get("charset")
        return pidf.parse(body, charset)

    def keep_publication(self, publication: Publication, change: Change, now: float) -> int | None:
        if not self.storing:
            return None
        if publication.local or change in (Change.REMOVED, Change.EXPIRED):
            if publication.id not in self.stored:
                return None
            self.stored.discard(publication.id)
            return self.ua.store(PublicationRemoved(publication.id))
        self.stored.add(publication.id)
        return self.ua.store(
            PublicationStored(
                publication.id,
                self.identities.canonical(publication.resource),
                str(publication.resource),
                publication.etag,
                publication.content_type,
                publication.body,
                self.wall(publication.received),
                self.wall(publication.expires_at),
            )
        )

    def publication_changed(
        self, publication: Publication, change: Change, now: float, trace: str
    ) -> None:
        if change is Change.REFRESHED:
            return
        presentity = self.presentity(publication.resource)
        document = publication.document
        if change in (Change.REMOVED, Change.EXPIRED):
            presentity.published.drop(publication.id)
        elif isinstance(document, Presence):
            presentity.published.put(publication.id, document, self.wall(publication.received))
        if judges_by_sphere(self.rules(presentity.key)):
            self.judge(presentity, now)
        for subscription in list(presentity.subscriptions.values()):
            self.notifier.offer(subscription, now, trace)
        for member in tuple(presentity.members):
            self.member_changed(member, now, trace)
        self.tidy(presentity)

    # --- subscriptions (the notifier's authority) -------------------------------------------------

    def admit_subscriber(
        self,
        incoming: ServerRequest,
        package: EventPackage,
        subscription: Subscription | None,
        now: float,
    ) -> Admission:
        resource = subscription.resource if subscription is not None else None
        watcher = subscription.watcher if subscription is not None else None
        admission = self.door.admit(incoming, now, resource=resource, watcher=watcher)
        if admission.status >= 300:
            return admission
        if package is self.winfo:
            if not self.door.same(admission.user, admission.resource):
                return refusal(403, "Not Your Watchers")
            return admission
        if subscription is not None and isinstance(subscription.context, ListUse):
            if brings_filter(incoming.request):
                return refusal(488, "No Filters For Lists")
            return self.lister.again(incoming.request, subscription.context, admission)
        if subscription is None:
            listed = self.lister.admission(incoming.request, admission)
            if listed is not None and brings_filter(incoming.request):
                return refusal(488, "No Filters For Lists")
            if listed is not None:
                return self.within_limits(listed)
        key = self.identities.canonical(admission.resource)
        handling = self.permission(key, admission.user, now).sub_handling
        if handling is SubHandling.BLOCK:
            return refusal(403)
        admission = replace(admission, pending=handling is SubHandling.CONFIRM)
        return self.filtering(incoming.request, admission, subscription)

    def filtering(
        self, request: Request, admission: Admission, subscription: Subscription | None
    ) -> Admission:
        """The admission with the filters that the SUBSCRIBE brings (RFC 4660 §5), or a refusal."""
        if subscription is not None and brings_list(request):
            return refusal(415, headers=(("Accept", SIMPLE_FILTER),))
        if not brings_filter(request):
            return admission
        seen = subscription.context if subscription is not None else None
        before = seen.filters if isinstance(seen, Seen) else ()
        try:
            kind = request.content_type
            news = simple_filter.parse(request.body, kind.charset if kind is not None else None)
            filters = merged(before, tuple(f for f in news if self.is_about(f, admission.resource)))
        except DocumentError as error:
            return refusal(error.status_hint or 400, headers=(warning(self.ua.name, error),))
        if isinstance(seen, Seen):
            seen.before, seen.filters = seen.filters, filters
        return replace(admission, context=filters)

    def is_about(self, one: Filter, resource: Uri) -> bool:
        """Is a filter about the resource of its subscription? Others are about members of a list."""
        if one.domain:
            return one.domain == resource.host.lower()
        try:
            return not one.uri or self.door.same(Uri.parse(one.uri), resource)
        except ParseError:
            raise FilterError(f"a filter about {one.uri[:80]}") from None

    def content(self, subscription: Subscription, now: float) -> Content | None:
        seen = subscription.context
        if isinstance(seen, ListUse):
            return self.list_content(subscription, seen)
        if not isinstance(seen, Seen):
            return None
        if seen.told is not None:
            return seen.told.content(seen.presentity.watchers, now, full=subscription.must)
        worth_telling = seen.worth_telling()
        return seen.content() if subscription.must or worth_telling else NOTHING_NEW

    def take_back(self, subscription: Subscription) -> None:
        seen = subscription.context
        if isinstance(seen, ListUse):
            seen.take_back()
        elif isinstance(seen, Seen) and seen.told is not None:
            seen.told.take_back()

    def entity_tag(self, subscription: Subscription, now: float) -> str:
        seen = subscription.context
        if not isinstance(seen, Seen) or seen.view is None:
            return ""  # parts of a state, as of a list, cannot be held
        content = seen.content()
        return content.etag if content is not None else ""

    def keep_subscription(
        self, subscription: Subscription, happened: Input, now: float
    ) -> int | None:
        if isinstance(subscription.context, ListUse):
            return self.keep_list(subscription, subscription.context, happened, now)
        presentity = self.presentity(subscription.resource)
        seen = self.seen(subscription, presentity)
        if subscription.package is self.winfo:
            mine = presentity.winfo
        else:
            mine = presentity.subscriptions
            self.see(subscription, seen, happened, now)
            self.follow(presentity, subscription, happened, now)
        if subscription.state is State.TERMINATED:
            mine.pop(subscription.id, None)
        else:
            mine[subscription.id] = subscription
        number = self.store_subscription(presentity, subscription, now)
        before, seen.before = seen.before, None
        if number is not None and before is not None:
            self.ua.when_stored(number, Refiltered(seen, before, seen.filters))
        self.plan_judging(presentity, now)
        self.tidy(presentity)
        return number

    def seen(self, subscription: Subscription, presentity: Presentity) -> Seen:
        """What we remember of it, made at the first step."""
        if not isinstance(subscription.context, Seen):
            filters = subscription.context
            subscription.context = Seen(presentity)
            if isinstance(filters, tuple):
                subscription.context.filters = filters
            if subscription.package is self.winfo:
                subscription.context.told = WatcherInfoView(presentity.key)
        return subscription.context

    def see(self, subscription: Subscription, seen: Seen, happened: Input, now: float) -> None:
        """Give an active subscription its view, take it from one that lost its permission."""
        if subscription.state is State.ACTIVE:
            permission = self.permission(seen.presentity.key, subscription.watcher, now)
            seen.view = seen.presentity.published.view(permission)
        elif happened in (Input.REJECTED, Input.DEACTIVATED):
            seen.view = None

    def follow(
        self, presentity: Presentity, subscription: Subscription, happened: Input, now: float
    ) -> None:
        """Keep the list of watchers. Somebody who may fetch, and does, is not worth a word there.

        Nor is a fetch of the gateway's, which knows by itself who asked; who leaves it does not wait.
        """
        seen, ours = subscription.context, local(subscription)
        if subscription.fetch and (ours or (isinstance(seen, Seen) and seen.view is not None)):
            return
        changed = presentity.watchers.follow(subscription, happened, now, may_wait=not ours)
        self.tell_watchers(presentity, changed, now)

    def tell_watchers(self, presentity: Presentity, changed: Iterable[Watcher], now: float) -> None:
        """Tell presence.winfo, and forget those who wait no more, in the store too."""
        changed = list(changed)
        for watcher in changed:
            if watcher.status == WAITING:
                over = WaitingOver(self, presentity, watcher.id)
                presentity.waits[watcher.id] = self.ua.schedule(watcher.ends, over)
            elif (waits := presentity.waits.pop(watcher.id, None)) is not None:
                waits.cancel()
                if self.storing:
                    self.ua.store(SubscriptionRemoved(watcher.id))
        for subscription in list(presentity.winfo.values()) if changed else ():
            seen = subscription.context
            if isinstance(seen, Seen) and seen.told is not None:
                seen.told.note(changed)
                self.notifier.offer(subscription, now)

    def waiting_over(self, presentity: Presentity, id: str, event: str, now: float) -> None:
        """A waiting watcher is decided, or has waited long enough."""
        gone = presentity.watchers.leave(
            [w for w in presentity.watchers.waiting() if w.id == id], event
        )
        self.tell_watchers(presentity, gone, now)
        self.tidy(presentity)

    def has_published(self, key: PresentityKey) -> bool:
        """Is there a publication of this person?"""
        presentity = self.presentities.get(key)
        return presentity is not None and bool(presentity.published.publications)

    # --- lists ------------------------------------------------------------------------------------

    def list_content(self, subscription: Subscription, use: ListUse) -> Content | None:
        """Everybody in the list if that is due, else whoever has changed."""
        if subscription.state is State.TERMINATED:
            return use.last if subscription.fetch else None
        full = subscription.must or use.begins
        room = use.room(full, subscription.datagrams)
        content = use.content(full, room)
        if content is not None:
            content = replace(content, more=bool(use.changed), divisible=room.divisible)
        if subscription.fetch:
            use.last = content
        return content or NOTHING_NEW

    def within_limits(self, listed: Admission) -> Admission:
        """Each member of a list counts as a subscription."""
        use = listed.context
        if isinstance(use, ListUse) and (
            self.listed + len(use.entries) > self.limits.subscriptions
        ):
            return refusal(503, headers=(("Retry-After", str(BUSY_RETRY_AFTER)),))
        return listed

    def keep_list(
        self, subscription: Subscription, use: ListUse, happened: Input, now: float
    ) -> int | None:
        if not use.opened:
            self.lister.open(use, subscription, now)
        if subscription.state is State.TERMINATED:
            self.lister.close(use, happened, now)
        return self.store_list(subscription, use, now)

    def joined(self, member: Virtual, now: float) -> None:
        presentity = self.presentity(member.resource)
        presentity.members[member] = None
        self.listed += 1
        self.judge_member(presentity, member, now)
        self.plan_judging(presentity, now)

    def left(self, member: Virtual, happened: Input, now: float) -> None:
        presentity = self.presentity(member.resource)
        presentity.members.pop(member, None)
        self.listed -= 1
        member.state = State.TERMINATED
        self.follow_member(presentity, member, happened, now)
        self.plan_judging(presentity, now)
        self.tidy(presentity)

    def judge_member(self, presentity: Presentity, member: Virtual, now: float) -> None:
        """As `judge_one`, for the watcher of a list."""
        permission = self.permission(presentity.key, member.watcher, now)
        for happened in member.judged(permission, presentity.published):
            self.follow_member(presentity, member, happened, now)
        self.member_changed(member, now)

    def follow_member(
        self, presentity: Presentity, member: Virtual, happened: Input, now: float
    ) -> None:
        """As `follow`, for the watcher of a list."""
        subscription = member.subscription
        ours = local(subscription)
        if subscription.fetch and (ours or member.view is not None):
            return
        may_wait = not ours and (self.knows(presentity) or not member.row.root.brought)
        changed = presentity.watchers.follow(member, happened, now, may_wait=may_wait)
        self.tell_watchers(presentity, changed, now)
        waiting = presentity.watchers.there.get(member.id)
        if self.storing and waiting is not None and waiting.status == WAITING:
            self.store_waiting(presentity, waiting, subscription.package.name, now)

    def knows(self, presentity: Presentity) -> bool:
        """Is there any sign of such a person, but for those who watch?"""
        return (
            presentity.published.known
            or bool(presentity.winfo)
            or self.rules(presentity.key) is not None
        )

    def member_changed(self, member: Virtual, now: float, trace: str = "") -> None:
        """What the list's subscriber sees of this member may be another."""
        member.row.owner.mark(member.row)
        use = member.subscription.context
        if isinstance(use, ListUse) and use.opened:
            self.notifier.offer(member.subscription, now, trace, gather=self.limits.list_gather)

    # --- judging ----------------------------------------------------------------------------------

    def permission(self, key: PresentityKey, watcher: Uri, now: float) -> Permission:
        """What the presentity's rules give the watcher at this moment. Itself it always sees whole."""
        at = self.wall(now)
        if self.identities.canonical(watcher) == key:
            return evaluate(None, watcher, at, SubHandling.ALLOW)
        rules = self.rules(key)
        sphere = None
        if judges_by_sphere(rules) and key in self.presentities:
            sphere = self.presentities[key].published.sphere(at)
        return evaluate(rules, self.identities.address(watcher), at, self.sub_handling, sphere)

    def judge(self, presentity: Presentity, now: float) -> None:
        """Every watcher anew: all are judged first, and those who may see nothing hear of it first."""
        presentity.published.views.clear()
        judged = [
            (subscription, self.permission(presentity.key, subscription.watcher, now))
            for subscription in presentity.subscriptions.values()
        ]
        for subscription, permission in sorted(judged, key=lambda one: sees(one[1])):
            self.judge_one(presentity, subscription, permission, now)
        for member in tuple(presentity.members):
            self.judge_member(presentity, member, now)
        for waiting in presentity.watchers.waiting():
            handling = self.permission(presentity.key, Uri.parse(waiting.uri), now).sub_handling
            if handling is not SubHandling.CONFIRM:
                word = "rejected" if handling is SubHandling.BLOCK else "approved"
                self.waiting_over(presentity, waiting.id, word, now)
        self.plan_judging(presentity, now)

    def judge_one(
        self,
        presentity: Presentity,
        subscription: Subscription,
        permission: Permission,
        now: float,
    ) -> None:
        if permission.sub_handling is SubHandling.BLOCK:
            self.notifier.happen(subscription, Input.REJECTED, now)
        elif permission.sub_handling is SubHandling.CONFIRM:
            if subscription.state is State.ACTIVE:
                self.notifier.happen(subscription, Input.DEACTIVATED, now)
        elif subscription.state is State.PENDING:
            self.notifier.happen(subscription, Input.APPROVED, now)
        elif isinstance(subscription.context, Seen):
            subscription.context.view = presentity.published.view(permission)
            self.notifier.offer(subscription, now)

    def plan_judging(self, presentity: Presentity, now: float) -> None:
        """Wake up when a validity period of the rules begins or ends."""
        if presentity.judged_again is not None:
            presentity.judged_again.cancel()
            presentity.judged_again = None
        at = self.wall(now)
        watched = presentity.subscriptions or presentity.members
        change = next_change(self.rules(presentity.key), at) if watched else None
        if change is not None:
            when = now + (change - at).total_seconds()
            presentity.judged_again = self.ua.schedule(when, JudgeAgain(self, presentity))

    # --- presentities -----------------------------------------------------------------------------

    def presentity(self, uri: Uri) -> Presentity:
        key = self.identities.canonical(uri)
        if key not in self.presentities:
            self.presentities[key] = Presentity(key, self.ua.report)
        return self.presentities[key]

    def tidy(self, presentity: Presentity) -> None:
        """Nobody publishes, nobody watches: forget that we have ever heard of it."""
        if (
            presentity.empty
            and presentity.judged_again is None
            and self.presentities.get(presentity.key) is presentity
        ):
            del self.presentities[presentity.key]

    # --- the store --------------------------------------------------------------------------------

    def store_subscription(
        self, presentity: Presentity, subscription: Subscription, now: float
    ) -> int | None:
        """Queue what has to survive of a subscription; the number of the change."""
        if not self.storing:
            return None
        waiting = presentity.watchers.there.get(subscription.id)
        if local(subscription) and subscription.state is not State.TERMINATED:
            return None
        if subscription.fetch and (waiting is None or waiting.status != WAITING):
            return None
        if subscription.state is not State.TERMINATED:
            kept: dict[str, Json] = {"version": self.version(subscription)}
            if isinstance(subscription.context, Seen):
                kept["filters"] = [one.source for one in subscription.context.filters]
            return self.store_snapshot(subscription, kept, now)
        if waiting is not None:
            return self.store_waiting(presentity, waiting, subscription.package.name, now)
        return None if local(subscription) else self.ua.store(SubscriptionRemoved(subscription.id))

    def store_list(self, subscription: Subscription, use: ListUse, now: float) -> int | None:
        """The same of a subscription to a list."""
        if not self.storing or local(subscription) or subscription.fetch:
            return None
        if subscription.state is State.TERMINATED:
            return self.ua.store(SubscriptionRemoved(subscription.id))
        kept: dict[str, Json] = {"version": use.version, "list": use.kept()}
        return self.store_snapshot(subscription, kept, now)

    def store_snapshot(
        self, subscription: Subscription, kept: Mapping[str, Json], now: float
    ) -> int:
        """A living subscription and what else is kept of it."""
        return self.ua.store(
            SubscriptionStored(
                subscription.id,
                self.identities.canonical(subscription.resource),
                subscription.package.name,
                json.dumps(
                    {"subscription": subscription.snapshot(now), **kept}, separators=(",", ":")
                ),
                self.wall(subscription.expires_at),
            )
        )

    def store_waiting(
        self, presentity: Presentity, waiting: Watcher, package: str, now: float
    ) -> int:
        """Somebody who waits for a decision."""
        kept = {
            "waiting": {
                "uri": waiting.uri,
                "shown": waiting.shown,
                "display_name": waiting.display_name,
                "event": waiting.event,
                "age": now - waiting.since,
            }
        }
        text = json.dumps(kept, separators=(",", ":"))
        return self.ua.store(
            SubscriptionStored(waiting.id, presentity.key, package, text, self.wall(waiting.ends))
        )

    def version(self, subscription: Subscription) -> int:
        seen = subscription.context
        return seen.told.version if isinstance(seen, Seen) and seen.told is not None else 0

    def restore(self, records: Iterable[Record], now: float) -> None:
        """Take up the publications and subscriptions of an earlier life. Call it before anything else.

        Nobody is told anything before `resume`. What cannot be read any more is reported as `NotRestored` and
        removed from the store.
        """
        records = list(records)
        # Publications first: the first NOTIFY of a restored subscription shall show them.
        for record in sorted(records, key=lambda r: isinstance(r, SubscriptionStored)):
            try:
                self.restore_record(record, now)
            except SipBridgeError as error:
                self.ua.report(NotRestored(record.id, str(error)))
                if self.storing:
                    self.ua.store(removal_of(record))
        for presentity in list(self.presentities.values()):
            self.judge(presentity, now)
            self.tidy(presentity)

    def restore_record(self, record: Record, now: float) -> None:
        """Raises ParseError, DocumentError, LocalProtocolError."""
        match record:
            case PublicationStored():
                self.restore_publication(record, now)
            case SubscriptionStored():
                self.restore_subscription(record, now)
            case RegistrationStored() if self.registrar is not None:
                self.registrar.restore(record, now)

    def resume(self, now: float) -> None:
        """After `restore`, when publishers in our process have published again: tell every watcher."""
        self.notifier.resume(now)

    def restore_publication(self, record: PublicationStored, now: float) -> None:
        """Raises ParseError, DocumentError."""
        at = self.wall(now)
        publication = self.compositor.restore(
            record.id,
            self.presence,
            Uri.parse(record.presentity_uri),
            record.etag,
            record.content_type,
            record.body,
            now,
            age=(at - record.received).total_seconds(),
            remaining=(record.expires - at).total_seconds(),
        )
        self.stored.add(record.id)
        if isinstance(publication.document, Presence):
            state = self.presentity(publication.resource).published
            state.put(publication.id, publication.document, record.received)

    def restore_subscription(self, record: SubscriptionStored, now: float) -> None:
        """Raises LocalProtocolError, DocumentError."""
        left = (record.expires - self.wall(now)).total_seconds()
        try:
            kept: Json = json.loads(record.snapshot)
        except ValueError as error:
            raise LocalProtocolError(f"not a snapshot of a subscription: {error}") from error
        if not isinstance(kept, Mapping):
            raise LocalProtocolError("not a snapshot of a subscription")
        waiting, subscription = kept.get("waiting"), kept.get("subscription")
        if isinstance(waiting, Mapping):
            self.restore_waiting(record, waiting, left, now)
        elif isinstance(subscription, Mapping):
            self.take_up(subscription, kept, left, now)
        else:
            raise LocalProtocolError("not a snapshot of a subscription")

    def take_up(
        self, stored: Mapping[str, Json], kept: Mapping[str, Json], left: float, now: float
    ) -> None:
        """A subscription that lives on, in its dialog. Raises LocalProtocolError, DocumentError."""
        found = kept.get("version")
        version = found if isinstance(found, int) else 0
        remaining = stored.get("remaining")
        elapsed = remaining - left if isinstance(remaining, (int, float)) else 0.0
        filters: Filters = ()
        sources = kept.get("filters")
        for source in sources if isinstance(sources, list) else ():
            filters = merged(filters, simple_filter.parse(str(source).encode()))
        subscription = self.notifier.restore(stored, now, elapsed=elapsed)
        if local(subscription):
            self.notifier.forget(subscription)
            self.ua.store(SubscriptionRemoved(subscription.id))
            return
        if "list" in kept:
            self.take_up_list(subscription, kept["list"], version, now)
            return
        presentity = self.presentity(subscription.resource)
        seen = self.seen(subscription, presentity)
        if seen.told is not None:
            seen.told.version = WINFO_LEAP + version
            presentity.winfo[subscription.id] = subscription
            return
        seen.filters = filters
        presentity.subscriptions[subscription.id] = subscription
        self.see(subscription, seen, Input.REFRESHED, now)
        changed = presentity.watchers.follow(subscription, Input.REFRESHED, now)
        self.tell_watchers(presentity, changed, now)

    def take_up_list(
        self, subscription: Subscription, listed: Json, version: int, now: float
    ) -> None:
        """A subscription to a list. One to a list that is no more ends."""
        use = self.lister.kept(subscription.resource, listed)
        subscription.headers = LIST_HEADERS
        if use is None:
            self.notifier.happen(subscription, Input.NO_RESOURCE, now)
            return
        use.version = VERSION_LEAP + version
        subscription.context = use
        self.lister.open(use, subscription, now)

    def restore_waiting(
        self, record: SubscriptionStored, stored: Mapping[str, Json], left: float, now: float
    ) -> None:
        """A watcher that waits, without a subscription."""
        uri, name, age = stored.get("uri"), stored.get("display_name"), stored.get("age")
        if not isinstance(uri, str) or not isinstance(name, str):
            raise LocalProtocolError("not a snapshot of a watcher")
        ends = now + max(left, 0.0)
        since = ends - WAITING_LIFE - (age if isinstance(age, (int, float)) else 0.0)
        presentity = self.presentity(Uri.parse(record.presentity))
        uri, shown = str(Uri.parse(uri)), str(stored.get("shown", ""))
        waiting = Watcher(record.id, uri, name, WAITING, "timeout", since, ends, shown)
        self.tell_watchers(presentity, presentity.watchers.wait(waiting), now)


def removal_of(record: Record) -> StoreChange:
    """The change that takes a record out of the store."""
    match record:
        case PublicationStored():
            return PublicationRemoved(record.id)
        case SubscriptionStored():
            return SubscriptionRemoved(record.id)
        case RegistrationStored():
            return RegistrationRemoved(record.id)


def brings_filter(request: Request) -> bool:
    """Has a SUBSCRIBE a body that is a filter set? Raises ParseError."""
    kind = request.content_type
    return bool(request.body) and kind is not None and kind.essence == SIMPLE_FILTER


def sees(permission: Permission) -> bool:
    """Does it show anything, be it only a closed document?"""
    return permission.sub_handling not in (SubHandling.BLOCK, SubHandling.CONFIRM)


def local(subscription: Subscription) -> bool:
    """Does its subscriber live in our process?"""
    flow = subscription.dialog.flow
    return flow is not None and flow.protocol == "memory"


def judges_by_sphere(rules: RuleSet | None) -> bool:
    """Does a rule ask for the presentity's sphere (RFC 4745 §7.2)?"""
    return rules is not None and any(r.conditions.sphere is not None for r in rules.rules)
