"""Kinds and transformations: every set of kinds is itself again, and the filter shows just them."""

import itertools
from datetime import UTC, datetime

import pytest

from sipbridge.mapping.attributes import (
    Activity,
    Attribute,
    AttributeKind,
    Means,
    MeansType,
    Other,
    Place,
    Privacy,
    Sphere,
)
from sipbridge.mapping.ocsg import to_attributes, to_document
from sipbridge.mapping.other import owner_of
from sipbridge.mapping.permissions import kinds_visible, transformations_for
from sipbridge.presence.filtering import apply
from sipbridge.presence.model import Presence
from sipbridge.presence.rules import (
    EVERYTHING,
    NOTHING,
    Permission,
    RuleSet,
    SubHandling,
    Transformations,
)

AT = datetime(2030, 1, 1, 11, 5, tzinfo=UTC)
ALICE = "sip:alice@example.com"
SETS = [
    frozenset(kinds)
    for n in range(len(AttributeKind) + 1)
    for kinds in itertools.combinations(AttributeKind, n)
]
ALLOW = SubHandling.ALLOW


@pytest.mark.parametrize("kinds", SETS, ids=lambda kinds: "+".join(sorted(kinds)) or "none")
def test_every_set_of_kinds_is_itself_again(kinds: frozenset[AttributeKind]) -> None:
    assert kinds_visible(Permission(ALLOW, transformations_for(kinds))) == kinds


def test_only_allow_shows_anything() -> None:
    for handling in SubHandling:
        expected = frozenset(AttributeKind) if handling is ALLOW else frozenset()
        assert kinds_visible(Permission(handling, EVERYTHING)) == expected
    assert kinds_visible(Permission(ALLOW, NOTHING)) == frozenset()


def everything() -> Presence:
    values = [
        Attribute(AttributeKind.ACTIVITY, Activity.MEAL, "note"),
        Attribute(AttributeKind.PLACE, Place.RESTAURANT),
        Attribute(AttributeKind.PRIVACY, Privacy.QUIET),
        Attribute(AttributeKind.SPHERE, Sphere.WORK),
        Attribute(
            AttributeKind.COMMUNICATION,
            (
                Means("sip:a@x", 0.5, MeansType.SMS),
                Means("tel:+1", 0.5, MeansType.PHONE),
            ),
        ),
    ]
    pairs = {
        "rpid.activity": "lunch",
        "rpid.place-type": "cafe",
        "DeviceNote": "tablet",
        "rpid.mood": "happy",
        "rpid.user-input": "idle",
        "my.own": "thing",
    }
    others = [Attribute(AttributeKind.OTHER, Other(n, v)) for n, v in pairs.items()]
    return to_document([*values, *others], presentity=ALICE, at=AT)


@pytest.mark.parametrize("kinds", SETS, ids=lambda kinds: "+".join(sorted(kinds)) or "none")
def test_a_filtered_document_says_what_was_granted_and_nothing_else(
    kinds: frozenset[AttributeKind],
) -> None:
    document = everything()
    permission = Permission(ALLOW, transformations_for(kinds))

    def values(given: Presence) -> set[object]:
        mapped = to_attributes(given, at=AT, presentity=ALICE).attributes
        return {
            a.fingerprint
            for a in mapped
            if a.kind in kinds
            and (not isinstance(a.value, Other) or owner_of(a.value.name, a.value.value) in kinds)
        }

    assert values(apply(document, permission)) == values(document)
    hidden = {a.value for a in to_attributes(document, at=AT, presentity=ALICE).attributes} - {
        a.value
        for a in to_attributes(document, at=AT, presentity=ALICE).attributes
        if (owner_of(a.value.name) if isinstance(a.value, Other) else a.kind) in kinds
    }
    seen = {
        a.value
        for a in to_attributes(apply(document, permission), at=AT, presentity=ALICE).attributes
    }
    assert not hidden & seen - {Activity.AVAILABLE, Activity.NONE}


def test_a_stored_decision_means_the_same_kinds() -> None:
    shown = transformations_for([AttributeKind.ACTIVITY, AttributeKind.COMMUNICATION])
    from sipbridge.uri import Uri

    rules = RuleSet().with_decision(Uri.parse("sip:bob@example.com"), ALLOW, shown)
    again = RuleSet.from_json(rules.to_json())
    assert kinds_visible(Permission(ALLOW, again.rules[0].transformations)) == {
        AttributeKind.ACTIVITY,
        AttributeKind.COMMUNICATION,
    }


def test_half_a_kind_is_not_visible() -> None:
    activity = transformations_for([AttributeKind.ACTIVITY])
    without_persons = Transformations(provide=activity.provide)
    assert kinds_visible(Permission(ALLOW, without_persons)) == frozenset()
