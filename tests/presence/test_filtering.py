"""The filter: what each permission shows, and that nothing else is seen."""

import dataclasses
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct, structs

from sipbridge.presence.filtering import (
    CIPID_ELEMENTS,
    SERVICE_ELEMENTS,
    apply,
    status_id,
    unavailable,
)
from sipbridge.presence.model import (
    Basic,
    Capabilities,
    Choice,
    Cipid,
    Contact,
    Deviation,
    Device,
    Extension,
    Note,
    OtherInfo,
    Person,
    PlaceIs,
    Presence,
    ServiceDescription,
    StatusIcon,
    TimedStatus,
    TimeOffset,
    Timestamp,
    Token,
    TokenList,
    Tuple,
    UserInput,
)
from sipbridge.presence.rules import (
    ALL,
    ANY,
    EVERYTHING,
    NOTHING,
    Permission,
    Provide,
    Selection,
    SubHandling,
    Transformations,
    UserInputDetail,
)

ALICE = "sip:alice@example.com"
STATUS = status_id(ALICE)


def provide(*words: Provide) -> Transformations:
    return Transformations(persons=ALL, provide=frozenset(words))


ACTIVITY = provide(Provide.ACTIVITIES, Provide.NOTE)
PLACE = provide(Provide.PLACE_TYPE, Provide.PLACE_IS)
PRIVACY = provide(Provide.PRIVACY)
SPHERE = provide(Provide.SPHERE)
COMMUNICATION = Transformations(
    devices=ALL,
    services=ALL,
    provide=frozenset({Provide.RELATIONSHIP, Provide.DEVICE_ID, Provide.NOTE}),
    unknown=SERVICE_ELEMENTS,
)
OTHER = Transformations(
    persons=ALL,
    provide=frozenset({Provide.MOOD, Provide.TIME_OFFSET, Provide.STATUS_ICON, Provide.CLASS}),
    user_input=UserInputDetail.FULL,
    unknown=frozenset({ANY}),
)
KINDS = [ACTIVITY, PLACE, PRIVACY, SPHERE, COMMUNICATION, OTHER]


def marked(word: str) -> tuple[TokenList, ...]:
    return (TokenList(tokens=(Token(f"{{urn:m}}{word}"),), notes=(Note(f"in {word}"),)),)


def moment(word: str) -> Timestamp:
    return Timestamp(word, None)


FULL = Presence(
    ALICE,
    tuples=(
        Tuple(
            "t1",
            Basic.CLOSED,
            Contact("sip:desk@example.com", "0.8"),
            notes=(Note("tuple note"),),
            timestamp=moment("tuple timestamp"),
            device_ids=("urn:device-of-tuple",),
            classes=("tuple class",),
            privacy=marked("tuple-privacy"),
            relationship=Choice((Token("{urn:m}relationship"),)),
            service_class=Choice((Token("{urn:m}service-class"),)),
            status_icons=(StatusIcon(uri="tuple icon"),),
            user_input=UserInput("tuple input"),
            cipid=Cipid(card="tuple card"),
            capabilities=Capabilities(xml="servcaps"),
            willingness=Basic.OPEN,
            service_descriptions=(ServiceDescription("service id"),),
            timed_status=(TimedStatus(notes=(Note("timed"),)),),
            status_extensions=(Extension("{urn:x}status", "status extension"),),
            extensions=(Extension("{urn:x}tuple", "tuple extension"),),
            attributes=(("{urn:x}a", "tuple attribute"),),
        ),
        Tuple("t2", Basic.OPEN, Contact("tel:+15550100")),
    ),
    persons=(
        Person(
            "p1",
            activities=marked("activities"),
            moods=marked("mood"),
            place_is=(PlaceIs(audio=(Token("{urn:m}place-is"),)),),
            place_types=marked("place-type"),
            privacy=marked("privacy"),
            spheres=marked("sphere"),
            status_icons=(StatusIcon(uri="icon"),),
            time_offsets=(TimeOffset(minutes="120"),),
            user_input=UserInput(
                "idle", "600", moment("last input"), "u1", (("a", "input attribute"),)
            ),
            classes=("class",),
            cipid=Cipid(card="card", display_name="Alice"),
            overriding_willingness=Basic.CLOSED,
            other_info=(OtherInfo("name", "other info"),),
            notes=(Note("person note"),),
            timestamp=moment("person timestamp"),
            extensions=(Extension("{urn:x}person", "person extension"),),
            attributes=(("{urn:x}a", "person attribute"),),
        ),
    ),
    devices=(
        Device(
            "d1",
            "urn:device",
            UserInput("device input"),
            ("device class",),
            Capabilities(device=True, xml="devcaps"),
            (Note("device note"),),
            moment("device timestamp"),
            (Extension("{urn:x}device", "device extension"),),
            (("{urn:x}a", "device attribute"),),
        ),
    ),
    notes=(Note("document note"),),
    extensions=(Extension("{urn:x}document", "document extension"),),
    attributes=(("{urn:x}a", "document attribute"),),
    deviations=(Deviation("code", "RFC", "quotes the document"),),
)


def show(shown: Transformations, document: Presence = FULL) -> Presence:
    return apply(document, Permission(SubHandling.ALLOW, shown))


def texts(value: object) -> Iterator[str]:
    """Every text in a value, deviations too, ids and entity not."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from texts(item)
    elif isinstance(value, Struct):
        for field in structs.fields(value):
            if field.name not in ("id", "entity"):
                yield from texts(getattr(value, field.name))


def seen(shown: Transformations) -> set[str]:
    return {t.removeprefix("{urn:m}") for t in texts(show(shown))}


EXPECTED = {
    "Activity": (
        ACTIVITY,
        {
            *("activities", "in activities", "person note", "person timestamp", "document note"),
            *("open", "closed"),  # the status tuple, and overriding-willingness
        },
    ),
    "Place": (PLACE, {"place-type", "in place-type", "place-is"}),
    "Privacy": (PRIVACY, {"privacy", "in privacy"}),
    "Sphere": (SPHERE, {"sphere", "in sphere"}),
    "Communication": (
        COMMUNICATION,
        {
            *("open", "closed", "sip:desk@example.com", "0.8", "tel:+15550100", "tuple note"),
            *("tuple timestamp", "urn:device-of-tuple", "relationship", "service-class"),
            *("servcaps", "service id", "urn:device", "devcaps", "device note"),
            "device timestamp",
        },
    ),
    "Other": (
        OTHER,
        {
            *("mood", "in mood", "icon", "120", "idle", "600", "last input", "a"),
            *("input attribute", "class", "card", "Alice", "name", "other info"),
            *("{urn:x}a", "{urn:x}person", "{urn:x}document"),
            *("person extension", "person attribute", "document extension", "document attribute"),
        },
    ),
}


@pytest.mark.parametrize("kind", EXPECTED)
def test_a_grant_of_one_kind_shows_exactly_its_own(kind: str) -> None:
    shown, expected = EXPECTED[kind]
    assert seen(shown) == expected


def test_a_services_private_sides_need_its_tuple_and_the_owning_kind() -> None:
    assert seen(PRIVACY | COMMUNICATION) - seen(PRIVACY) - seen(COMMUNICATION) == {
        "tuple-privacy",
        "in tuple-privacy",
    }
    both = seen(OTHER | COMMUNICATION) - seen(OTHER) - seen(COMMUNICATION)
    assert both == {
        *("tuple icon", "tuple input", "tuple class", "tuple card", "timed", "status extension"),
        *("tuple extension", "tuple attribute", "device input", "device class", "device extension"),
        *("device attribute", "{urn:x}status", "{urn:x}tuple", "{urn:x}device"),
    }


def test_all_kinds_together_show_the_whole_document() -> None:
    whole = NOTHING
    for kind in KINDS:
        whole = whole | kind
    assert show(whole) == FULL


def test_everything_is_the_document_itself() -> None:
    assert show(EVERYTHING) is FULL


def test_nothing_is_an_empty_document() -> None:
    assert show(NOTHING) == Presence(ALICE)


@pytest.mark.parametrize("handling", [SubHandling.BLOCK, SubHandling.CONFIRM])
def test_who_is_not_allowed_sees_nothing_whatever_the_transformations(
    handling: SubHandling,
) -> None:
    assert apply(FULL, Permission(handling, EVERYTHING)) == Presence(ALICE)


def test_polite_block_looks_like_somebody_who_is_not_there() -> None:
    polite = apply(FULL, Permission(SubHandling.POLITE_BLOCK, EVERYTHING))
    closed = structs.replace(FULL, tuples=(Tuple("t1", Basic.CLOSED),), persons=(), notes=())
    assert polite == unavailable(ALICE) == show(ACTIVITY, closed)


# --- the status tuple ---


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ([Basic.CLOSED, Basic.OPEN, None], Basic.OPEN),
        ([Basic.CLOSED, None], Basic.CLOSED),
        ([None], None),
        ([], None),
    ],
)
def test_activity_tells_whether_anything_is_open(
    stated: list[Basic | None], expected: Basic | None
) -> None:
    document = Presence(ALICE, tuple(Tuple(f"t{i}", b) for i, b in enumerate(stated)))
    tuples = (Tuple(STATUS, expected),) if expected else ()
    assert show(ACTIVITY, document).tuples == tuples


def test_the_status_tuple_stays_beside_tuples_that_are_not_all() -> None:
    some = Transformations(services=Selection(schemes=frozenset({"sip"})))
    shown = show(ACTIVITY | some)
    assert [(t.id, t.basic) for t in shown.tuples] == [(STATUS, Basic.OPEN), ("t1", Basic.CLOSED)]
    assert [t.id for t in show(some).tuples] == ["t1"]
    assert [t.id for t in show(ACTIVITY | COMMUNICATION).tuples] == ["t1", "t2"]


def test_the_status_id_says_nothing_and_stays() -> None:
    assert status_id(ALICE) == status_id(ALICE) != status_id("sip:bob@example.com")
    assert "alice" not in status_id(ALICE)


# --- selections (RFC 5025 §3.3.1) ---


@pytest.mark.parametrize(
    ("chosen", "ids"),
    [
        (Selection(), []),
        (ALL, ["t1", "t2"]),
        (Selection(classes=frozenset({"tuple class"})), ["t1"]),
        (Selection(occurrences=frozenset({"t2", "x"})), ["t2"]),
        (Selection(uris=frozenset({"sip:desk@example.com"})), ["t1"]),
        (Selection(schemes=frozenset({"tel"})), ["t2"]),
        (Selection(schemes=frozenset({"sip", "tel"})), ["t1", "t2"]),
        (Selection(schemes=frozenset({"mailto"})), []),
    ],
)
def test_services_are_chosen_by_class_id_contact_or_scheme(
    chosen: Selection, ids: list[str]
) -> None:
    assert [t.id for t in show(Transformations(services=chosen)).tuples] == ids


@pytest.mark.parametrize(
    ("chosen", "count"),
    [
        (Selection(uris=frozenset({"urn:device"})), 1),
        (Selection(classes=frozenset({"device class"})), 1),
        (Selection(occurrences=frozenset({"d1"})), 1),
        (Selection(uris=frozenset({"urn:other"})), 0),
    ],
)
def test_devices_are_chosen_by_device_id_class_or_id(chosen: Selection, count: int) -> None:
    assert len(show(Transformations(devices=chosen)).devices) == count


def test_persons_are_chosen_too() -> None:
    chosen = dataclasses.replace(PLACE, persons=Selection(occurrences=frozenset({"p2"})))
    two = structs.replace(FULL, persons=(*FULL.persons, Person("p2", place_types=marked("second"))))
    assert [p.id for p in show(chosen, two).persons] == ["p2"]


# --- user-input, CIPID, single elements ---


@pytest.mark.parametrize(
    ("detail", "expected"),
    [
        (UserInputDetail.NOTHING, None),
        (UserInputDetail.BARE, UserInput("idle", id="u1")),
        (UserInputDetail.THRESHOLDS, UserInput("idle", "600", id="u1")),
        (UserInputDetail.FULL, FULL.persons[0].user_input),
    ],
)
def test_user_input_comes_in_three_degrees(detail: UserInputDetail, expected: object) -> None:
    shown = show(PLACE | Transformations(user_input=detail))
    assert shown.persons[0].user_input == expected


def test_single_elements_are_shown_by_their_names() -> None:
    names = frozenset({CIPID_ELEMENTS["card"], "{urn:x}person"})
    person = show(Transformations(persons=ALL, unknown=names)).persons[0]
    assert person == Person("p1", cipid=Cipid(card="card"), extensions=FULL.persons[0].extensions)


def test_it_explains_what_was_left_out_and_only_that() -> None:
    said: list[str] = []
    apply(FULL, Permission(SubHandling.ALLOW, ACTIVITY | COMMUNICATION), explain=said)
    assert "person p1: mood not granted" in said
    assert not [line for line in said if "activities" in line or "contact" in line]
    quiet: list[str] = []
    apply(Presence(ALICE), Permission(SubHandling.ALLOW, NOTHING), explain=quiet)
    assert quiet == []


# --- properties ---

ids = st.sampled_from(["t1", "t2", "p1", STATUS, None])
bases = st.sampled_from([None, Basic.OPEN, Basic.CLOSED])
contacts = st.none() | st.builds(Contact, st.sampled_from(["sip:a@b", "tel:1", "odd"]))
token_lists = st.sampled_from([(), marked("one"), marked("one") + marked("two")])
notes = st.sampled_from([(), (Note("note"),)])
classes = st.sampled_from([(), ("red",), ("blue",)])
inputs = st.none() | st.just(UserInput("idle", "60", moment("then")))
extensions = st.sampled_from([(), (Extension("{urn:x}y", "y"), Extension("{urn:x}z", "z"))])
services = st.builds(
    Tuple,
    ids,
    bases,
    contacts,
    notes=notes,
    classes=classes,
    privacy=token_lists,
    user_input=inputs,
    willingness=bases,
    extensions=extensions,
)
persons = st.builds(
    Person,
    ids,
    activities=token_lists,
    moods=token_lists,
    spheres=token_lists,
    user_input=inputs,
    classes=classes,
    cipid=st.none() | st.just(Cipid(card="c", icon="i")),
    overriding_willingness=bases,
    notes=notes,
    extensions=extensions,
)
devices = st.builds(Device, ids, st.none() | st.just("urn:d"), inputs, classes, notes=notes)
documents = st.builds(
    Presence,
    st.sampled_from([ALICE, None]),
    st.lists(services, max_size=3).map(tuple),
    st.lists(persons, max_size=2).map(tuple),
    st.lists(devices, max_size=2).map(tuple),
    notes,
    extensions,
)


def selections(*uris: str) -> st.SearchStrategy[Selection]:
    def some(*values: str) -> st.SearchStrategy[frozenset[str]]:
        return st.frozensets(st.sampled_from(values), max_size=2)

    return st.builds(
        Selection,
        st.booleans(),
        some("red", "blue"),
        some("t1", "p1"),
        some(*uris),
        some("sip", "tel"),
    )


transformations = st.builds(
    Transformations,
    selections("urn:d"),
    selections("none"),
    selections("sip:a@b", "odd"),
    st.frozensets(st.sampled_from(Provide)),
    st.sampled_from(UserInputDetail),
    st.frozensets(st.sampled_from([ANY, "{urn:x}y", *CIPID_ELEMENTS.values(), *SERVICE_ELEMENTS])),
)


def facts(document: Presence) -> Iterator[tuple[object, ...]]:
    """Each single statement of a document, so that sets of them can be compared."""
    components: list[Tuple | Person | Device] = [*document.tuples]
    components += [*document.persons, *document.devices]
    for component in components:
        if component.id == STATUS or component.id == status_id(None):
            continue
        where = (type(component).__name__, component.id)
        for field in structs.fields(component):
            value = getattr(component, field.name)
            if isinstance(value, UserInput | Cipid):
                parts = [(f.name, getattr(value, f.name)) for f in structs.fields(value)]
                yield from ((*where, field.name, *p) for p in parts if p[1])
            elif field.name == "extensions":
                yield from ((*where, e) for e in value)
            elif value not in (None, ()):
                yield (*where, field.name, value)
    yield from (("document", n) for n in (*document.notes, *document.extensions))


@given(documents, transformations)
def test_nothing_is_seen_that_is_not_in_the_document(
    document: Presence, shown: Transformations
) -> None:
    assert set(facts(show(shown, document))) <= set(facts(document))


@given(documents, transformations, transformations)
def test_more_permission_never_shows_less(
    document: Presence, a: Transformations, b: Transformations
) -> None:
    less, more = show(a, document), show(a | b, document)
    assert set(facts(less)) <= set(facts(more))
    # Whether anything is open stays known too.
    open_before = any(t.basic is Basic.OPEN for t in less.tuples)
    assert not open_before or any(t.basic is Basic.OPEN for t in more.tuples)


@given(documents, transformations)
def test_filtering_twice_is_filtering_once(document: Presence, shown: Transformations) -> None:
    by_class = {s.classes for s in (shown.services, shown.persons, shown.devices)} != {frozenset()}
    once = show(shown, document)
    twice = show(shown, once)
    if by_class and not shown.provides(Provide.CLASS):
        assert set(facts(twice)) <= set(facts(once))
    else:
        assert twice == once


@given(documents, st.sets(st.sampled_from(range(len(KINDS)))))
def test_kinds_are_separable(document: Presence, granted: set[int]) -> None:
    whole = NOTHING
    for index in granted:
        whole = whole | KINDS[index]
    alone = {f for i in granted for f in facts(show(KINDS[i], document))}
    allowed_pairs = {f for f in facts(show(whole, document)) if f not in alone}
    # What needs two grants is only ever inside a tuple or device, so Communication is one of them.
    assert not allowed_pairs or (
        4 in granted and {f[0] for f in allowed_pairs} <= {"Tuple", "Device"}
    )
