"""Who decides about a watcher, and what was decided: one question, asked before anything is shown.

For a presentity with an application here, and for everybody whose presence server is ours, the rules kept
here count. For anybody else it is the presence server's answer: an active subscription grants everything
that was asked, a pending one leaves it open. Everybody may see themselves.

The answer is remembered for each pair until the rules change or time changes what they mean, because it is
asked for every notification.
"""

from collections.abc import Container
from dataclasses import dataclass
from datetime import datetime

from sipbridge.gateway.authorization import (
    EVERYTHING_GRANTED,
    NOTHING_DECIDED,
    Decision,
    decide,
)
from sipbridge.gateway.contract import ContractLimits
from sipbridge.gateway.notifications import cut
from sipbridge.gateway.policies import OperatorPolicy, effective
from sipbridge.gateway.ports import Clock, Notification, PresenceNetwork, StoredRules
from sipbridge.gateway.registry import Pair, Registry
from sipbridge.identities import PresentityKey
from sipbridge.presence.rules import RuleSet, SubHandling, next_change
from sipbridge.uri import Uri

MAX_REMEMBERED = 200_000
"""Answers, as many as the agent takes subscriptions; beyond it all are forgotten and found again."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator decided: who has an application here, what counts without a decision, how long.

    default: `agent.sub_handling`, for presentities whose server we are; policies: `agent.policies`, for the
    same. unenforceable: keep decisions that bind nobody (`presence_server.unenforceable`). Seconds, 0 for
    ever: publication_lifetime, subscription_idle. fetch_wait: seconds Get User Presence may wait.
    """

    with_application: Container[PresentityKey] = frozenset()
    default: SubHandling = SubHandling.CONFIRM
    limits: ContractLimits = ContractLimits()
    policies: tuple[OperatorPolicy, ...] = ()
    unenforceable: bool = False
    publication_lifetime: float = 86400.0
    subscription_idle: float = 7 * 86400.0
    fetch_wait: float = 1.0


@dataclass(frozen=True, slots=True)
class Remembered:
    """An answer, and what it was made from."""

    decision: Decision
    stored: StoredRules | None
    until: datetime | None


class Decisions:
    """The only place that knows what a watcher may see."""

    def __init__(
        self, registry: Registry, network: PresenceNetwork, clock: Clock, policy: Policy
    ) -> None:
        self.registry = registry
        self.network = network
        self.clock = clock
        self.policy = policy
        self.remembered: dict[Pair, Remembered] = {}
        self.served: dict[PresentityKey, bool] = {}
        """For each presentity asked about: is its server ours?"""
        self.effective: dict[PresentityKey, tuple[RuleSet | None, RuleSet | None]] = {}
        """The presentity's own rules, and what counts with the operator's policies."""

    def of(self, pair: Pair) -> Decision:
        """What this watcher may see of this presentity now."""
        watcher, presentity = pair
        if watcher == presentity:
            return EVERYTHING_GRANTED
        if not self.decided_by_rules(presentity):
            view = self.registry.views.get(pair)
            return EVERYTHING_GRANTED if view and view.state == "active" else NOTHING_DECIDED
        known = self.remembered.get(pair)
        stored = self.registry.rules.get(presentity)
        if (
            known is not None
            and known.stored is stored
            and (known.until is None or self.clock.at() < known.until)
        ):
            return known.decision
        return self.evaluate(pair, stored)

    def forget(self) -> None:
        """Who has an application here, or what the operator decided, may be another matter now."""
        self.remembered.clear()
        self.served.clear()
        self.effective.clear()

    def evaluate(self, pair: Pair, stored: StoredRules | None) -> Decision:
        watcher, presentity = pair
        at = self.clock.at()
        rules = self.rules(presentity)
        denied = stored.denied if stored else ()
        decision = decide(rules, denied, Uri.parse(watcher), watcher, at, self.policy.default)
        if len(self.remembered) >= MAX_REMEMBERED:
            self.remembered.clear()
        self.remembered[pair] = Remembered(decision, stored, next_change(rules, at))
        return decision

    def recheck(self, notification: Notification) -> Notification | None:
        """What of a notification its reader may see now (`ports.Recheck`)."""
        grant = notification.grant
        if grant is None or grant.polite:
            return notification
        decision = self.of((grant.watcher, grant.presentity))
        if decision.polite:
            return None
        if decision.granted.issuperset(grant.kinds):
            return notification
        return cut(notification, decision.granted)

    def decided_by_rules(self, presentity: PresentityKey) -> bool:
        """Do rules kept here bind, and not the answer of somebody else's server?"""
        return presentity in self.policy.with_application or self.served_here(presentity)

    def served_here(self, presentity: PresentityKey) -> bool:
        """Is the presentity's presence server ours?"""
        known = self.served.get(presentity)
        if known is None:
            if len(self.served) >= MAX_REMEMBERED:
                self.served.clear()
            known = self.served[presentity] = self.network.decides_here(Uri.parse(presentity))
        return known

    def rules(self, presentity: PresentityKey) -> RuleSet | None:
        """The rules that count for a presentity, here and in the presence agent; None if there are none."""
        stored = self.registry.rules.get(presentity)
        own = stored.rules if stored else None
        if not self.policy.policies or not self.served_here(presentity):
            return own
        known = self.effective.get(presentity)
        if known is None or known[0] is not own:
            if len(self.effective) >= MAX_REMEMBERED:
                self.effective.clear()
            known = (own, effective(own, self.policy.policies, presentity))
            self.effective[presentity] = known
        return known[1]
