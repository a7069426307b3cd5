"""Decisions by pattern: what the operator has decided for whole domains of presentities and watchers.

A policy is one more rule of RFC 5025 in the rule set of each presentity it is for. It counts for a watcher as
long as the presentity has not decided about that watcher; the presentity's own word then replaces it whole.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from sipbridge.errors import ParseError
from sipbridge.gateway.acting import IdentityPattern
from sipbridge.identities import PresentityKey
from sipbridge.mapping.attributes import AttributeKind
from sipbridge.mapping.permissions import transformations_for
from sipbridge.presence.rules import (
    EVERYTHING,
    NOTHING,
    Conditions,
    Many,
    Rule,
    RuleSet,
    SubHandling,
    leaving_out,
)
from sipbridge.uri import Uri

EVERYBODY = "*"
DOMAIN = re.compile(r"sip:\*@([^@*]+)")


@dataclass(frozen=True, slots=True)
class OperatorPolicy:
    """One policy: whose watchers it is about (None: everybody's), and the rule it adds."""

    presentity: IdentityPattern | None
    rule: Rule

    @classmethod
    def parse(
        cls,
        presentity: str,
        watcher: str,
        sub_handling: SubHandling,
        kinds: Iterable[AttributeKind] = (),
    ) -> "OperatorPolicy":
        """presentity, watcher: "*", "sip:*@host" or an address; kinds: what `allow` shows, none for all.

        A presentity's user part may hold stars anywhere, a watcher's only alone: rules know whole domains
        and single addresses (RFC 4745 §7.1). Raises ParseError.
        """
        whose = None if presentity == EVERYBODY else IdentityPattern.parse(presentity)
        shown = NOTHING
        if sub_handling is SubHandling.ALLOW:
            shown = transformations_for(kinds) if (kinds := tuple(kinds)) else EVERYTHING
        text = "\n".join((presentity, watcher, sub_handling, *kinds))
        id = "o-" + blake2b(text.encode(), digest_size=8).hexdigest()
        return cls(whose, Rule(id, watchers(watcher), sub_handling, shown))

    def concerns(self, presentity: PresentityKey) -> bool:
        return self.presentity is None or self.presentity.matches(presentity)


def watchers(pattern: str) -> Conditions:
    """The identity condition a pattern stands for. Raises ParseError."""
    if pattern == EVERYBODY:
        return Conditions(many=(Many(),))
    if (whole := DOMAIN.fullmatch(pattern)) is not None:
        return Conditions(many=(Many(domain=whole[1]),))
    uri = Uri.parse(pattern)
    if "*" in pattern or not uri.is_address:
        raise ParseError(f"{pattern!r} is not *, sip:*@host or an address", field="watcher")
    return Conditions(one=(str(uri.address),))


def effective(
    rules: RuleSet | None, policies: Sequence[OperatorPolicy], presentity: PresentityKey
) -> RuleSet | None:
    """A presentity's own rules and the policies that concern it; None if there is neither."""
    own = rules or RuleSet()
    decided = [Uri.parse(one) for rule in own.rules for one in rule.conditions.one]
    added: list[Rule] = []
    for policy in policies:
        rule: Rule | None = policy.rule if policy.concerns(presentity) else None
        for watcher in decided:
            rule = rule and leaving_out(rule, watcher)
        if rule is not None:
            added.append(rule)
    return RuleSet((*own.rules, *added)) if added else rules
