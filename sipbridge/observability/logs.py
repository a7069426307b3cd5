"""Structured logs on standard error.

A line is an event name and fields: as text for people, as JSON for machines. What libraries write with
`logging` comes out the same way. `IndicationLog` makes the lines about indications. Anybody on the network
can cause some of them, so those are limited: a few for each kind in a while, and the first of the next while
says how many were left out. Of callers who do not prove who they are, fewer are told for each address, so
that one who tries passwords does not hide another.
"""

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TextIO

import structlog
from structlog.typing import FilteringBoundLogger, Processor

from sipbridge.agent.admission import Guessing, NotProven
from sipbridge.agent.publications import NotShown
from sipbridge.events import peer_watch, publisher, registration, subscriber
from sipbridge.gateway.presentity import LastChangeAhead
from sipbridge.observability.indications import CallerUnknown, DocumentRefused
from sipbridge.sip import indications
from sipbridge.sip.flow import Flow

BURST = 10
"""Lines of one kind in one period."""
PERIOD = 60.0
"""Seconds."""
BURST_OF_ONE = 3
"""Those of one address: enough to see whether it tries one user or many."""
MAX_KINDS = 1000
"""Kinds, or addresses, remembered; the one whose period began first is forgotten."""
MAX_USER = 64
"""Characters of a user name that somebody claims."""
MAX_REASON = 200
"""Characters of a text that a peer wrote."""
MAX_TRIED = 1000
"""Characters of a list of destinations."""
UNMET = {
    indications.Unmet.MISSING: (
        "credentials.missing",
        "set applications.sip_password of this identity; for a server of another domain sip_realm too",
    ),
    indications.Unmet.REALM: (
        "credentials.missing",
        "applications.sip_realm names another realm: correct it, or leave it empty",
    ),
    indications.Unmet.UNUSABLE: (
        "credentials.unusable",
        "no challenge that can be answered: see its algorithm, and sip.minimum_digest",
    ),
    indications.Unmet.REFUSED: (
        "credentials.refused",
        "they were sent and refused: check applications.sip_password and sip_username",
    ),
}
"""Event, and what to do, where a presence server wants other credentials."""


def configure(level: str = "info", format: str = "text", stream: TextIO | None = None) -> None:
    """Set up logging for the process. level: debug, info, warning, error. format: text or json."""
    out = stream if stream is not None else sys.stderr
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: Processor
    if format == "json":
        renderer = structlog.processors.JSONRenderer(ensure_ascii=False)
        shared.append(structlog.processors.format_exc_info)
    else:
        renderer = structlog.dev.ConsoleRenderer(
            colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


def logger(name: str) -> FilteringBoundLogger:
    """A logger; `log.info("event.name", field=value)`."""
    result: FilteringBoundLogger = structlog.get_logger(name)
    return result


@dataclass(slots=True)
class Allowance:
    """Lines of one kind in the running period."""

    began: float
    written: int = 0
    left_out: int = 0


class RateLimit:
    """Allows `burst` lines of a kind in `period` seconds."""

    def __init__(self, burst: int = BURST, period: float = PERIOD) -> None:
        self.burst = burst
        self.period = period
        self.kinds: dict[str, Allowance] = {}

    def allow(self, kind: str, now: float, before: int = 0) -> int | None:
        """None: leave it out. A number: write it, so many were left out before.

        before: how many others, left out already, this one speaks for.
        """
        allowance = self.kinds.get(kind)
        left_out = before
        if allowance is None or now - allowance.began >= self.period:
            if allowance is not None:
                left_out += self.kinds.pop(kind).left_out
            elif len(self.kinds) >= MAX_KINDS:
                del self.kinds[next(iter(self.kinds))]
            allowance = self.kinds[kind] = Allowance(now)
        if allowance.written >= self.burst:
            allowance.left_out += 1 + before
            return None
        allowance.written += 1
        return left_out


class IndicationLog:
    """Writes a line for each indication that somebody may want to read about."""

    def __init__(self, log: FilteringBoundLogger | None = None) -> None:
        self.log = log if log is not None else logger("sipbridge.sip")
        self.limit = RateLimit()
        self.by_address = RateLimit(BURST_OF_ONE)
        self.lines: dict[type, Callable[..., None]] = {
            indications.MessageRefused: self.message_refused,
            indications.DestinationFailed: self.destination_failed,
            indications.RequestTimedOut: self.timed_out,
            indications.RequestFailed: self.request_failed,
            indications.ChallengeUnmet: self.challenge_unmet,
            indications.LimitReached: self.limit_reached,
            indications.ConnectionDropped: self.connection_dropped,
            indications.CertificateLoaded: self.certificate_loaded,
            indications.CertificateRefused: self.certificate_refused,
            subscriber.Terminated: self.terminated,
            subscriber.Refused: self.refused,
            subscriber.RefreshFailed: self.refresh_failed,
            publisher.PublishFailed: self.publish_failed,
            registration.Registered: self.registered,
            Guessing: self.guessing,
            NotProven: self.not_proven,
            CallerUnknown: self.caller_unknown,
            NotShown: self.not_shown,
            registration.RegistrationFailed: self.registration_failed,
            peer_watch.PeerSuspect: self.peer_suspect,
            peer_watch.PeerBack: self.peer_back,
            peer_watch.PeerRecovered: self.peer_recovered,
            peer_watch.PeerDeaf: self.peer_deaf,
            DocumentRefused: self.document_refused,
            LastChangeAhead: self.last_change_ahead,
        }

    def observe(self, indication: object, now: float) -> None:
        line = self.lines.get(type(indication))
        if line is not None:
            line(indication, now)

    def limited(
        self,
        event: str,
        now: float,
        *,
        level: int = logging.WARNING,
        before: int = 0,
        **fields: object,
    ) -> None:
        """A line that anybody can cause. before: how many were left out that it speaks for."""
        left_out = self.limit.allow(event, now, before)
        if left_out is None:
            return
        if left_out:
            fields["left_out_before"] = left_out
        self.log.log(level, event, **{k: value for k, value in fields.items() if value != ""})

    def message_refused(self, said: indications.MessageRefused, now: float) -> None:
        self.limited(
            "message.refused",
            now,
            reason=said.reason[:MAX_REASON],
            answered=said.status_hint,
            peer=peer(said.flow),
            trace=said.trace,
        )

    def connection_dropped(self, said: indications.ConnectionDropped, now: float) -> None:
        host, port = said.remote
        self.limited(
            "connection.dropped",
            now,
            reason=said.reason,
            detail=said.detail[:MAX_REASON],
            peer=f"{said.protocol}:{host}:{port}",
        )

    def certificate_loaded(self, said: indications.CertificateLoaded, now: float) -> None:
        self.log.info("certificate.loaded", key=said.key, until=said.until)

    def certificate_refused(self, said: indications.CertificateRefused, now: float) -> None:
        self.log.error("certificate.refused", key=said.key, reason=said.why)

    def last_change_ahead(self, said: LastChangeAhead, now: float) -> None:
        self.limited(
            "publish.last-change-ahead",
            now,
            application=said.application,
            presentity=said.presentity,
            kind=said.kind,
            seconds=round(said.seconds),
            trace=said.trace,
        )

    def document_refused(self, said: DocumentRefused, now: float) -> None:
        reason, media_type = said.reason[:MAX_REASON], said.media_type[:MAX_REASON]
        self.limited(
            "document.refused", now, reason=reason, media_type=media_type, trace=said.trace
        )

    def challenge_unmet(self, said: indications.ChallengeUnmet, now: float) -> None:
        event, detail = UNMET[said.why]
        self.limited(
            event,
            now,
            status=said.status,
            method=said.method,
            identity=said.identity,
            user=said.user,
            realm=", ".join(map(quoted, said.realms))[:MAX_REASON],
            destination=said.destination,
            detail=detail,
            trace=said.trace,
        )

    def limit_reached(self, said: indications.LimitReached, now: float) -> None:
        self.limited("limit.reached", now, limit=said.limit, peer=said.peer, trace=said.trace)

    def destination_failed(self, said: indications.DestinationFailed, now: float) -> None:
        self.limited(
            "destination.failed",
            now,
            method=said.method,
            destination=said.destination,
            error=said.error,
            next=said.next,
            trace=said.trace,
        )

    def timed_out(self, said: indications.RequestTimedOut, now: float) -> None:
        self.limited(
            "request.timed_out",
            now,
            method=said.method,
            destination=said.destination,
            next=said.next,
            trace=said.trace,
        )

    def request_failed(self, said: indications.RequestFailed, now: float) -> None:
        self.limited(
            "request.failed",
            now,
            method=said.method,
            uri=said.uri,
            tried=", ".join(said.tried)[:MAX_TRIED],
            trace=said.trace,
        )

    def terminated(self, said: subscriber.Terminated, now: float) -> None:
        self.limited(
            "subscription.terminated",
            now,
            level=logging.INFO,
            subscription=said.subscription,
            reason=said.reason[:MAX_REASON],
            will_retry=said.will_retry,
            trace=said.trace,
        )

    def refused(self, said: subscriber.Refused, now: float) -> None:
        self.limited(
            "subscription.refused",
            now,
            subscription=said.subscription,
            status=said.status,
            reason=said.reason[:MAX_REASON],
            trace=said.trace,
            tried=said.tried[:MAX_TRIED],
        )

    def refresh_failed(self, said: subscriber.RefreshFailed, now: float) -> None:
        reason = said.reason[:MAX_REASON]
        self.limited(
            "subscription.refresh_failed",
            now,
            status=said.status,
            reason=reason,
            trace=said.trace,
            tried=said.tried[:MAX_TRIED],
        )

    def publish_failed(self, said: publisher.PublishFailed, now: float) -> None:
        self.limited(
            "publication.failed",
            now,
            publication=said.publication,
            failures=said.failures,
            status=said.status,
            reason=said.reason[:MAX_REASON],
            will_retry=said.will_retry,
            trace=said.trace,
            tried=said.tried[:MAX_TRIED],
        )

    def guessing(self, said: Guessing, now: float) -> None:
        self.limited(
            "authentication.guessing",
            now,
            user=quoted(said.user),
            address=said.address,
            trace=said.trace,
        )

    def not_proven(self, said: NotProven, now: float) -> None:
        self.not_authenticated(
            "authentication.failed",
            now,
            said.address,
            interface="sip",
            reason=said.reason,
            user=quoted(said.user),
            trace=said.trace,
        )

    def caller_unknown(self, said: CallerUnknown, now: float) -> None:
        """Without credentials is no attack: it has a limit of its own, and is no warning."""
        self.not_authenticated(
            "authentication.missing" if said.missing else "authentication.failed",
            now,
            said.address,
            level=logging.INFO if said.missing else logging.WARNING,
            interface="http",
            reason="" if said.missing else said.reason,
            user=quoted(said.user),
            path=said.path,
            trace=said.trace,
        )

    def not_authenticated(
        self,
        event: str,
        now: float,
        address: str,
        *,
        level: int = logging.WARNING,
        **fields: object,
    ) -> None:
        """A few lines for each address, and a few for all together."""
        before = self.by_address.allow(f"{event} {address}", now)
        if before is not None:
            self.limited(event, now, level=level, before=before, address=address, **fields)

    def not_shown(self, said: NotShown, now: float) -> None:
        reason = said.reason[:MAX_REASON]
        self.limited("presence.not-shown", now, presentity=said.presentity, reason=reason)

    def registered(self, said: registration.Registered, now: float) -> None:
        if not said.renewed:
            self.log.info(
                "registration.registered",
                registration=said.registration,
                identity=said.identity,
                expires=said.expires,
                service_route=list(said.service_route),
                associated=list(said.associated),
            )

    def registration_failed(self, said: registration.RegistrationFailed, now: float) -> None:
        self.limited(
            "registration.failed",
            now,
            registration=said.registration,
            identity=said.identity,
            status=said.status,
            reason=said.reason[:MAX_REASON],
            retry_in=None if said.retry_in is None else round(said.retry_in),
            lost=said.lost,
        )

    def peer_suspect(self, said: peer_watch.PeerSuspect, now: float) -> None:
        self.log.warning("peer.suspect", peer=said.peer, reason=said.why[:MAX_REASON])

    def peer_back(self, said: peer_watch.PeerBack, now: float) -> None:
        self.log.info("peer.back", peer=said.peer, refreshes=said.usages)

    def peer_recovered(self, said: peer_watch.PeerRecovered, now: float) -> None:
        self.log.info(
            "peer.recovered", peer=said.peer, refreshed=said.usages, forgotten=said.forgotten
        )

    def peer_deaf(self, said: peer_watch.PeerDeaf, now: float) -> None:
        self.log.warning("peer.deaf", peer=said.peer, detail="answers no OPTIONS, not probed")


def quoted(user: str) -> str:
    """A name that somebody claims: what cannot be printed is escaped, so that it forges no line."""
    return repr(user[:MAX_USER]) if user else ""


def peer(flow: Flow) -> str:
    host, port = flow.remote
    return f"{flow.protocol}:{host}:{port}"
