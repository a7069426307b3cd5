"""What is seen, and its digests: the same whether made anew or from what was seen before."""

from hypothesis import given
from hypothesis import strategies as st

from sipbridge.gateway.sight import Sight, digests, look
from sipbridge.mapping.attributes import Activity, Attribute, AttributeKind, Other, Place

ALL = frozenset(AttributeKind)

attributes = st.one_of(
    st.builds(Attribute, st.just(AttributeKind.ACTIVITY), st.sampled_from(Activity), st.none()),
    st.builds(Attribute, st.just(AttributeKind.PLACE), st.sampled_from(Place), st.text(max_size=2)),
    st.builds(
        Attribute,
        st.just(AttributeKind.OTHER),
        st.builds(Other, st.sampled_from("ab"), st.sampled_from("12")),
    ),
)
POOL = st.lists(attributes, min_size=1, max_size=6)
kinds = st.frozensets(st.sampled_from(AttributeKind), min_size=1)


@given(POOL, st.data(), st.lists(st.tuples(kinds, kinds), min_size=1, max_size=3))
def test_digests_from_what_was_seen_before_are_those_made_anew(
    pool: list[Attribute],
    data: st.DataObject,
    rights: list[tuple[frozenset[AttributeKind], frozenset[AttributeKind]]],
) -> None:
    sight: Sight | None = None
    for _ in range(6):
        whole = tuple(data.draw(st.lists(st.sampled_from(pool), max_size=5)))
        granted, requested = data.draw(st.sampled_from(rights))
        sight = look(sight, whole, granted, requested)
        anew = look(None, whole, granted, requested)
        assert sight.attributes == anew.attributes
        assert sight.digests == anew.digests == digests(anew.attributes)


def test_nothing_is_made_anew_where_nothing_changed() -> None:
    whole = (Attribute(AttributeKind.PLACE, Place.HOME),)
    first = look(None, whole, ALL, ALL)
    assert look(first, whole, frozenset(ALL), ALL) is first
    same = look(first, (*whole,), ALL, ALL)
    assert same.digests is first.digests
    assert look(first, whole, ALL, frozenset({AttributeKind.PLACE})) is not first


def test_a_note_counts_and_a_time_does_not() -> None:
    busy = Attribute(AttributeKind.ACTIVITY, Activity.BUSY)
    noted = Attribute(AttributeKind.ACTIVITY, Activity.BUSY, "soon")
    assert digests([busy]) != digests([noted])
