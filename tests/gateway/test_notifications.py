"""The four messages as JSON; here those written by hand are held against those that are not."""

from datetime import UTC

import orjson
from hypothesis import given
from hypothesis import strategies as st

from sipbridge.gateway.notifications import attribute_text
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
    to_json,
)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
means = st.builds(Means, text, st.sampled_from([0.0, 0.25, 1.0]), st.sampled_from(MeansType))
values = st.one_of(
    st.tuples(st.just(AttributeKind.ACTIVITY), st.sampled_from(Activity)),
    st.tuples(st.just(AttributeKind.PLACE), st.sampled_from(Place)),
    st.tuples(st.just(AttributeKind.PRIVACY), st.sampled_from(Privacy)),
    st.tuples(st.just(AttributeKind.SPHERE), st.sampled_from(Sphere)),
    st.tuples(st.just(AttributeKind.COMMUNICATION), st.lists(means, max_size=2).map(tuple)),
    st.tuples(st.just(AttributeKind.OTHER), st.builds(Other, text, text)),
)
times = st.none() | st.datetimes(timezones=st.just(UTC))


@given(values, st.none() | text, times)
def test_an_attribute_is_written_as_its_object_would_be(
    value: tuple[AttributeKind, object], note: str | None, changed: object
) -> None:
    attribute = Attribute(*value, note, changed)  # type: ignore[arg-type]
    assert attribute_text(attribute) == orjson.dumps(to_json(attribute))
