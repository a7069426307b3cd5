"""Who may see which attribute: decisions, pure.

A presentity's decisions are an RFC 4745/5025 rule set, evaluated by `presence.rules.evaluate` here and in the
presence agent alike; attribute kinds are translated to its transformations by `mapping.permissions`. What
rules cannot say, that a kind was denied and not merely left undecided, stands beside them in
`StoredRules.denied`.

Each watcher a presentity decided about has one rule of its own: `allow` with the kinds granted, `block`, or,
where everything was denied, `confirm`: it stays unconfirmed, and what it asked for is not open any more.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache

from sipbridge.gateway.ports import StoredRules
from sipbridge.identities import PresentityKey
from sipbridge.mapping.attributes import KINDS, Attribute, AttributeKind, Other
from sipbridge.mapping.other import owner_of
from sipbridge.mapping.permissions import kinds_visible, transformations_for
from sipbridge.presence.rules import Permission, RuleSet, SubHandling, evaluate
from sipbridge.uri import Uri

ALL_KINDS = frozenset(AttributeKind)


@dataclass(frozen=True, slots=True)
class Decision:
    """What one watcher may see of one presentity now.

    A kind in neither set is undecided. `permission` filters documents; None: nothing has to be filtered.
    """

    granted: frozenset[AttributeKind] = frozenset()
    denied: frozenset[AttributeKind] = frozenset()
    blocked: bool = False
    permission: Permission | None = None

    @property
    def polite(self) -> bool:
        """Is the watcher shown somebody who is not available, whatever is published?"""
        return (
            self.permission is not None and self.permission.sub_handling is SubHandling.POLITE_BLOCK
        )

    def told(self, requested: Iterable[AttributeKind]) -> tuple[tuple[str, bool], ...]:
        """The decided ones among the requested kinds, in the order of the enumeration."""
        asked = set(requested)
        return tuple(
            (kind.value, kind in self.granted)
            for kind in KINDS
            if kind in asked and (kind in self.granted or kind in self.denied)
        )


NOTHING_DECIDED = Decision()
EVERYTHING_GRANTED = Decision(granted=ALL_KINDS)


def decide(
    rules: RuleSet | None,
    denied: Iterable[tuple[PresentityKey, str]],
    watcher: Uri,
    key: PresentityKey,
    at: datetime,
    default: SubHandling,
) -> Decision:
    """Evaluate a presentity's rules for one watcher. denied: (watcher, kind) pairs as they are stored."""
    permission = evaluate(rules, watcher, at, default)
    refused = frozenset(AttributeKind(k) for w, k in denied if w == key)
    match permission.sub_handling:
        case SubHandling.BLOCK:
            return Decision(denied=ALL_KINDS, blocked=True, permission=permission)
        case SubHandling.CONFIRM:
            return Decision(denied=refused, permission=permission)
        case SubHandling.POLITE_BLOCK:
            # Decision 5: all true, and an unavailable document is what there is to see.
            return Decision(granted=ALL_KINDS, permission=permission)
        case SubHandling.ALLOW:
            granted = kinds_visible(permission)
            whole = None if granted == ALL_KINDS else permission
            return Decision(granted, refused - granted, permission=whole)


def with_decisions(
    stored: StoredRules,
    before: Decision,
    watcher: Uri,
    key: PresentityKey,
    decisions: Sequence[tuple[AttributeKind, bool]],
) -> StoredRules:
    """The rules after the presentity decided about some kinds. Kinds not named stay as `before` says.

    A grant lifts a block, and ends a polite one: then only what is granted now counts.
    """
    granted = set() if before.blocked or before.polite else set(before.granted)
    denied = set() if before.blocked and any(d for _, d in decisions) else set(before.denied)
    for kind, allowed in decisions:
        (granted if allowed else denied).add(kind)
        (denied if allowed else granted).discard(kind)
    if before.blocked and not granted:
        return stored
    handling = SubHandling.ALLOW if granted else SubHandling.CONFIRM
    rules = stored.rules.with_decision(watcher, handling, transformations_for(granted))
    return changed(stored, rules, key, denied)


def with_block(stored: StoredRules, watcher: Uri, key: PresentityKey) -> StoredRules:
    """The rules after the presentity blocked the watcher."""
    return changed(stored, stored.rules.with_decision(watcher, SubHandling.BLOCK), key, ())


@lru_cache(maxsize=1024)
def kinds_of(names: tuple[str, ...]) -> frozenset[AttributeKind]:
    """The kinds of a stored record. Asked for every notification, and there are few different ones."""
    return frozenset(map(AttributeKind, names))


def visible(
    attributes: Iterable[Attribute],
    granted: frozenset[AttributeKind],
    requested: frozenset[AttributeKind],
) -> tuple[Attribute, ...]:
    """What of `attributes` was granted and asked for.

    A reserved `Other` pair refines another kind; it goes out only if both are granted (decision 1).
    """
    if granted == ALL_KINDS and requested == ALL_KINDS:
        return tuple(attributes)
    return tuple(
        a
        for a in attributes
        if a.kind in granted
        and a.kind in requested
        and (not isinstance(a.value, Other) or owner(a.value) in granted)
    )


def owner(pair: Other) -> AttributeKind:
    """The kind that a pair belongs to."""
    return owner_of(pair.name, pair.value)


def both(
    one: frozenset[AttributeKind], other: frozenset[AttributeKind]
) -> frozenset[AttributeKind]:
    """The kinds in both; mostly these are the same, and all."""
    return one if one is other or one == other else one & other


@lru_cache(maxsize=1024)
def names_of(kinds: frozenset[AttributeKind]) -> tuple[str, ...]:
    """The kinds' names, in one order. There are 64 different sets."""
    return tuple(sorted(kinds))


def changed(
    stored: StoredRules, rules: RuleSet, key: PresentityKey, denied: Iterable[AttributeKind]
) -> StoredRules:
    others = tuple(pair for pair in stored.denied if pair[0] != key)
    mine = tuple((key, kind.value) for kind in sorted(denied))
    return replace(stored, rules=rules, version=stored.version + 1, denied=others + mine)
