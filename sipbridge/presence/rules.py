"""Presence rules: who may see what (RFC 4745 common policy, RFC 5025 presence authorization).

A `RuleSet` belongs to one presentity. Each `Rule` has conditions (identity, sphere, validity), one action
(sub-handling) and transformations; the words are the RFCs' own, the kinds of the JSON world are translated
in `mapping/permissions.py`. `evaluate` gives one watcher's `Permission` at one instant:

- A rule applies when all its conditions hold (RFC 4745 §6). No condition: it applies to everybody. A
  condition we do not know never holds (§7), so a rule we cannot judge grants nothing.
- Identity: any `one`, or any `many` none of whose exceptions fits (§7.1). Addresses are compared by their
  canonical keys, so `pres:` equals `sip:` and case of the host does not count. An anonymous watcher has no
  authenticated identity and matches no identity condition (RFC 5025 §3.1.1).
- Rules that apply are combined (§10.2): the greatest sub-handling, the union of sets, the logical or of
  switches. Nothing can take away what another rule grants; a block therefore needs the watcher taken out of
  the other rules, which is what `RuleSet.with_decision` does.
- Where no rule that applies states a sub-handling there is no decision, and the caller's default counts. The
  RFC's own default is block (RFC 5025 §3.2.1); ours is configured. A default of allow that no rule speaks to
  allows everything.

Edits are pure and return a new set. JSON (`to_json`, `from_json`) is the form of the store; the XML form is
in `presence/common_policy.py`. What the filter makes of a permission is in `presence/filtering.py`.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Self

from sipbridge.errors import ParseError
from sipbridge.identities import NormalisingIdentities
from sipbridge.presence.model import Extension
from sipbridge.uri import Uri

ANY = "*"
"""In `Transformations.unknown`: every element no permission has a word for (an extension of ours)."""

ANONYMOUS_DOMAIN = "anonymous.invalid"
"""RFC 3323 §4.1.1.3."""

IDENTITIES = NormalisingIdentities()


class SubHandling(StrEnum):
    """RFC 5025 §3.2.1, weakest first."""

    BLOCK = "block"
    CONFIRM = "confirm"
    POLITE_BLOCK = "polite-block"
    ALLOW = "allow"

    @property
    def rank(self) -> int:
        """Place in the order that combination takes the greatest of."""
        return SUB_HANDLING_ORDER.index(self)


SUB_HANDLING_ORDER = tuple(SubHandling)


class Provide(StrEnum):
    """The boolean permissions of RFC 5025 §3.3.2; the element is `provide-` and the word."""

    ACTIVITIES = "activities"
    CLASS = "class"
    DEVICE_ID = "deviceID"
    MOOD = "mood"
    PLACE_IS = "place-is"
    PLACE_TYPE = "place-type"
    PRIVACY = "privacy"
    RELATIONSHIP = "relationship"
    SPHERE = "sphere"
    STATUS_ICON = "status-icon"
    TIME_OFFSET = "time-offset"
    NOTE = "note"
    ALL_ATTRIBUTES = "all-attributes"


class UserInputDetail(StrEnum):
    """How much of `user-input` is told, least first (RFC 5025 §3.3.2.11)."""

    NOTHING = "false"
    BARE = "bare"
    THRESHOLDS = "thresholds"
    FULL = "full"

    @property
    def rank(self) -> int:
        """Place in the order that combination takes the greatest of."""
        return USER_INPUT_ORDER.index(self)


USER_INPUT_ORDER = tuple(UserInputDetail)

Words = frozenset[str]
NO_WORDS: Words = frozenset()


def united(ours: tuple[Extension, ...], theirs: tuple[Extension, ...]) -> tuple[Extension, ...]:
    """Ours, and what of theirs is not among them."""
    return ours + tuple(e for e in theirs if e not in ours)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which devices, persons or services are shown: all, or those that fit any of the lists.

    classes: rpid class. occurrences: element ids. uris: `deviceID` of a device, contact of a service.
    schemes: of a service's contact, lower case (RFC 5025 §3.3.1). `extensions` are choices of other
    specifications, kept for the way back; they choose nothing.
    """

    all: bool = False
    classes: Words = NO_WORDS
    occurrences: Words = NO_WORDS
    uris: Words = NO_WORDS
    schemes: Words = NO_WORDS
    extensions: tuple[Extension, ...] = ()

    def __bool__(self) -> bool:
        return (
            self.all
            or bool(self.classes)
            or bool(self.occurrences)
            or bool(self.uris)
            or bool(self.schemes)
        )

    def __or__(self, other: Self) -> "Selection":
        return Selection(
            self.all or other.all,
            self.classes | other.classes,
            self.occurrences | other.occurrences,
            self.uris | other.uris,
            self.schemes | other.schemes,
            united(self.extensions, other.extensions),
        )


NONE = Selection()
ALL = Selection(all=True)


@dataclass(frozen=True, slots=True)
class Transformations:
    """What is shown. Empty shows nothing.

    `unknown` are Clark names of elements that no other permission covers (provide-unknown-attribute), or
    `ANY`. `extensions` are permissions of other specifications, kept for the way back and otherwise ignored.
    """

    devices: Selection = NONE
    persons: Selection = NONE
    services: Selection = NONE
    provide: frozenset[Provide] = frozenset()
    user_input: UserInputDetail = UserInputDetail.NOTHING
    unknown: Words = NO_WORDS
    extensions: tuple[Extension, ...] = ()

    def provides(self, word: Provide) -> bool:
        """Is this permission given, by itself or by all-attributes?"""
        return word in self.provide or Provide.ALL_ATTRIBUTES in self.provide

    def provides_element(self, name: str) -> bool:
        """Is this element without a permission of its own shown? `name` in Clark notation."""
        return name in self.unknown or ANY in self.unknown or Provide.ALL_ATTRIBUTES in self.provide

    @property
    def user_input_detail(self) -> UserInputDetail:
        """How much of user-input is shown, all-attributes considered."""
        return UserInputDetail.FULL if Provide.ALL_ATTRIBUTES in self.provide else self.user_input

    def __or__(self, other: Self) -> "Transformations":
        return Transformations(
            self.devices | other.devices,
            self.persons | other.persons,
            self.services | other.services,
            self.provide | other.provide,
            max(self.user_input, other.user_input, key=USER_INPUT_ORDER.index),
            self.unknown | other.unknown,
            united(self.extensions, other.extensions),
        )


NOTHING = Transformations()
EVERYTHING = Transformations(ALL, ALL, ALL, frozenset({Provide.ALL_ATTRIBUTES}))


@dataclass(frozen=True, slots=True)
class Except:
    """One address or one whole domain that a `many` does not mean (RFC 4745 §7.1.3)."""

    id: str | None = None
    domain: str | None = None


@dataclass(frozen=True, slots=True)
class Many:
    """Every authenticated watcher, or those of one domain, but for the exceptions."""

    domain: str | None = None
    excepts: tuple[Except, ...] = ()


@dataclass(frozen=True, slots=True)
class Period:
    """since <= at < until (RFC 4745 §7.3), both aware UTC."""

    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Conditions:
    """When a rule applies: all that is stated must hold; nothing stated holds always (RFC 4745 §7).

    one, many: the identity condition, absent if both are empty; one that fits is enough. sphere: the
    presentity's. validity: periods, one that fits is enough. `unknown` are conditions of other
    specifications, kept for the way back: they never hold.
    """

    one: tuple[str, ...] = ()
    many: tuple[Many, ...] = ()
    sphere: str | None = None
    validity: tuple[Period, ...] = ()
    unknown: tuple[Extension, ...] = ()


ALWAYS = Conditions()


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `extensions` are actions of other specifications, kept for the way back."""

    id: str
    conditions: Conditions = ALWAYS
    sub_handling: SubHandling | None = None
    transformations: Transformations = NOTHING
    extensions: tuple[Extension, ...] = ()


@dataclass(frozen=True, slots=True)
class Permission:
    """What one watcher may see at one instant. `from_rules`: ids of the rules that applied."""

    sub_handling: SubHandling
    transformations: Transformations = NOTHING
    from_rules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RuleSet:
    """A presentity's rules. Empty: nothing is decided."""

    rules: tuple[Rule, ...] = ()

    def rule(self, id: str) -> Rule | None:
        """The rule of that id."""
        return next((r for r in self.rules if r.id == id), None)

    def with_rule(self, rule: Rule) -> "RuleSet":
        """The set with this rule: in place of the one of the same id, else at the end."""
        if self.rule(rule.id) is None:
            return RuleSet((*self.rules, rule))
        return RuleSet(tuple(rule if r.id == rule.id else r for r in self.rules))

    def without(self, id: str) -> "RuleSet":
        """The set without the rule of that id; the same set if there is none."""
        return RuleSet(tuple(r for r in self.rules if r.id != id))

    def decision(self, watcher: Uri) -> Rule | None:
        """The rule that `with_decision` made for this watcher."""
        return self.rule(decision_id(watcher))

    def with_decision(
        self, watcher: Uri, sub_handling: SubHandling, transformations: Transformations = NOTHING
    ) -> "RuleSet":
        """What is decided for one watcher, and nothing else: every other rule leaves the watcher out.

        An unconditional rule becomes one for every authenticated watcher but this, since "everybody but"
        has no other form (RFC 4745 §7.1).
        """
        made = Rule(
            decision_id(watcher),
            Conditions(one=(str(watcher.address),)),
            sub_handling,
            transformations,
        )
        others = (r if r.id == made.id else leaving_out(r, watcher) for r in self.rules)
        return RuleSet(tuple(r for r in others if r is not None)).with_rule(made)

    def to_json(self) -> str:
        """Compact JSON text for the store."""
        return json.dumps(
            [encode_rule(r) for r in self.rules], separators=(",", ":"), ensure_ascii=False
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> "RuleSet":
        """Read what `to_json` wrote. Raises ParseError, field "rules"."""
        try:
            return cls(tuple(decode_rule(r) for r in json.loads(text)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ParseError(f"not a stored rule set: {error}", field="rules") from None


def decision_id(watcher: Uri) -> str:
    """The id of the rule for one watcher: an xs:ID that is the same for all spellings of the address."""
    return "w-" + hashlib.sha256(IDENTITIES.canonical(watcher).encode()).hexdigest()[:16]


def leaving_out(rule: Rule, watcher: Uri) -> Rule | None:
    """The rule with one watcher excepted; None when nobody is left. Unchanged where it does not fit."""
    conditions = rule.conditions
    excepted = Except(id=str(watcher.address))
    if not (conditions.one or conditions.many):
        return replace(rule, conditions=replace(conditions, many=(Many(excepts=(excepted,)),)))
    who = Who.of(watcher)
    if not identity_fits(conditions, who):
        return rule
    one = tuple(i for i in conditions.one if canonical_id(i) != who.key)
    many = tuple(
        replace(m, excepts=(*m.excepts, excepted)) if many_fits(m, who) else m
        for m in conditions.many
    )
    return (
        replace(rule, conditions=replace(conditions, one=one, many=many)) if one or many else None
    )


# --- evaluation -----------------------------------------------------------------------------------------


def evaluate(
    rules: RuleSet | None,
    watcher: Uri,
    at: datetime,
    default: SubHandling,
    sphere: str | None = None,
) -> Permission:
    """One watcher's permission at one instant.

    `sphere` is the presentity's own current sphere, None if not known: then no rule that asks for one
    applies. `default` counts where no rule that applies states a sub-handling.
    """
    who = Who.of(watcher)
    applied = [r for r in rules.rules if applies(r, who, at, sphere)] if rules else []
    stated = [r.sub_handling for r in applied if r.sub_handling is not None]
    handling = max(stated, key=SUB_HANDLING_ORDER.index) if stated else default
    if not applied and handling is SubHandling.ALLOW:
        return Permission(handling, EVERYTHING)
    return Permission(
        handling, union(r.transformations for r in applied), tuple(r.id for r in applied)
    )


def union(parts: Iterable[Transformations]) -> Transformations:
    """Everything that any of them shows."""
    whole = NOTHING
    for part in parts:
        whole = whole | part
    return whole


@dataclass(frozen=True, slots=True)
class Who:
    """A watcher as conditions see it: canonical key, and host in lower case."""

    key: str
    host: str

    @classmethod
    def of(cls, watcher: Uri) -> "Who":
        return cls(IDENTITIES.canonical(watcher), watcher.host.lower())


def applies(rule: Rule, watcher: Who, at: datetime, sphere: str | None) -> bool:
    """Do all conditions hold (RFC 4745 §6)?"""
    conditions = rule.conditions
    if conditions.unknown:
        return False
    if conditions.sphere is not None and conditions.sphere != sphere:
        return False
    if conditions.validity and not any(p.since <= at < p.until for p in conditions.validity):
        return False
    return identity_fits(conditions, watcher)


def identity_fits(conditions: Conditions, watcher: Who) -> bool:
    """Does the identity condition hold? Without one it does."""
    if not (conditions.one or conditions.many):
        return True
    if watcher.host == ANONYMOUS_DOMAIN:
        return False
    return watcher.key in keys_of(conditions.one) or (
        bool(conditions.many) and any(many_fits(m, watcher) for m in conditions.many)
    )


def many_fits(many: Many, watcher: Who) -> bool:
    if many.domain is not None and many.domain.lower() != watcher.host:
        return False
    return not any(
        (e.domain is not None and e.domain.lower() == watcher.host)
        or (e.id is not None and canonical_id(e.id) == watcher.key)
        for e in many.excepts
    )


@lru_cache(maxsize=8192)
def keys_of(ids: tuple[str, ...]) -> frozenset[str]:
    """The keys of addresses in a rule; remembered, since each rule is asked for every watcher."""
    return frozenset(canonical_id(i) for i in ids)


@lru_cache(maxsize=8192)
def canonical_id(text: str) -> str:
    """The key of an address as written in a rule; text that is no URI fits only itself."""
    try:
        return IDENTITIES.canonical(Uri.parse(text.strip()))
    except ParseError:
        return text


def next_change(rules: RuleSet | None, at: datetime) -> datetime | None:
    """The next instant at which a validity period begins or ends; None if time changes nothing."""
    bounds = [
        b
        for r in (rules.rules if rules else ())
        for p in r.conditions.validity
        for b in (p.since, p.until)
        if b > at
    ]
    return min(bounds, default=None)


# --- JSON -----------------------------------------------------------------------------------------------
# Members without content are left out; sets are sorted, so equal rule sets give equal text.

Json = dict[str, object]


def encode_rule(rule: Rule) -> Json:
    conditions = rule.conditions
    whole: Json = {
        "id": rule.id,
        "one": list(conditions.one),
        "many": [[m.domain, [[e.id, e.domain] for e in m.excepts]] for m in conditions.many],
        "sphere": conditions.sphere,
        "validity": [[p.since.isoformat(), p.until.isoformat()] for p in conditions.validity],
        "unknown": encode_extensions(conditions.unknown),
        "sub-handling": rule.sub_handling,
        "transformations": encode_transformations(rule.transformations),
        "extensions": encode_extensions(rule.extensions),
    }
    return {k: v for k, v in whole.items() if v not in (None, [], {})}


def encode_transformations(shown: Transformations) -> Json:
    whole: Json = {
        "devices": encode_selection(shown.devices),
        "persons": encode_selection(shown.persons),
        "services": encode_selection(shown.services),
        "provide": sorted(shown.provide),
        "user-input": None
        if shown.user_input is UserInputDetail.NOTHING
        else shown.user_input.value,
        "unknown": sorted(shown.unknown),
        "extensions": encode_extensions(shown.extensions),
    }
    return {k: v for k, v in whole.items() if v}


def encode_selection(selection: Selection) -> Json:
    whole: Json = {
        "all": selection.all,
        "classes": sorted(selection.classes),
        "occurrences": sorted(selection.occurrences),
        "uris": sorted(selection.uris),
        "schemes": sorted(selection.schemes),
        "extensions": encode_extensions(selection.extensions),
    }
    return {k: v for k, v in whole.items() if v}


def encode_extensions(extensions: tuple[Extension, ...]) -> list[list[str]]:
    return [[e.name, e.xml] for e in extensions]


@dataclass(frozen=True, slots=True)
class Reader:
    """A JSON object with typed access; whatever does not fit is a TypeError."""

    values: Json = field(default_factory=dict)

    @classmethod
    def of(cls, value: object) -> "Reader":
        if not isinstance(value, dict):
            raise TypeError(f"an object was expected, not {value!r:.60}")
        return cls(value)

    def text(self, name: str) -> str | None:
        return as_text(self.values.get(name))

    def list(self, name: str) -> list[object]:
        return as_list(self.values.get(name, []))

    def texts(self, name: str) -> tuple[str, ...]:
        return tuple(str(as_text(v)) for v in self.list(name))

    def object(self, name: str) -> "Reader":
        return Reader.of(self.values.get(name, {}))

    def extensions(self, name: str) -> tuple[Extension, ...]:
        return tuple(Extension(*[str(as_text(t)) for t in as_list(e)]) for e in self.list(name))


def as_text(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"text was expected, not {value!r:.60}")
    return value


def as_list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError(f"a list was expected, not {value!r:.60}")
    return value


def decode_rule(value: object) -> Rule:
    read = Reader.of(value)
    handling = read.text("sub-handling")
    groups = (as_list(m) for m in read.list("many"))
    periods = (as_list(p) for p in read.list("validity"))
    conditions = Conditions(
        read.texts("one"),
        tuple(Many(as_text(domain), decode_excepts(excepts)) for domain, excepts in groups),
        read.text("sphere"),
        tuple(Period(*[datetime.fromisoformat(str(b)) for b in p]) for p in periods),
        read.extensions("unknown"),
    )
    return Rule(
        str(read.values["id"]),
        conditions,
        None if handling is None else SubHandling(handling),
        decode_transformations(read.object("transformations")),
        read.extensions("extensions"),
    )


def decode_excepts(value: object) -> tuple[Except, ...]:
    return tuple(Except(*map(as_text, as_list(e))) for e in as_list(value))


def decode_transformations(read: Reader) -> Transformations:
    return Transformations(
        decode_selection(read.object("devices")),
        decode_selection(read.object("persons")),
        decode_selection(read.object("services")),
        frozenset(Provide(w) for w in read.texts("provide")),
        UserInputDetail(read.text("user-input") or UserInputDetail.NOTHING),
        frozenset(read.texts("unknown")),
        read.extensions("extensions"),
    )


def decode_selection(read: Reader) -> Selection:
    return Selection(
        read.values.get("all") is True,
        frozenset(read.texts("classes")),
        frozenset(read.texts("occurrences")),
        frozenset(read.texts("uris")),
        frozenset(read.texts("schemes")),
        read.extensions("extensions"),
    )
