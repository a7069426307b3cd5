"""The asking half of a user agent (RFC 3261 §8.1): our requests, until each has one answer.

A request passes through destinations until one answers. They are a flow the caller fixed, or the policy's
next hops, or the first Route, or the Request-URI (§8.1.2). `locate` and `destinations` make servers,
addresses and flows of a URI; where DNS has to be asked the request waits for `receive_answer`. Each try has a
new branch and the Via and Contact of the listening point it leaves from. A request that is too large for UDP,
where nobody asked for UDP, is tried by TCP first and by UDP when that is refused (§18.1.1): its size is
estimated where names are looked up, and counted, with the credentials, before it leaves. What no datagram can
hold never goes by UDP: that try has failed, which says nothing of the destination.

An error of the transport, silence, or a 503 moves on to the next destination (RFC 3263 §4.3). Where there is
another one, silence lasts `Locating.patience`, not all of timer F, unless a provisional response has come;
the whole ends after `Locating.total`, and so does the wait for DNS. A late answer of a destination that was
given up is nobody's any more.
Destinations that failed lately come last. So do those that asked to be left alone (503 with Retry-After), and
what would begin something new does not go there at all (RFC 3261 §21.5.4): if no other is left, the handler
gets the 503 that they would send. After the last one the handler is told, and `RequestFailed` says what was
tried and why it failed. A 408 is an answer like any other: no server may send it to our requests (RFC 4320
§4.2), and who does is there.

Digest (§22): a 401 or 407 is answered with the caller's credentials, with CSeq one higher. Challenges are
remembered for each destination and user and answered in advance next time, the nonce count rising: those of a
proxy in every request that goes by it, those of a server only in requests to the domain for which it asked
(that of To, §22.2). A server that proves not to know the password (rspauth) is forgotten. At most
two rounds are played with each destination, and the same realm is answered twice there only if the server
calls our nonce stale: a wrong password is told to the handler, not tried again.

The handler hears exactly once, and never from inside the call that made the request.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import ceil

from sipbridge.errors import LocalProtocolError, ParseError
from sipbridge.sip.address import NameAddr
from sipbridge.sip.destinations import Destinations, Locating, address_question, read
from sipbridge.sip.dialog import Dialog
from sipbridge.sip.digest import Challenge, Session, introduction, parse_challenges, select
from sipbridge.sip.flow import SECURE, Address, Flow, ListeningPoint, Transmit
from sipbridge.sip.headers import Headers
from sipbridge.sip.identifiers import Identifiers
from sipbridge.sip.indications import (
    ChallengeUnmet,
    DestinationFailed,
    LimitReached,
    RequestFailed,
    RequestTimedOut,
    Resolve,
    Unmet,
)
from sipbridge.sip.locate import LARGE, Target, bracketed, destination_text
from sipbridge.sip.message import Request, Response
from sipbridge.sip.policy import Credentials
from sipbridge.sip.records import Answer, Question
from sipbridge.sip.responding import TARGET_REFRESH, CoreLimits
from sipbridge.sip.timers import Deadlines, Timers
from sipbridge.sip.transactions import ClientTransaction, ClientTransactions
from sipbridge.sip.usage import ResponseHandler
from sipbridge.uri import Uri

MAX_ROUNDS = 2
"""Challenges of one destination answered: a stale nonce, or a proxy and a server each with its realm."""

MAX_SESSIONS = 20_000
"""Destinations and users whose challenges are remembered, about 1 kB each; the oldest is forgotten."""

MAX_REALMS = 32
"""Of one destination and user: proxies on the way, and domains behind them."""

MAX_FORWARDS = "70"
"""§8.1.1.6."""

MAX_TRIES = 8
"""Destinations one request is sent to; with the usual times four silent ones fit anyway."""

MAX_UNPROVEN_TRIES = 2
"""The same for a peer whose whereabouts nobody but he himself has told: his domain could name any victims."""

LEAST_TRY = 4
"""Times T1: less time than that is not worth a try."""

MAX_DATAGRAM = 65_507
"""Bytes of one datagram over IPv4 (RFC 768, RFC 791 §3.1); the 20 more of IPv6 are not worth a rule."""

ROOM_FOR_VIA = 120
"""Bytes that `prepare` adds: Via, and Contact where it is missing."""

Candidate = Flow | Target | str
"""A fixed flow, a target, or the text of a URI still to be read."""

Realm = tuple[bool, str, str]
"""Was it a proxy that asked, realm, domain of To; "" for a proxy, whose realm counts for every domain."""


INFORMS = {"Authentication-Info": False, "Proxy-Authentication-Info": True}
"""What tells of the next nonce, and whether a proxy says it."""


class ClientRequest:
    """A request of ours on its way; `request.cseq` rises when a challenge is answered.

    tried: what became of each destination so far, "udp:192.0.2.1:5060 (no answer)".
    """

    __slots__ = (
        "answered",
        "began",
        "by_default",
        "by_tcp",
        "candidates",
        "credentials",
        "deferred",
        "dialog",
        "divisible",
        "finished",
        "flow",
        "half",
        "handler",
        "last_503",
        "missing",
        "request",
        "rounds",
        "starting",
        "sustains",
        "trace",
        "tried",
        "tries",
        "why",
    )

    def __init__(
        self,
        request: Request,
        handler: ResponseHandler,
        candidates: Sequence[Candidate],
        half: "AskingHalf",
        *,
        credentials: Credentials | None,
        dialog: Dialog | None,
        trace: str,
        divisible: bool = False,
        sustains: bool = False,
    ) -> None:
        """divisible: fail with "too-large" rather than go as a datagram of more than `LARGE` bytes.

        sustains: something would end without it, also where that cannot be seen of the request.
        """
        self.request = request
        self.handler: ResponseHandler | None = handler
        self.candidates: deque[Candidate] = deque(candidates)
        self.deferred: list[Flow] = []
        """Destinations that failed lately: they come when there is nothing else."""
        self.half = half
        self.credentials = credentials
        self.dialog = dialog
        self.trace = trace
        self.divisible = divisible
        self.sustains = sustains
        self.by_default = False
        """Is it UDP because nobody has asked for a transport? As the URI expanded last says."""
        self.by_tcp: Address | None = None
        """Where TCP was tried last: what is too large goes there by UDP after that."""
        self.began = 0.0
        self.missing = 0
        """Questions to DNS that are open."""
        self.finished = False
        self.starting = True
        self.flow: Flow | None = None
        self.rounds = 0
        self.answered: set[Realm] = set()
        self.why = "transport"
        self.last_503: Response | None = None
        self.tried: list[str] = []
        self.tries = 0

    def cancel(self) -> None:
        """Forget it: the handler is never called. What is on its way is absorbed silently."""
        self.handler = None
        self.finish()

    # --- going out --------------------------------------------------------------------------------

    @property
    def has_more(self) -> bool:
        """May there be another destination?"""
        doubtful = self.dialog is not None and self.dialog.is_doubtful
        most = MAX_UNPROVEN_TRIES if doubtful else MAX_TRIES
        return bool(self.candidates or self.deferred) and self.tries < most

    def try_next(self, now: float) -> None:
        """Go to the next destination; tell the handler when there is none left."""
        while self.has_more and self.in_time(now):
            if not self.candidates:  # avoided or not, there is nothing else
                self.go(self.deferred.pop(0), now)
                return
            candidate = self.candidates.popleft()
            if isinstance(candidate, Flow):
                if self.half.may_use(candidate, self, now):
                    self.go(candidate, now)
                    return
            elif not self.half.expand(candidate, self, now):
                return  # waits for DNS
        self.give_up(now)

    def in_time(self, now: float) -> bool:
        """Is there time for another try? The first one may begin until the last moment."""
        half = self.half
        rest = self.began + half.destinations.locating.total - now
        return rest >= (LEAST_TRY * half.timers.t1 if self.tries else 0.0)

    def go(self, flow: Flow, now: float, *, signed: bool = False) -> None:
        """To another destination, which has nonces of its own, unless only the transport is another."""
        self.tries += 1
        if self.flow is None or flow.remote != self.flow.remote:
            self.rounds = 0
            self.answered.clear()
        if flow.protocol == "tcp":
            self.by_tcp = flow.remote
        self.send(flow, now, signed=signed)

    def send(self, flow: Flow, now: float, *, signed: bool = False) -> None:
        """One try, in its own transaction; a challenge makes another to the same destination.

        signed: the credentials for this address are there already.
        """
        half, dialog = self.half, self.dialog
        self.flow = flow
        if dialog is not None and dialog.is_unheard(flow) and not self.may_go_there(dialog):
            self.stop("unproven", now)
            return
        branch, data = half.prepare(self, flow, signed=signed)
        if flow.protocol == "udp" and len(data) > LARGE and self.turned_away(flow, len(data), now):
            return
        ClientTransaction(
            (branch, self.request.method),
            data,
            flow,
            self,
            registry=half.transactions,
            trace=self.trace,
            now=now,
            copies=dialog.copies(len(data)) if dialog is not None else None,
            patience=self.patience(now),
        )

    def turned_away(self, flow: Flow, size: int, now: float) -> bool:
        """May it not leave as a datagram of this size? Then it goes elsewhere, or its handler is told."""
        places = self.half.destinations
        if self.by_default and self.by_tcp != flow.remote:
            by_tcp = places.by_tcp(flow.remote, now)
            if by_tcp is not None and places.avoids(by_tcp, now) is None:
                self.candidates.appendleft(flow)
                if not self.rounds:
                    self.tries -= 1  # of this one nothing has left
                self.go(by_tcp, now, signed=True)
                return True
        if self.divisible:
            self.stop("too-large", now)
            return True
        if size <= MAX_DATAGRAM:
            return False
        self.why = "transport"
        self.half.report_unusable(self, self.where(), f"{size} bytes are too many for a datagram")
        self.try_next(now)
        return True

    def may_go_there(self, dialog: Dialog) -> bool:
        """A stranger's requests lead to where he was not heard: may this one? He has to prove himself anew.

        Where that was known before, whoever made the request has measured it.
        """
        if dialog.is_doubtful:
            return True
        dialog.proven = ""
        return dialog.affords(len(self.request.body))

    def stop(self, why: str, now: float) -> None:
        """Try nothing more."""
        self.why = why
        self.candidates.clear()
        self.deferred.clear()
        self.give_up(now)

    @property
    def keeps_alive(self) -> bool:
        """Would something end without it? Then a wish for rest counts only while there is another way."""
        return self.sustains or self.dialog is not None or "SIP-If-Match" in self.request.headers

    def is_large(self) -> bool:
        """Does it not fit into a datagram?"""
        return is_large(self.request)

    @property
    def following(self) -> str:
        """What is tried next, for people; "" when nothing is left."""
        if not self.has_more:
            return ""
        following = self.candidates[0] if self.candidates else self.deferred[0]
        if isinstance(following, Flow):
            return destination_text(following.protocol, following.remote)
        return str(following)

    def patience(self, now: float) -> float | None:
        """Seconds this destination may be silent; None: until timer F."""
        locating = self.half.destinations.locating
        if self.has_more:
            return locating.patience
        if self.tries <= 1:
            return None
        return max(self.began + locating.total - now, LEAST_TRY * self.half.timers.t1)

    # --- coming back ------------------------------------------------------------------------------

    def receive_response(self, response: Response, now: float) -> None:
        """The final response of one try."""
        if self.finished:
            return
        half, flow, status = self.half, self.flow, response.status
        if self.dialog is not None and flow is not None:
            self.dialog.proven = flow.remote[0]  # nobody else knows the branch
        if status in (401, 407):
            if self.answer_challenge(response, now):
                return
            half.report_unmet(self, response)
        half.follow_nonce(self, response)
        if flow is not None:
            half.destinations.answered(flow, probed=self.request.method == "OPTIONS")
        if status == 503:
            self.last_503 = response
            if flow is not None and response.retry_after:
                half.destinations.hold(flow, response.retry_after, now)
            if self.has_more and not self.by_arrival():
                self.note(self.where(), "503")
                half.report_failure(self, self.where(), "503")
                self.try_next(now)
                return
        self.deliver(response, now)

    def by_arrival(self) -> bool:
        """Did it go back on the connection its dialog came by? Whatever follows leads to the same peer."""
        return self.dialog is not None and self.flow is not None and self.dialog.flow == self.flow

    def answer_challenge(self, response: Response, now: float) -> bool:
        """Try again with credentials. False: there is nothing better to say than before."""
        if self.credentials is None or self.flow is None or self.rounds >= MAX_ROUNDS:
            return False
        if not self.half.learn(self, response):
            return False
        self.rounds += 1
        number = self.request.cseq.number + 1 if self.dialog is None else self.dialog.next_cseq()
        self.request.headers.set("CSeq", f"{number} {self.request.method}")
        self.send(self.flow, now)
        return True

    def transaction_failed(self, reason: str, now: float) -> None:
        """One try had no final answer."""
        if self.finished or self.flow is None:
            return
        half, where = self.half, self.where()
        if reason == "undecided":  # it is there and has the request: nobody else gets it
            self.candidates.clear()
            self.deferred.clear()
        self.why = "transport" if reason == "transport" else "timeout"
        if reason == "transport":
            half.destinations.refused(self.flow, now)
        said = {"timeout": "no answer", "undecided": "no final answer"}.get(
            reason, half.error or reason
        )
        self.note(where, said)
        if reason != "undecided":
            half.destinations.failed(self.flow, said, now)
        if reason == "transport":
            half.report_failure(self, where, said)
        else:
            half.report_timeout(self, where)
        self.try_next(now)

    @property
    def story(self) -> str:
        """What was tried, and why each failed, for people."""
        return ", ".join(self.tried)

    def note(self, destination: str, why: str) -> None:
        self.tried.append(f"{destination} ({why})")

    def where(self) -> str:
        return "" if self.flow is None else destination_text(self.flow.protocol, self.flow.remote)

    def give_up(self, now: float) -> None:
        """No destination is left."""
        if self.starting:
            self.starting = False
            self.half.deadlines.schedule(now, self)
            return
        self.half.report_end(self)
        if self.last_503 is not None:
            self.deliver(self.last_503, now)
            return
        handler = self.handler
        self.finish()
        if handler is not None:
            handler.request_failed(self.why, now)

    def abandon(self, now: float) -> None:
        """It cannot be sent: the handler hears of it soon, unless it has heard already."""
        self.candidates.clear()
        self.deferred.clear()
        self.half.deadlines.schedule(now, self)

    def deliver(self, response: Response, now: float) -> None:
        handler, dialog = self.handler, self.dialog
        self.finish()
        if dialog is not None and response.status < 300 and self.request.method in TARGET_REFRESH:
            self.half.refresh(dialog, self.request, response, self.flow)
        if handler is not None:
            handler.receive_response(response, now)

    def finish(self) -> None:
        if not self.finished:
            self.finished = True
            self.candidates.clear()
            self.deferred.clear()
            self.half.live -= 1
        self.handler = None

    def handle_timeout(self, now: float) -> None:
        """It never left; the handler hears of it after the call that made the request has returned."""
        if not self.finished:
            self.give_up(now)


class AskingHalf:
    """Client transactions of one core, names that are looked up, challenges that are remembered."""

    def __init__(
        self,
        *,
        points: Sequence[ListeningPoint],
        timers: Timers,
        deadlines: Deadlines,
        outbox: list[Transmit],
        identifiers: Identifiers,
        limits: CoreLimits,
        minimum_digest: str,
        locating: Locating,
        report: Callable[[object], None],
    ) -> None:
        self.points = tuple(points)
        self.timers = timers
        self.deadlines = deadlines
        self.identifiers = identifiers
        self.limits = limits
        self.minimum_digest = minimum_digest
        self.report = report
        self.transactions = ClientTransactions(timers, deadlines, outbox)
        self.live = 0
        self.sessions: dict[tuple[Credentials, str, int], dict[Realm, Session]] = {}
        self.destinations = Destinations(points, locating, identifiers.fraction)
        self.waiting: dict[Question, list[ClientRequest]] = {}
        self.waiters = 0
        self.for_strangers: set[Question] = set()
        """Those that were first asked for a stranger's sake."""
        self.error = ""

    def begin(self, asked: ClientRequest, now: float) -> ClientRequest:
        """Send it, or plan to tell the handler that it could not be sent."""
        self.live += 1
        asked.began = now
        if self.live > self.limits.client_requests:
            self.report(LimitReached("client_requests", "", asked.trace))
            asked.candidates.clear()
        try:
            asked.try_next(now)
        except LocalProtocolError:
            asked.cancel()
            raise
        asked.starting = False
        return asked

    # --- destinations -----------------------------------------------------------------------------

    def expand(self, candidate: Target | str, asked: ClientRequest, now: float) -> bool:
        """Put what a URI or a target leads to before the other candidates. False: DNS is asked first."""
        places = self.destinations
        large = asked.is_large
        found: Sequence[Candidate]
        if isinstance(candidate, str):
            try:
                asked.by_default = read(candidate)[1].targets[0].by_default
            except (LocalProtocolError, ParseError) as error:
                self.report_unusable(asked, candidate, str(error))
                return True
            led = places.lead(candidate, large, now, asked.began)
            if led.questions:
                return not self.wait(asked, candidate, led.questions)
            if not led.ways:
                self.report_unusable(asked, candidate, led.why)
            found = led.ways
        else:
            asked.by_default = candidate.by_default
            addresses = places.addresses(candidate, now, asked.began)
            if addresses is None:
                return not self.wait(asked, candidate, (address_question(candidate),))
            found = places.flows(candidate, addresses, large, now)
            if not found:
                why = "no listener of that kind" if addresses else places.failure(candidate)
                self.report_unusable(asked, str(candidate), why)
        asked.candidates.extendleft(reversed(found))
        return True

    def may_use(self, flow: Flow, asked: ClientRequest, now: float) -> bool:
        """Is it open to us? One that failed lately is put off, one that wants to be left alone left out."""
        places = self.destinations
        if not places.has_listener(flow):
            return False  # of a listener that was there before a restart
        avoided = places.avoids(flow, now)
        if avoided is None:
            return True
        if not avoided.held or asked.keeps_alive:
            asked.deferred.append(flow)
            return False
        asked.note(destination_text(flow.protocol, flow.remote), avoided.why)
        rest = str(ceil(avoided.until - now))
        asked.last_503 = asked.last_503 or Response(503, "", Headers([("Retry-After", rest)]))
        return False

    def wait(
        self, asked: ClientRequest, candidate: Candidate, questions: Sequence[Question]
    ) -> bool:
        """Ask DNS; the request goes on with this candidate afterwards. False: too many wait already."""
        limit = ""
        if self.waiters + len(questions) > self.limits.waiting_for_names:
            limit = "waiting_for_names"
        elif asked.dialog is not None and asked.dialog.credit is not None:
            new = [question for question in questions if question not in self.waiting]
            if len(self.for_strangers) + len(new) > self.limits.names_of_strangers:
                limit = "names_of_strangers"
            else:
                self.for_strangers.update(new)
        if limit:
            self.report(LimitReached(limit, questions[0].name, asked.trace))
            asked.note(str(candidate), "too many requests wait for DNS")
            return False
        asked.candidates.appendleft(candidate)
        asked.missing = len(questions)
        for question in questions:
            queue = self.waiting.setdefault(question, [])
            if not queue:
                self.report(Resolve(question, asked.trace))
            queue.append(asked)
        self.waiters += len(questions)
        return True

    def receive_answer(self, question: Question, answer: Answer, now: float) -> None:
        """DNS has answered: whoever has all that was asked for goes on.

        Raises, after all have gone on, what made one of them impossible; its handler is told all the same.
        """
        self.destinations.receive(question, answer, now)
        queue = self.waiting.pop(question, [])
        self.waiters -= len(queue)
        self.for_strangers.discard(question)
        failed: Exception | None = None
        for asked in queue:
            asked.missing -= 1
            if asked.finished or asked.missing:
                continue
            try:
                asked.try_next(now)
            except Exception as error:
                failed = failed or error
                asked.abandon(now)
        if failed is not None:
            raise failed

    # --- one message ------------------------------------------------------------------------------

    def prepare(
        self, asked: ClientRequest, flow: Flow, *, signed: bool = False
    ) -> tuple[str, bytes]:
        """Via, Contact and credentials for one try; returns its branch and bytes."""
        request = asked.request
        headers = request.headers
        point = self.point_of(flow)
        branch = self.identifiers.branch()
        asks = ";alias" if point.reuse else "" if flow.reliable else ";rport"
        headers.remove("Via")
        headers.add_first(
            "Via", f"SIP/2.0/{flow.protocol.upper()} {point.sent_by};branch={branch}{asks}"
        )
        self.place_contact(request, point)
        if asked.credentials is not None and not signed:
            self.authorise(asked, flow, asked.credentials)
        return branch, bytes(request)

    def point_of(self, flow: Flow) -> ListeningPoint:
        """The listening point of a flow. Raises LocalProtocolError when it is none of ours."""
        for point in self.points:
            if point.protocol == flow.protocol and point.local == flow.local:
                return point
        raise LocalProtocolError(f"{flow} does not belong to a listener of this core")

    def place_contact(self, request: Request, point: ListeningPoint) -> None:
        """Contact names the point the request leaves from, unless it names none of ours."""
        headers = request.headers
        text = headers.get("Contact")
        if text is None:
            if request.method in TARGET_REFRESH:
                secure = request.uri.startswith("sips:")
                headers.add("Contact", str(contact_at(point, request.from_.uri, secure)))
            return
        contact = NameAddr.parse(text)
        if contact.is_star or not text.startswith("<sip:"):
            return
        uri = contact.uri
        if any(names(uri, other) for other in self.points) and not names(uri, point):
            headers.set("Contact", f"{contact_at(point, uri)}{contact.parameters}")

    # --- digest -----------------------------------------------------------------------------------

    def learn(self, asked: ClientRequest, response: Response) -> bool:
        """Remember the challenges of a 401 or 407. False: none of them is worth another try."""
        flow, credentials = asked.flow, asked.credentials
        if flow is None or credentials is None:
            return False
        proxy = response.status == 407
        key = (credentials, *flow.remote)
        sessions = self.sessions[key] = self.sessions.pop(key, {})
        while len(self.sessions) > MAX_SESSIONS:
            del self.sessions[next(iter(self.sessions))]
        fresh = False
        for challenge in select(challenges_of(response), self.minimum_digest):
            realm = (proxy, challenge.realm, "" if proxy else domain_of(asked.request))
            if credentials.realm not in ("", challenge.realm):
                continue
            if realm in asked.answered and not challenge.stale:
                sessions.pop(realm, None)
                continue
            sessions[realm] = Session(challenge, credentials, self.identifiers.cnonce())
            asked.answered.add(realm)
            fresh = True
        while len(sessions) > MAX_REALMS:
            del sessions[next(iter(sessions))]
        return fresh

    def follow_nonce(self, asked: ClientRequest, response: Response) -> None:
        """A nextnonce in the answer replaces the nonce we know (RFC 7616 §3.5, RFC 7615 for proxies)."""
        for name in INFORMS:
            info = response.headers.get(name)
            if info is None or asked.credentials is None or asked.flow is None:
                continue
            known = self.sessions.get((asked.credentials, *asked.flow.remote), {})
            fitting = list(self.fitting(known, asked.request, INFORMS[name]))
            if len(fitting) != 1:  # the header does not name its realm
                continue
            realm, session = fitting[0]
            if not session.learn(info, response.body, asked.request.uri):
                del known[realm]

    def fitting(
        self, known: Mapping[Realm, Session], request: Request, proxy: bool
    ) -> Iterator[tuple[Realm, Session]]:
        """The sessions of proxies, or of servers, that this request is for."""
        domain = "" if proxy else domain_of(request)
        return ((realm, s) for realm, s in known.items() if (realm[0], realm[2]) == (proxy, domain))

    def authorise(self, asked: ClientRequest, flow: Flow, credentials: Credentials) -> None:
        """Answer every challenge known for this user, destination and domain."""
        request = asked.request
        request.headers.remove("Authorization")
        request.headers.remove("Proxy-Authorization")
        known = self.sessions.get((credentials, *flow.remote), {})
        for proxy in (True, False) if known else ():
            for _, session in self.fitting(known, request, proxy):
                value = session.authorize(request.method, request.uri, request.body)
                request.headers.add(session.header, value)
        first = request.method == "REGISTER" and "Authorization" not in request.headers
        if first and credentials.realm:
            request.headers.add("Authorization", introduction(credentials, request.uri))

    # --- what happened ----------------------------------------------------------------------------

    def refresh(
        self, dialog: Dialog, request: Request, response: Response, flow: Flow | None
    ) -> None:
        """A 2xx moves the dialog's target (§12.2.1.2); one without a readable Contact does not.

        libpurple copies our Contact into its 200 to a NOTIFY; who followed that would talk to himself.
        """
        contact = response.headers.first().get("contact")
        if contact is not None and contact == request.headers.first().get("contact"):
            return
        try:
            dialog.refresh_target(response, flow)
        except ParseError:
            return

    def transport_failed(self, flow: Flow, now: float, error: str) -> None:
        """Everything that waits on this way tries another."""
        self.error = error
        for transaction in list(self.transactions.by_key.values()):
            used = transaction.flow
            if (used.protocol, used.remote, used.name) == (flow.protocol, flow.remote, flow.name):
                transaction.transport_failed(now)
        self.error = ""

    def report_failure(self, asked: ClientRequest, destination: str, error: str) -> None:
        method, following = asked.request.method, asked.following
        self.report(DestinationFailed(method, destination, error, following, asked.trace))

    def report_unusable(self, asked: ClientRequest, destination: str, error: str) -> None:
        """It never became a destination: no address, no listener, nothing we can speak."""
        asked.note(destination, error)
        self.report_failure(asked, destination, error)

    def report_timeout(self, asked: ClientRequest, destination: str) -> None:
        request = asked.request
        call_id = request.headers.get("Call-ID") or ""
        self.report(
            RequestTimedOut(request.method, destination, call_id, asked.trace, asked.following)
        )

    def report_unmet(self, asked: ClientRequest, response: Response) -> None:
        """A challenge is the last word. Of a probe nobody needs to hear: it asks for nothing."""
        request, credentials = asked.request, asked.credentials
        if request.method == "OPTIONS":
            return
        challenges = challenges_of(response)
        usable = select(challenges, self.minimum_digest)
        if credentials is None:
            why = Unmet.MISSING
        elif not usable:
            why = Unmet.UNUSABLE
        elif credentials.realm and all(c.realm != credentials.realm for c in usable):
            why = Unmet.REALM
        else:
            why = Unmet.REFUSED
        self.report(
            ChallengeUnmet(
                why,
                response.status,
                request.method,
                asked.where(),
                str(request.from_.uri),
                "" if credentials is None else credentials.username,
                tuple(dict.fromkeys(c.realm for c in challenges if c.realm)),
                asked.trace,
            )
        )

    def report_end(self, asked: ClientRequest) -> None:
        """No destination is left; of one that failed alone enough was said."""
        if len(asked.tried) > 1:
            request = asked.request
            self.report(RequestFailed(request.method, request.uri, tuple(asked.tried), asked.trace))


def challenges_of(response: Response) -> list[Challenge]:
    """What a 401 or 407 asks for, as far as it can be read."""
    proxy = response.status == 407
    lines = response.headers.get_all("Proxy-Authenticate" if proxy else "WWW-Authenticate")
    return parse_challenges(lines, proxy=proxy)


def domain_of(request: Request) -> str:
    """Whose server a request asks: the host of To, in and out of dialogs."""
    return request.to.uri.host.lower()


def is_large(request: Request) -> bool:
    """Does it exceed 1300 bytes with the Via and the rest that are still to come (§18.1.1)?"""
    return len(bytes(request)) + ROOM_FOR_VIA > LARGE


def contact_at(point: ListeningPoint, identity: Uri, secure: bool = False) -> NameAddr:
    """Our Contact on this listening point for an identity.

    `secure`: the request was made with a sips URI, so that Contact must be one too (§8.1.1.8, §12.1.1). There
    TLS is meant without being named (RFC 5630 §3.1.3).
    """
    user = identity.opaque.partition(";")[0] if identity.scheme == "tel" else identity.user
    secure = secure and point.protocol in SECURE
    uri = Uri("sips" if secure else "sip", user or None, bracketed(point.host), point.port or None)
    if point.protocol != "udp" and not (secure and point.protocol == "tls"):
        uri = uri.with_parameter("transport", point.transport)
    return NameAddr(str(uri))


def names(uri: Uri, point: ListeningPoint) -> bool:
    """Does a Contact URI name this listening point?"""
    return (
        uri.host == bracketed(point.host)
        and (uri.port or 0) == point.port
        and (uri.parameter("transport") or "udp") == point.transport
    )
