"""Kinds as event filters: what was asked for is told as if everything had been."""

import pytest

from sipbridge.mapping.attributes import AttributeKind, Other
from sipbridge.mapping.filters import FILTER_ID, NO_FILTER, PATHS, filter_for
from sipbridge.mapping.ocsg import to_attributes
from sipbridge.mapping.other import owner_of
from sipbridge.presence import pidf, simple_filter
from sipbridge.presence.model import Presence
from sipbridge.presence.narrowing import narrowed
from tests.mapping.test_permissions import ALICE, AT, SETS, everything


def values(given: Presence, kinds: frozenset[AttributeKind]) -> set[object]:
    """What a watcher of these kinds is told."""
    return {
        a.fingerprint
        for a in to_attributes(given, at=AT, presentity=ALICE).attributes
        if a.kind in kinds
        and (not isinstance(a.value, Other) or owner_of(a.value.name, a.value.value) in kinds)
    }


@pytest.mark.parametrize("kinds", SETS[1:], ids=lambda kinds: "+".join(sorted(kinds)))
def test_a_filter_takes_away_nothing_that_was_asked_for(kinds: frozenset[AttributeKind]) -> None:
    document = everything()
    body = filter_for(kinds)
    filters = simple_filter.parse(body) if body else ()
    told = narrowed(pidf.serialise(document), filters)
    assert values(pidf.parse(told), kinds) == values(document, kinds)


OF_PERSONS = frozenset(AttributeKind) - {AttributeKind.COMMUNICATION, AttributeKind.OTHER}
"""Kinds that can be excluded by name."""


@pytest.mark.parametrize("kinds", SETS[1:], ids=lambda kinds: "+".join(sorted(kinds)))
def test_a_filter_takes_away_what_was_not_asked_for(kinds: frozenset[AttributeKind]) -> None:
    """Activity is read out of every document; to be rid of Other alone is not worth a filter."""
    document = everything()
    others = AttributeKind.OTHER in kinds
    unwanted = (OF_PERSONS if others else frozenset(AttributeKind)) - kinds
    body = filter_for(kinds)
    assert bool(body) == bool(unwanted - {AttributeKind.OTHER})
    if body:
        told = pidf.parse(narrowed(pidf.serialise(document), simple_filter.parse(body)))
        gone = unwanted - {AttributeKind.ACTIVITY}
        assert all(values(document, frozenset({kind})) for kind in gone)
        assert not values(told, gone)


@pytest.mark.parametrize("kind", PATHS)
def test_a_filter_for_one_kind_makes_the_document_much_shorter(kind: AttributeKind) -> None:
    whole = pidf.serialise(everything())
    (only,) = simple_filter.parse(filter_for({kind}))
    told = narrowed(whole, (only,))
    assert len(told) < len(whole) * 0.75
    others = {k.value for k in to_kinds(pidf.parse(told))} - {kind.value, "Activity"}
    assert not others


def to_kinds(document: Presence) -> set[AttributeKind]:
    said = to_attributes(document, at=AT, presentity=ALICE).attributes
    return {
        owner_of(a.value.name, a.value.value) if isinstance(a.value, Other) else a.kind
        for a in said
    }


def test_everything_needs_no_filter_and_another_takes_the_place_of_the_first() -> None:
    assert filter_for(frozenset(AttributeKind)) == filter_for(()) == b""
    (gone,) = simple_filter.parse(NO_FILTER)
    assert (gone.id, gone.remove) == (FILTER_ID, True)
