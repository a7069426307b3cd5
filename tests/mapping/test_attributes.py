"""typeAndValue JSON: what is written, what is tolerated, what is refused and where."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipbridge.errors import InvalidValue
from sipbridge.mapping.attributes import (
    MAX_ATTRIBUTES,
    MAX_NAME,
    MAX_NOTE,
    MAX_VALUE,
    WORDS,
    Activity,
    Attribute,
    AttributeKind,
    Means,
    MeansType,
    Other,
    Place,
    Privacy,
    Sphere,
    fingerprint,
    from_json,
    list_from_json,
    list_to_json,
    to_json,
)

AT = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
XML_TEXT = st.text(
    st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="\ufffe\uffff"),
    max_size=40,
)


def activity(word: object = "Busy", **more: object) -> dict[str, object]:
    return {"typeAndValue": {"unionElement": "Activity", "activity": word}, **more}


def refused(obj: object) -> InvalidValue:
    with pytest.raises(InvalidValue) as caught:
        from_json(obj, "presence[2]")
    return caught.value


def test_the_lists_have_the_documented_sizes() -> None:
    sizes = [len(Activity), len(Place), len(Privacy), len(Sphere), len(MeansType)]
    assert sizes == [16, 22, 5, 4, 8]
    assert len(AttributeKind) == 6


@pytest.mark.parametrize(
    ("kind", "word"), [(kind, word) for kind, words in WORDS.items() for word in words]
)
def test_each_word_comes_back(kind: AttributeKind, word: Activity) -> None:
    attribute = Attribute(kind, word, "note", AT)
    written = json.loads(json.dumps(to_json(attribute)))
    assert written["typeAndValue"] == {"unionElement": kind.value, kind.value.lower(): word.value}
    assert from_json(written, "presence[0]") == attribute


def test_the_documented_example_is_what_we_write() -> None:
    means = (Means("sip:alice@example.com", 0.8, MeansType.PHONE),)
    assert to_json(Attribute(AttributeKind.COMMUNICATION, means, None, AT)) == {
        "lastChange": "2024-05-06T07:08:09.000Z",
        "typeAndValue": {
            "unionElement": "Communication",
            "communication": {
                "means": [{"contact": "sip:alice@example.com", "priority": 0.8, "type": "Phone"}]
            },
        },
    }


def test_absent_members_are_not_written() -> None:
    assert to_json(Attribute(AttributeKind.SPHERE, Sphere.WORK)) == {
        "typeAndValue": {"unionElement": "Sphere", "sphere": "SphereWork"}
    }


@given(
    st.builds(Other, XML_TEXT.filter(str.strip), XML_TEXT),
    st.none() | XML_TEXT,
)
def test_any_other_and_note_come_back(other: Other, note: str | None) -> None:
    attribute = Attribute(AttributeKind.OTHER, other, note)
    assert from_json(json.loads(json.dumps(to_json(attribute))), "x") == attribute


def test_scalars_may_come_as_strings_and_strings_as_scalars() -> None:
    means = {"contact": "tel:+1", "priority": "0.5", "type": "Phone"}
    union = {"unionElement": "Communication", "communication": {"means": [means]}}
    assert from_json({"typeAndValue": union}, "p").value == (Means("tel:+1", 0.5, MeansType.PHONE),)
    union = {"unionElement": "Other", "other": {"name": "n", "value": 5}}
    assert from_json({"typeAndValue": union}, "p").value == Other("n", "5")
    union = {"unionElement": "Other", "other": {"name": "n", "value": True}}
    assert from_json({"typeAndValue": union}, "p").value == Other("n", "true")


def test_null_is_absent_and_unknown_members_are_ignored() -> None:
    read = from_json(activity(note=None, lastChange=None, surprise={"a": 1}), "p")
    assert read == Attribute(AttributeKind.ACTIVITY, Activity.BUSY)


def test_unused_value_members_are_ignored_even_when_they_are_nonsense() -> None:
    union = {"unionElement": "Sphere", "sphere": "SphereHome", "activity": "nonsense", "place": 3}
    assert from_json({"typeAndValue": union}, "p").value is Sphere.HOME


def test_unused_value_members_do_not_replace_the_named_one() -> None:
    union = {"unionElement": "Sphere", "activity": "Busy"}
    assert refused({"typeAndValue": union}).part == "presence[2].typeAndValue.sphere"


@pytest.mark.parametrize(
    ("text", "hour"),
    [
        ("2024-05-06T07:08:09Z", 7),
        ("2024-05-06T07:08:09", 7),
        ("2024-05-06T07:08:09.000+02:00", 5),
        ("2024-05-06T07:08:09.0001234-01:00", 8),
        ("2024-05-06t07:08:09z", 7),
        (" 2024-05-06T07:08:09Z ", 7),
    ],
)
def test_last_change_with_and_without_zone(text: str, hour: int) -> None:
    read = from_json(activity(lastChange=text), "p").last_change
    assert read is not None
    assert read.replace(microsecond=0) == AT.replace(hour=hour)
    assert read.tzinfo is UTC


@pytest.mark.parametrize(
    "text", ["yesterday", "2024-13-01T00:00:00Z", 5, {}, "0001-01-01T00:00:00+14:00"]
)
def test_last_change_that_is_none_is_refused(text: object) -> None:
    assert refused(activity(lastChange=text)).part == "presence[2].lastChange"


@pytest.mark.parametrize("kind", list(WORDS))
def test_a_word_off_the_list_is_refused_with_the_list(kind: AttributeKind) -> None:
    member = kind.value.lower()
    wrong: tuple[object, ...] = ("Nonsense", "busy", None, 3, ["Busy"], {})
    for word in wrong:
        error = refused({"typeAndValue": {"unionElement": kind.value, member: word}})
        assert error.part == f"presence[2].typeAndValue.{member}"
        assert error.valid == tuple(w.value for w in WORDS[kind])


def test_an_unknown_kind_is_refused_with_the_six() -> None:
    error = refused({"typeAndValue": {"unionElement": "activity", "activity": "Busy"}})
    assert error.part == "presence[2].typeAndValue.unionElement"
    assert error.valid == ("Activity", "Place", "Privacy", "Sphere", "Communication", "Other")


@pytest.mark.parametrize("obj", [None, [], "x", 5])
def test_something_that_is_no_attribute_is_refused(obj: object) -> None:
    assert refused(obj).part == "presence[2]"
    assert refused({"typeAndValue": obj}).part == "presence[2].typeAndValue"


@pytest.mark.parametrize(
    ("means", "part"),
    [
        ({"contact": "tel:1", "priority": 1.5, "type": "Phone"}, "priority"),
        ({"contact": "tel:1", "priority": -0.1, "type": "Phone"}, "priority"),
        ({"contact": "tel:1", "priority": "nan", "type": "Phone"}, "priority"),
        ({"contact": "tel:1", "priority": 10**400, "type": "Phone"}, "priority"),
        ({"contact": "tel:1", "priority": True, "type": "Phone"}, "priority"),
        ({"contact": "tel:1", "type": "Phone"}, "priority"),
        ({"contact": "no uri", "priority": 1, "type": "Phone"}, "contact"),
        ({"contact": "sip:a]@example.com", "priority": 1, "type": "Phone"}, "contact"),
        ({"priority": 1, "type": "Phone"}, "contact"),
        ({"contact": "tel:1", "priority": 1, "type": "phone"}, "type"),
        ({"contact": "tel:1", "priority": 1}, "type"),
    ],
)
def test_wrong_means_are_refused_where_they_are_wrong(means: object, part: str) -> None:
    good = {"contact": "tel:1", "priority": 1, "type": "Phone"}
    union = {"unionElement": "Communication", "communication": {"means": [good, means]}}
    error = refused({"typeAndValue": union})
    assert error.part == f"presence[2].typeAndValue.communication.means[1].{part}"


def test_no_means_at_all_is_a_value() -> None:
    union = {"unionElement": "Communication", "communication": {"means": []}}
    assert from_json({"typeAndValue": union}, "p").value == ()


def other(name: object, value: object) -> dict[str, object]:
    return {"typeAndValue": {"unionElement": "Other", "other": {"name": name, "value": value}}}


def test_limits_are_exact() -> None:
    from_json(other("n" * MAX_NAME, "v" * MAX_VALUE), "p")
    assert refused(other("n" * (MAX_NAME + 1), "v")).part.endswith("other.name")
    assert refused(other("n", "v" * (MAX_VALUE + 1))).part.endswith("other.value")
    from_json(activity(note="x" * MAX_NOTE), "p")
    assert refused(activity(note="x" * (MAX_NOTE + 1))).part == "presence[2].note"
    list_from_json([activity()] * MAX_ATTRIBUTES)
    with pytest.raises(InvalidValue) as caught:
        list_from_json([activity()] * (MAX_ATTRIBUTES + 1))
    assert caught.value.part == "presence"


@pytest.mark.parametrize("bad", ["\x00", "a\x1bb", "\ud800", "\ufffe"])
def test_text_that_xml_can_not_carry_is_refused_at_the_door(bad: str) -> None:
    assert refused(other("n", bad)).part.endswith("other.value")
    assert refused(other(bad, "v")).part.endswith("other.name")
    assert refused(activity(note=bad)).part == "presence[2].note"


@pytest.mark.parametrize("name", ["", "  ", None])
def test_an_other_needs_a_name(name: object) -> None:
    assert refused(other(name, "v")).part.endswith("other.name")


def test_a_list_names_the_element_at_fault() -> None:
    with pytest.raises(InvalidValue) as caught:
        list_from_json([activity(), activity("Bussy")])
    assert caught.value.part == "presence[1].typeAndValue.activity"
    assert list_from_json(list_to_json(list_from_json([activity(note="a")]))) == (
        Attribute(AttributeKind.ACTIVITY, Activity.BUSY, "a"),
    )


def test_fingerprints_ignore_the_time_and_the_order_but_not_the_note() -> None:
    one = Attribute(AttributeKind.ACTIVITY, Activity.BUSY, "a", AT)
    later = Attribute(AttributeKind.ACTIVITY, Activity.BUSY, "a", AT.replace(hour=9))
    noted = Attribute(AttributeKind.ACTIVITY, Activity.BUSY, "b", AT)
    place = Attribute(AttributeKind.PLACE, Place.HOME)
    assert fingerprint([one, place]) == fingerprint([place, later])
    assert fingerprint([one]) != fingerprint([noted])
    assert one != later


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(
                    ["typeAndValue", "unionElement", "other", "name", "value", "means", "note"]
                ),
                inner | st.sampled_from([k.value for k in AttributeKind]),
            )
        ),
    )
)
def test_any_json_is_read_or_refused_with_a_part(obj: object) -> None:
    try:
        from_json(obj, "presence[0]")
    except InvalidValue as error:
        assert error.part.startswith("presence[0]")
