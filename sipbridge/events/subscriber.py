"""Subscriptions of ours: the subscriber (RFC 6665 §4.1).

A subscription keeps its id for life, while SIP subscriptions and their dialogs come and go below it.

    notify-wait  SUBSCRIBE sent; no NOTIFY yet, timer N runs (§4.1.2.4)
    pending      the notifier knows us, nobody has decided
    active       decided; also any state word this module does not know
    ending       we ended it (Expires 0); the final NOTIFY or timer N is awaited
    waiting      it was lost; a new SUBSCRIBE follows
    terminated   nothing left at the notifier

The first NOTIFY makes the dialog, whether it comes before or after the 2xx; the 2xx makes none (§4.4.1), so
a fork with another tag changes nothing, and its NOTIFY gets 481, unless the package allows forking.

It is refreshed by itself (`retry.refresh_after`). A refresh that fails leaves it alive until its time is up,
and is tried again before; the responses of §4.1.2.2 (481 and its like) end it at once. What happens after an
end stands in the table `AFTER`, by the reason of the final NOTIFY (§4.1.3). A first SUBSCRIBE that fails is
reported as `Refused` and forgotten; one that was accepted before (or was made with `keep_trying`) goes on as
long as the failure may pass. Timeout and transport count as 408 and 503 (RFC 3261 §8.1.3.1).

A fetch (§4.4.3) is a subscription of no length: it reports one `Notified`, then `Terminated`. A notifier that
wants to hear from us before it sends much may say so with an empty NOTIFY, `active;expires=0`. What there is
to say of a list (RFC 4662) may come in several, so each is reported, up to one that is `terminated`, or until
none has come for timer N. Servers that refuse Expires 0 (400, 423), or are known to, get a short subscription
that is ended after its first NOTIFY, be it of a list: what such a server says later is not waited for.

A NOTIFY without Subscription-State gets 400, one with a body that we cannot read 415, one for another event
489 or 481; none of these changes anything. An empty body is reported as it is: it is no news.

A notifier whose NOTIFYs carry entity-tags (RFC 5839) is told with each planned SUBSCRIBE which body we hold.
It may then answer 204, and no NOTIFY follows; or, where one has to make the dialog, send it without body, and
`is_unchanged` says that the last body still holds. Held is the body of the last NOTIFY that was no end; for a
new dialog it must be a whole state, as what is partial is counted from the beginning of the dialog.

Whoever is content with fewer NOTIFYs, or wants some without news, says so with a `Rate` (RFC 6446). A change
of it is told with the next refresh; or at once if news are held back that are wanted now.

Partial documents (`partial`) are asked for where the peer's policy allows it, put together here and reported
as whole ones. One that does not fit is reported without body, and the whole is asked for by a refresh. A peer
that cannot keep count is asked again a few times, then for whole documents only; one that refuses to be
asked is asked again without, and if it then accepts, that is remembered for all subscriptions to that peer.
So it is with rates.

A filter (RFC 4660) goes out with each SUBSCRIBE, so a notifier that keeps it and one that does not tell the
same. A new one is sent at once, since it may ask for more. A notifier that refuses it, or ends a subscription
because of it (`badfilter`), is asked without, in a new dialog; that is remembered in the same way.
"""

from collections.abc import Mapping, Sequence

from sipbridge.errors import LocalProtocolError, ParseError, RemoteProtocolError
from sipbridge.events.conditional import ANY, NO_NOTIFICATION, SUPPRESS_IF_MATCH
from sipbridge.events.machine import step
from sipbridge.events.package import EventPackage
from sipbridge.events.partial import Holding, prefer_partial
from sipbridge.events.presence_package import (
    BRINGS_LIST,
    EVENTLIST,
    LIST_TYPES,
    RESOURCE_LISTS,
    SIMPLE_FILTER,
)
from sipbridge.events.rate import NO_RATE, Rate
from sipbridge.events.retry import (
    ENDS_SUBSCRIPTION,
    MAX_TOO_BRIEF,
    longer,
    pause,
    refresh_after,
)
from sipbridge.events.subscriber_tables import (
    AFTER,
    AT_ONCE,
    BAD_FILTER,
    NEXT,
    NOTIFIED,
    UNKNOWN_REASON,
    Accepted,
    Forked,
    Input,
    Notified,
    RefreshFailed,
    Refused,
    Retry,
    State,
    Terminated,
)
from sipbridge.events.waiting import Alarm, Turn
from sipbridge.presence import lists
from sipbridge.sip.address import NameAddr
from sipbridge.sip.dialog import Dialog
from sipbridge.sip.encoding import open_body
from sipbridge.sip.fields import Event, MediaType, SubscriptionState
from sipbridge.sip.message import Request, Response
from sipbridge.sip.policy import CAN_FETCH, NO_POLICY, Credentials, PeerPolicy
from sipbridge.sip.usage import ServerRequest
from sipbridge.sip.user_agent import ClientRequest, UserAgent
from sipbridge.uri import Uri

__all__ = [
    "NEXT",
    "Accepted",
    "Forked",
    "Input",
    "Notified",
    "RefreshFailed",
    "Refused",
    "State",
    "Subscriber",
    "Terminated",
]

TEMPORARY = frozenset({400, 408, 423, 429, 480, 481, 486, 491, 500, 502, 503, 504})
"""Refusals of a new SUBSCRIBE after which one that lived before is tried again."""

NOTHING: frozenset[int] = frozenset()

REFUSES_FILTER = frozenset({400, 413, 415, 488, 489})
"""Statuses by which a peer may say that it does not like our filter (RFC 4660 §5.2)."""

REFUSES_PARTIAL = frozenset({400, 406, 489})
"""Statuses by which a peer may say that it does not like our Accept."""

SHORT_LIFE = 60
"""Seconds asked for the short subscription that stands for a fetch."""

EXPIRES_SLACK = 2.0
"""Seconds by which a NOTIFY may correct the end without the refresh being planned anew."""

SHORT_LIVED = 10.0
"""Seconds; what ends sooner counts as a failure, so that a notifier that ends everything is not flooded."""

BROUGHT = (
    ("Require", BRINGS_LIST),
    ("Content-Type", RESOURCE_LISTS),
    ("Content-Disposition", "recipient-list"),
)
"""What a SUBSCRIBE says that brings its list (RFC 5367 §3)."""


class Subscriber:
    """All subscriptions of one core."""

    def __init__(self, ua: UserAgent, packages: Mapping[str, EventPackage]) -> None:
        self.ua = ua
        self.packages = packages
        self.subscriptions: dict[str, Subscription] = {}
        self.without_partial: set[str] = set()
        """Names of peers that refuse to be asked for partial documents."""
        self.no_rates: set[str] = set()
        """Names of peers that take a parameter of Event for another package: Kamailio does."""
        self.without_filter: set[str] = set()
        """Names of peers that refuse filters."""
        for package in packages.values():
            ua.accept("NOTIFY", package.body_types)
            ua.accept("NOTIFY", [package.partial_type] if package.partial_type else [])
        if any(package.reads(LIST_TYPES[0]) for package in packages.values()):
            ua.supported.append(EVENTLIST)

    def subscribe(
        self,
        target: Uri,
        identity: Uri,
        package: str,
        now: float,
        *,
        expires: int | None = None,
        policy: PeerPolicy = NO_POLICY,
        credentials: Credentials | None = None,
        trace: str = "",
        keep_trying: bool = False,
        members: Sequence[str] = (),
        rate: Rate = NO_RATE,
        filter: bytes = b"",
        forgives: frozenset[int] = NOTHING,
    ) -> str:
        """Subscribe `identity` to the package's state of `target`; returns the subscription's id.

        expires: seconds asked for. keep_trying: a failure that may pass does not end it. members: addresses
        of those that are meant, for a server that takes them as a list (RFC 5367); `target` is that server.
        rate: how often to be notified. filter: a filter set, for a peer whose policy has `filters`.
        forgives: statuses of failures that may pass, besides those that always may.
        """
        kind = self.package(package)
        asked = expires or policy.expires or kind.default_expires
        made = Subscription(self, target, identity, kind, asked, policy, credentials, trace)
        made.established, made.members = keep_trying, tuple(members)
        made.rate, made.filter, made.forgives = rate, filter, forgives
        self.subscriptions[made.id] = made
        made.begin(now)
        return made.id

    def fetch(
        self,
        target: Uri,
        identity: Uri,
        package: str,
        now: float,
        *,
        policy: PeerPolicy = NO_POLICY,
        credentials: Credentials | None = None,
        trace: str = "",
    ) -> str:
        """Ask for the state once (§4.4.3); returns the subscription's id."""
        kind = self.package(package)
        asked = 0 if CAN_FETCH in policy.capabilities else SHORT_LIFE
        made = Subscription(self, target, identity, kind, asked, policy, credentials, trace)
        made.once = True
        self.subscriptions[made.id] = made
        made.begin(now)
        return made.id

    def refresh(self, id: str, now: float, *, conditional: bool = False) -> None:
        """Refresh, or try again, now. Nothing happens if it is unknown, ending or already sending.

        conditional: the last body reached its reader, and need not come again if nothing has changed. A body
        that was only part of a state comes again whole.
        """
        if id in self.subscriptions:
            self.subscriptions[id].refresh(now, conditional)

    def set_filter(self, id: str, filter: bytes, now: float) -> None:
        """From now on this filter set; `removing` one if none is wanted any more. Sent at once."""
        subscription = self.subscriptions.get(id)
        if subscription is not None and subscription.filter != filter:
            subscription.filter, subscription.filter_refused = filter, False
            subscription.refilter(now)

    def set_rate(self, id: str, rate: Rate, now: float) -> None:
        """Be notified so often from now on. Nothing happens if it is unknown."""
        if id in self.subscriptions:
            self.subscriptions[id].rate = rate
            self.subscriptions[id].hurry(now)

    def held_back(self, id: str, now: float) -> float:
        """Seconds for which its notifier may hold back news yet, as it said; 0 if it is unknown."""
        known = self.subscriptions.get(id)
        return max(0.0, known.notified_at + known.held_back - now) if known is not None else 0.0

    def renew(self, id: str, now: float) -> None:
        """A new SUBSCRIBE in place of a refresh: the notifier is known to have lost its memory.

        Nothing happens if it is unknown, ending or already sending.
        """
        if id in self.subscriptions:
            self.subscriptions[id].renew(now)

    def leave_dialog(self, id: str, now: float) -> bool:
        """A new SUBSCRIBE, in turn, for its dialog may not lead to the notifier.

        False: it is unknown, has no dialog, is ending or already sending, and nothing happens.
        """
        known = self.subscriptions.get(id)
        return known is not None and known.leave_dialog(now)

    def hasten(self, id: str, now: float) -> None:
        """What failed may work now: refresh, or try again, in turn. Nothing happens if it is unknown."""
        if id in self.subscriptions:
            self.subscriptions[id].hasten(now)

    def is_alive(self, id: str) -> bool:
        """Has it a dialog, as far as we know?"""
        return id in self.subscriptions and self.subscriptions[id].dialog is not None

    def end(self, id: str, now: float) -> None:
        """End it; `Terminated` says when it is over. Nothing happens if it is unknown."""
        if id in self.subscriptions:
            self.subscriptions[id].end(now)

    def follow(self, id: str, policy: PeerPolicy) -> None:
        """From now on its requests out of a dialog go by this policy. Nothing happens if it is unknown."""
        if id in self.subscriptions:
            self.subscriptions[id].policy = policy

    def is_leaving(self, id: str) -> bool:
        """Was its end asked for, and does the notifier not know yet?"""
        known = self.subscriptions.get(id)
        if known is None or not known.end_asked:
            return False
        return known.client is not None or (known.dialog is not None and not known.ending_sent)

    def call_id(self, id: str) -> str:
        """The Call-ID of its dialog, or of the SUBSCRIBE that asks for one; "" if it is unknown."""
        known = self.subscriptions.get(id)
        if known is None:
            return ""
        if known.dialog is not None:
            return known.dialog.call_id
        return known.sent.call_id if known.sent is not None else ""

    def package(self, name: str) -> EventPackage:
        if name not in self.packages:
            raise LocalProtocolError(f"no event package {name}")
        return self.packages[name]


class Subscription:
    """One subscription. It is the usage of its dialog and waits for its own responses."""

    __slots__ = (
        "asked",
        "began",
        "client",
        "condition",
        "credentials",
        "dialog",
        "end_asked",
        "ending_sent",
        "ends",
        "established",
        "etag",
        "event",
        "expects",
        "expiry",
        "failures",
        "filter",
        "filter_refused",
        "filter_told",
        "forgives",
        "granted",
        "heard",
        "held_back",
        "holds_whole",
        "id",
        "identity",
        "is_fork",
        "members",
        "notified_at",
        "once",
        "package",
        "partial",
        "plan",
        "policy",
        "rate",
        "rate_refused",
        "rate_told",
        "sent",
        "state",
        "subscriber",
        "target",
        "timer_n",
        "too_brief",
        "trace",
        "turn",
        "ua",
        "wanted",
    )

    def __init__(
        self,
        subscriber: Subscriber,
        target: Uri,
        identity: Uri,
        package: EventPackage,
        asked: int,
        policy: PeerPolicy,
        credentials: Credentials | None,
        trace: str,
    ) -> None:
        self.subscriber = subscriber
        self.ua = subscriber.ua
        self.id = self.ua.identifiers.tag()
        self.target, self.identity = target, identity
        self.package = package
        self.event = policy.event_name(package.name)
        self.asked = self.wanted = asked
        """Seconds asked for, and those that were meant: 423 has more asked for."""
        self.policy, self.credentials = policy, credentials
        self.trace = trace
        self.state = State.NOTIFY_WAIT
        self.members: tuple[str, ...] = ()
        """They go out with each SUBSCRIBE that is to make a dialog, and with no other (RFC 5367 §3.2)."""
        self.once = False
        """A fetch: over after the first NOTIFY."""
        self.established = False
        """Was accepted once, so failures that may pass are survived."""
        self.is_fork = False
        self.dialog: Dialog | None = None
        self.ending_sent = False
        self.heard = False
        """Has a NOTIFY come since the last SUBSCRIBE?"""
        self.partial = Holding(policy.partial_notify and package.partial_type != "")
        self.granted = asked
        self.began = self.ends = 0.0
        self.sent: Request | None = None
        """The SUBSCRIBE that is to make a dialog, or more than one."""
        self.client: ClientRequest | None = None
        self.expects: tuple[str, str] | None = None
        self.end_asked = False
        self.forgives = NOTHING
        self.failures = self.too_brief = 0
        self.timer_n = Alarm(self.ua, self.no_notify)
        self.plan = Alarm(self.ua, self.due)
        self.expiry = Alarm(self.ua, self.expired)
        self.turn = Turn(self.plan)
        self.begin_plain()

    def begin_plain(self) -> None:
        """No tag, no rate, no filter: what RFC 5839, RFC 6446 and RFC 4660 add."""
        self.filter = b""
        self.filter_told = b""
        """That of the last SUBSCRIBE."""
        self.filter_refused = False
        """The peer refused this filter."""
        self.etag = ""
        """The entity-tag of the body that we hold."""
        self.holds_whole = False
        """Is that body a whole state?"""
        self.condition = ""
        """What the last SUBSCRIBE said that we hold."""
        self.rate = NO_RATE
        self.rate_told = NO_RATE
        """That of the last SUBSCRIBE."""
        self.rate_refused = False
        """The peer takes a rate for another package, or so it seems."""
        self.held_back = 0.0
        """Seconds between two NOTIFYs of news, as the notifier says ..."""
        self.notified_at = 0.0
        """... and when the last one came."""

    # --- what our side asks -----------------------------------------------------------------------

    def begin(self, now: float) -> None:
        """A new SUBSCRIBE, outside any dialog."""
        self.release()
        self.held_back = 0.0
        if not self.holds_whole:
            self.etag = ""
        self.turn.over()
        request = self.ua.new_request(
            "SUBSCRIBE",
            self.target,
            from_=NameAddr.parse(f"<{self.identity}>"),
            to=NameAddr.parse(f"<{self.target}>"),
            headers=[*self.headers(self.asked), *(BROUGHT if self.members else ())],
            body=lists.serialise(lists.of(self.members)) if self.members else self.filter_told,
        )
        self.sent = request
        self.began, self.heard, self.granted = now, False, self.asked
        self.expects = (request.call_id, request.from_.tag or "")
        self.ua.expect_dialog(*self.expects, self)
        self.timer_n.set(now + self.ua.timers.give_up)
        self.client = self.ua.request(
            request,
            self,
            now,
            policy=self.policy,
            credentials=self.credentials,
            trace=self.trace,
        )

    def headers(self, expires: int) -> list[tuple[str, str]]:
        types = self.package.body_types
        self.rate_told = self.rate if expires and self.may_rate else NO_RATE
        fields = [("Event", f"{self.event}{self.rate_told}"), ("Expires", str(expires))]
        if EVENTLIST in self.policy.capabilities or self.members:
            fields.append(("Supported", EVENTLIST))
            types = (*types, *(t for t in LIST_TYPES if t not in types))
        accept = prefer_partial(types) if self.asks_partial(expires) else ", ".join(types)
        fields.append(("Accept", accept))
        if self.policy.encodings:
            fields.append(("Accept-Encoding", ", ".join(self.policy.encodings)))
        self.condition = ""
        if self.etag and self.policy.conditional:
            self.condition = self.etag if expires else ANY  # nobody needs a last NOTIFY
            fields.append((SUPPRESS_IF_MATCH, self.condition))
        self.filter_told = self.filter if expires and self.may_filter else b""
        if self.filter_told:
            fields.append(("Content-Type", SIMPLE_FILTER))
        return fields

    @property
    def may_rate(self) -> bool:
        """May a SUBSCRIBE to this peer ask for a rate?"""
        return (
            self.policy.rate_control
            and not self.rate_refused
            and self.policy.name not in self.subscriber.no_rates
        )

    @property
    def may_filter(self) -> bool:
        """May a SUBSCRIBE to this peer bring a filter?"""
        return (
            self.policy.filters
            and not (self.members or self.once or self.filter_refused)
            and EVENTLIST not in self.policy.capabilities
            and (self.policy.name not in self.subscriber.without_filter or bool(self.filter_told))
        )

    def asks_partial(self, expires: int) -> bool:
        """Shall this SUBSCRIBE ask for partial documents?"""
        return (
            self.partial.wanted
            and not self.once
            and expires > 0
            and EVENTLIST not in self.policy.capabilities
            and not self.members
            and self.policy.name not in self.subscriber.without_partial
        )

    def subscribe_again(self, expires: int, now: float) -> None:
        """A SUBSCRIBE in the dialog: refresh (§4.1.2.2) or end (§4.1.2.3)."""
        dialog = self.dialog
        if dialog is None:
            raise LocalProtocolError("no dialog to subscribe in")
        self.heard, self.ending_sent = False, expires == 0
        self.turn.over()
        fields = [*self.headers(expires), *self.policy.extra_headers]
        request = dialog.new_request("SUBSCRIBE", fields, self.filter_told)
        self.timer_n.set(now + self.ua.timers.give_up)
        self.client = self.ua.request_in_dialog(
            dialog, request, self, now, credentials=self.credentials, trace=self.trace
        )

    def refresh(self, now: float, conditional: bool) -> None:
        if (self.state, Input.DUE) in NEXT and self.client is None:
            if not (conditional and self.holds_whole):
                self.etag = ""
            self.turn.take()
            self.due(now)

    def hurry(self, now: float) -> None:
        """Refresh if the notifier holds back what is wanted sooner by now."""
        alive = self.state in (State.PENDING, State.ACTIVE) and self.policy.rate_control
        if self.held_back and alive and self.rate.asks_more_than(self.rate_told):
            self.refresh(now, conditional=True)

    def renew(self, now: float) -> None:
        self.leave_dialog(now)
        self.refresh(now, conditional=False)

    def leave_dialog(self, now: float) -> bool:
        if self.state not in (State.PENDING, State.ACTIVE) or self.client is not None:
            return False
        self.state = step(NEXT, self.state, Input.GONE)
        self.try_again(0.0, now)
        return True

    def hasten(self, now: float) -> None:
        if (self.state, Input.DUE) in NEXT and self.client is None:
            self.plan.set(now + AT_ONCE * self.ua.identifiers.fraction())

    def end(self, now: float) -> None:
        self.end_asked = True
        self.state = step(NEXT, self.state, Input.END)
        self.plan.cancel()
        self.expiry.cancel()
        if self.state is State.TERMINATED:
            self.over("", None, None, now)
        elif self.client is None and self.dialog is not None and not self.ending_sent:
            self.subscribe_again(0, now)
        # Otherwise the answer or the NOTIFY that is on its way comes first, and timer N bounds both.

    def due(self, now: float) -> None:
        """The refresh, or the next try, is due; what was lost waits for its turn at the peer."""
        if self.state is State.WAITING and not self.turn.has_come(self.policy, now):
            return
        self.state = step(NEXT, self.state, Input.DUE)
        if self.state is State.NOTIFY_WAIT:
            self.begin(now)
        elif self.client is None:
            self.trace = ""
            self.subscribe_again(self.asked, now)

    def no_notify(self, now: float) -> None:
        """No NOTIFY came in time (timer N)."""
        if (
            self.client is None
        ):  # else unanswered (a challenge, another transport): its timer decides
            self.state = step(NEXT, self.state, Input.TIMER_N)
            self.over("no-notify", None, None, now)

    def expired(self, now: float) -> None:
        self.state = step(NEXT, self.state, Input.EXPIRED)
        self.over("expired", None, None, now)

    # --- responses --------------------------------------------------------------------------------

    def receive_response(self, response: Response, now: float) -> None:
        if self.client is not None:
            self.policy.spend(self.client.rounds, now)
        self.client = None
        status = response.status
        if status < 300:
            self.accepted(response, now)
        elif self.ask_differently(response, now):
            pass
        elif status in ENDS_SUBSCRIPTION and self.state is not State.NOTIFY_WAIT:
            self.state = step(NEXT, self.state, Input.GONE)
            self.over(response.reason, response.retry_after, status, now)
        else:
            self.refused(status, response.reason, response.retry_after, Input.REFUSED, now)

    def request_failed(self, reason: str, now: float) -> None:
        tried = "" if self.client is None else self.client.story
        self.client = None
        self.refused(None, reason, None, Input.UNANSWERED, now, tried)

    def accepted(self, response: Response, now: float) -> None:
        self.state = step(NEXT, self.state, Input.ACCEPTED)
        quiet = response.status == NO_NOTIFICATION and self.dialog is not None
        if quiet and self.ending_sent:
            self.state = step(NEXT, self.state, Input.GONE)
            self.over("timeout", None, None, now)
            return
        if quiet:
            self.timer_n.cancel()
        elif not self.heard and self.timer_n.deadline is None:
            self.timer_n.set(now + self.ua.timers.give_up)
        if self.state is State.ENDING:
            if self.dialog is not None and not self.ending_sent:
                self.subscribe_again(0, now)
            return
        self.too_brief = 0
        self.remember_refusals()
        self.established = self.established or not self.once
        if response.expires is not None:
            self.granted = min(self.asked, response.expires)  # §4.2.1.1: never longer than asked
        self.held_back = min(self.held_back, self.rate_told.interval)
        is_list = EVENTLIST in response.require
        holds = quiet and self.state is State.ACTIVE and bool(self.condition)
        self.ua.report(Accepted(self.id, self.granted, self.trace, is_list, holds))
        if self.state is not State.NOTIFY_WAIT and not self.once:
            self.lives(self.granted, now)
            self.refilter(now)
            self.hurry(now)

    def ask_differently(self, response: Response, now: float) -> bool:
        """423, and 400 to a fetch: ask with another Expires. Or without rates, or for whole documents."""
        status = response.status
        if status == 489 and self.rate_told != NO_RATE and self.state is not State.ENDING:
            self.rate_refused = True
            self.ask_again(now)
            return True
        if status in REFUSES_FILTER and self.filter_told and not self.end_asked:
            self.begin_unfiltered(status, now)
            return True
        if status in REFUSES_PARTIAL and self.asks_partial(self.asked) and not self.end_asked:
            self.partial.refuse(certain=status == 406 or not self.condition)
            self.etag = ""  # perhaps the condition was too much for the peer
            self.ask_again(now)
            return True
        fetching = self.once and self.asked == 0
        if status != 423 and not (status == 400 and fetching):
            return False
        if self.state is State.ENDING or self.too_brief >= MAX_TOO_BRIEF:
            return False
        self.too_brief += 1
        self.asked = longer(self.asked, response.min_expires) or SHORT_LIFE
        self.ask_again(now)
        return True

    def remember_refusals(self) -> None:
        """The peer accepts without what it refused before: it need not be asked for that again."""
        if self.policy.name and self.partial.refused:
            self.subscriber.without_partial.add(self.policy.name)
        if self.policy.name and self.filter_refused:
            self.subscriber.without_filter.add(self.policy.name)
        if self.policy.name and self.rate_refused:
            self.subscriber.no_rates.add(self.policy.name)
        self.partial.refused = False

    def begin_unfiltered(self, status: int, now: float) -> None:
        """Without a filter, and outside the dialog whose notifier may have one already."""
        self.filter_refused = True
        if self.state is State.NOTIFY_WAIT:
            self.begin(now)
        else:
            self.state = step(NEXT, self.state, Input.GONE)
            self.over(BAD_FILTER, None, status, now)

    def refilter(self, now: float) -> None:
        """Send a filter that came while a SUBSCRIBE was in flight."""
        alive = self.state in (State.PENDING, State.ACTIVE)
        if alive and self.may_filter and self.filter != self.filter_told:
            self.refresh(now, conditional=False)

    def ask_again(self, now: float) -> None:
        """The same SUBSCRIBE, or nearly, at once."""
        if self.state is State.NOTIFY_WAIT:
            self.begin(now)
        else:
            self.subscribe_again(self.asked, now)

    def refused(
        self,
        status: int | None,
        reason: str,
        retry_after: float | None,
        happened: Input,
        now: float,
        tried: str = "",
    ) -> None:
        ending = self.state is State.ENDING
        if status is not None:
            self.etag = ""  # perhaps the condition was too much for the peer
        self.state = step(NEXT, self.state, happened)
        self.failures += 1
        self.too_brief = 0
        if status == 423:
            self.asked = self.wanted
        if ending:
            self.over(reason, retry_after, status, now)
        elif self.state is not State.TERMINATED:
            self.ua.report(RefreshFailed(self.id, status, reason, self.trace, tried))
            self.timer_n.cancel()
            left = (self.ends - now) / 2
            wait = pause(self.failures, retry_after, self.ua.identifiers.fraction())
            self.plan.set(now + min(wait, max(left, 1.0)))
        elif self.established and (status is None or status in TEMPORARY | self.forgives):
            self.ua.report(RefreshFailed(self.id, status, reason, self.trace, tried))
            self.try_again(pause(self.failures, retry_after, self.ua.identifiers.fraction()), now)
        else:
            seen = status or {"timeout": 408}.get(reason, 503)
            self.forget()
            self.ua.report(Refused(self.id, seen, reason, retry_after, self.trace, tried))

    # --- NOTIFY -----------------------------------------------------------------------------------

    def receive_request(self, incoming: ServerRequest, now: float) -> None:
        """A request in the dialog, or the one that makes it."""
        request = incoming.request
        if request.method != "NOTIFY":
            incoming.respond(405, headers=[("Allow", "NOTIFY")])
            return
        state = self.checked(incoming)
        if state is None or not self.in_dialog(incoming, now):
            return
        incoming.respond(200)
        self.notified(incoming, state, now)

    def order_lost(self, now: float) -> None:
        """The notifier has cleared its CSeq, and can tell us nothing any more: a new dialog."""
        if self.state in (State.PENDING, State.ACTIVE) and self.client is None:
            self.state = step(NEXT, self.state, Input.GONE)
            self.over("", None, 481, now)

    def checked(self, incoming: ServerRequest) -> SubscriptionState | None:
        """The state that the NOTIFY states; None after it was refused."""
        request = incoming.request
        first = request.headers.first()
        try:
            state = request.subscription_state
            is_ours = first.get("event") == self.event or self.is_ours(request.event)
            is_readable = not request.body or self.reads(first.get("content-type"))
        except ParseError as error:
            incoming.respond(error.status_hint or 400, reason=f"Bad {error.field}")
            return None
        if not is_ours:
            event = request.event
            known = event is not None and event.package in self.subscriber.packages
            incoming.respond(481 if known else 489)
        elif state is None:
            incoming.respond(400, reason="Missing Subscription-State")
        elif not is_readable:
            incoming.respond(415, headers=[("Accept", ", ".join(self.package.body_types))])
        elif "content-encoding" not in first or open_body(incoming):
            return state
        return None

    def is_ours(self, event: Event | None) -> bool:
        return event is not None and event.package == self.event and event.id is None

    def reads(self, content_type: str | None) -> bool:
        """Do we understand a body of this Content-Type? Raises ParseError."""
        if not content_type or content_type in self.package.body_types:
            return True
        return self.package.reads(MediaType.parse(content_type).essence)

    def in_dialog(self, incoming: ServerRequest, now: float) -> bool:
        """Is it of our dialog, or does it make it? Answers 481 if not."""
        if self.dialog is not None:
            if (
                incoming.dialog is self.dialog
                or self.dialog.remote_tag == incoming.request.from_.tag
            ):
                return True
            if self.package.forking and self.sent is not None:
                return self.fork(incoming, now)
        elif self.sent is not None:
            return self.make_dialog(self.sent, incoming)
        incoming.respond(481)
        return False

    def make_dialog(self, sent: Request, incoming: ServerRequest) -> bool:
        try:
            self.dialog = Dialog.as_uac(sent, incoming.request, incoming.flow)
        except RemoteProtocolError as error:
            incoming.respond(error.status_hint or 400, reason="No Contact")
            return False
        if not self.package.forking:
            self.sent = None
        self.ua.add_dialog(self.dialog, self)
        return True

    def fork(self, incoming: ServerRequest, now: float) -> bool:
        """Another notifier: a subscription of its own takes the NOTIFY, and is not renewed when it ends."""
        other = Subscription(
            self.subscriber,
            self.target,
            self.identity,
            self.package,
            self.asked,
            self.policy,
            self.credentials,
            self.trace,
        )
        other.once, other.sent, other.began = self.once, self.sent, self.began
        other.is_fork = True
        self.subscriber.subscriptions[other.id] = other
        self.ua.report(Forked(other.id, self.id))
        other.receive_request(incoming, now)
        return False

    def notified(self, incoming: ServerRequest, stated: SubscriptionState, now: float) -> None:
        before = self.state
        happened = NOTIFIED.get(stated.state, Input.NOTIFY_ACTIVE)
        no_time = self.once and stated.expires == 0
        if no_time and incoming.request.body and not self.of_list(incoming.request):
            happened = Input.NOTIFY_TERMINATED  # a fetch that the notifier calls active for no time
        self.state = step(NEXT, before, happened)
        self.heard = True
        missed = self.partial.missed
        if before is not State.ENDING:
            self.timer_n.cancel()  # when ending, it goes on until the final one
            self.tell(incoming, stated, now)
        if self.state is State.TERMINATED:
            self.over(stated.reason or "", stated.retry_after, None, now, incoming.trace)
        elif self.state is State.ENDING:
            if self.client is None and not self.ending_sent:
                self.subscribe_again(0, now)
        elif no_time:
            self.timer_n.set(now + self.ua.timers.give_up)
        elif self.once:
            self.end(now)
        elif stated.expires is not None:
            self.lives(stated.expires, now)
        elif self.plan.deadline is None:
            self.lives(self.granted, now)
        self.ask_for_more(missed, now)

    def of_list(self, request: Request) -> bool:
        """Does this NOTIFY tell of a list (RFC 4662 §4.5)? Then more of its state may follow."""
        content_type = request.content_type
        return EVENTLIST in request.require or (
            content_type is not None and content_type.essence in LIST_TYPES
        )

    def ask_for_more(self, missed: int, now: float) -> None:
        """News that are held back, or of which a part was missed. missed: parts before this NOTIFY."""
        self.refilter(now)
        if self.held_back:
            self.hurry(now)
        if self.partial.missed > missed:
            self.refresh(now, conditional=False)

    def tell(self, incoming: ServerRequest, stated: SubscriptionState, now: float) -> None:
        request = incoming.request
        first = request.headers.first()
        content_type, unchanged = "", False
        if request.body:
            content_type = first.get("content-type") or self.package.body_types[0]
        body = request.body
        if content_type not in self.package.whole_states or self.partial.document:
            content_type, body = self.partial.whole(content_type, body)
        is_whole = content_type in self.package.whole_states
        if self.rate_told != NO_RATE or self.held_back:
            self.held_back, self.notified_at = Rate.of(stated.parameters).interval, now
        if stated.state != "terminated":
            unchanged = self.hold(first.get("sip-etag") or "", content_type, is_whole)
            unchanged = unchanged and stated.state != "pending"
        self.ua.report(
            Notified(
                self.id,
                self.package.name,
                stated.state,
                stated.reason or "",
                stated.retry_after,
                stated.expires,
                content_type,
                body,
                first["call-id"],
                incoming.trace,
                now,
                is_whole,
                unchanged,
            )
        )

    def hold(self, etag: str, content_type: str, is_whole: bool) -> bool:
        """Remember the body of a NOTIFY by its tag. True: there is none, as we hold it already."""
        if content_type:
            self.etag, self.holds_whole, self.condition = etag, is_whole, ""
            return False
        if etag == self.etag:
            return bool(etag) and etag == self.condition
        self.etag = ""
        return False

    # --- its life ---------------------------------------------------------------------------------

    def lives(self, seconds: float, now: float) -> None:
        """It lives so long from now; plan the refresh."""
        if self.plan.deadline is not None and abs(now + seconds - self.ends) <= EXPIRES_SLACK:
            return
        self.ends = now + seconds
        self.expiry.set(self.ends)
        self.plan.set(now + refresh_after(seconds, self.ua.identifiers.fraction()))

    def over(
        self,
        reason: str,
        retry_after: float | None,
        status: int | None,
        now: float,
        trace: str = "",
    ) -> None:
        """The SIP subscription ended: say so, and try again if that makes sense."""
        rule = AFTER.get(reason, UNKNOWN_REASON)
        if status == 481:
            rule = Retry(True, AT_ONCE)  # the notifier has lost its memory (§4.1.2.2)
        self.filter_refused = self.filter_refused or reason == BAD_FILTER
        again = rule.again and not (self.end_asked or self.once or self.is_fork)
        self.ua.report(Terminated(self.id, reason, retry_after, status, again, trace or self.trace))
        if again:
            self.failures = self.failures + 1 if now - self.began < SHORT_LIVED else 0
            self.try_again(self.delay(rule, retry_after), now)
        else:
            self.forget()

    def delay(self, rule: Retry, retry_after: float | None) -> float:
        spread = self.ua.identifiers.fraction()
        if retry_after is not None and rule.heeds_retry_after:
            return pause(1, retry_after, spread)
        if rule.after is None or self.failures:
            return max(rule.after or 0.0, pause(self.failures, None, spread))
        return rule.after * spread if rule.after == AT_ONCE else rule.after * (1 + 0.1 * spread)

    def try_again(self, delay: float, now: float) -> None:
        self.release()
        self.state = step(NEXT, self.state, Input.RETRY)
        self.trace = ""
        self.plan.set(now + delay)

    def release(self) -> None:
        """Let go of everything that belonged to one SIP subscription."""
        for alarm in (self.timer_n, self.plan, self.expiry):
            alarm.cancel()
        if self.client is not None:
            self.client.cancel()
            self.client = None
        if self.dialog is not None:
            self.ua.remove_dialog(self.dialog)
            self.dialog = None
        if self.expects is not None:
            self.ua.forget_dialog(*self.expects)
            self.expects = None
        self.ending_sent = False
        self.partial.begin()
        self.filter_told = b""

    def forget(self) -> None:
        self.release()
        del self.subscriber.subscriptions[self.id]
