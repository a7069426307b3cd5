"""Reserved names: each belongs to a kind, each comes back; own names pass."""

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
    Sphere,
)
from sipbridge.mapping.ocsg import to_attributes, to_document
from sipbridge.mapping.other import OWNERS, SCHEDULED, owner_of
from sipbridge.mapping.vocabulary import MOODS
from sipbridge.presence import pidf
from sipbridge.presence.model import Person, Presence
from sipbridge.presence.rpid import MOODS as MOOD_ELEMENTS
from sipbridge.presence.schema import is_valid

AT = datetime(2030, 1, 1, 11, 5, tzinfo=UTC)
ALICE = "sip:alice@example.com"
A, P, V, S, C, N = AttributeKind


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("rpid.activity", A),
        ("rpid.activity.until", A),
        ("ACTIVITY_OTHER", A),
        ("pidf.basic", A),
        ("oma.overriding-willingness", A),
        ("rpid.place-type", P),
        ("rpid.place-is.audio", P),
        ("rpid.privacy", V),
        ("rpid.privacy[t1]", V),
        ("rpid.sphere", S),
        ("pidf.closed-contact", C),
        ("caps[t1]", C),
        ("pidf.device[t1]", C),
        ("rpid.relationship[t1]", C),
        ("rpid.service-class[t1]", C),
        ("rpid.class[t1]", C),
        ("ServiceNote", C),
        ("DeviceNote", C),
        ("rpid.mood", N),
        ("rpid.user-input", N),
        ("cipid.icon", N),
        ("rpid.unheard-of", N),
        ("caps", N),
        ("my[own]", N),
        ("my.own", N),
    ],
)
def test_a_reserved_name_belongs_to_the_kind_it_refines(name: str, owner: AttributeKind) -> None:
    assert owner_of(name) is owner


def test_a_scheduled_element_belongs_to_the_kind_of_the_element() -> None:
    assert owner_of("rpid.scheduled", "place-type/office;from=2030-01-01T00:00:00Z") is P
    assert owner_of("rpid.scheduled", "mood/happy;from=2030-01-01T00:00:00Z") is N
    assert owner_of("rpid.scheduled", "nonsense") is A
    assert owner_of("rpid.scheduled") is A
    assert set(SCHEDULED.values()) == {A, P, V, S, N}


def test_the_class_of_a_person_is_others() -> None:
    assert owner_of("rpid.class[p1]", persons={"p1"}) is N


EXAMPLES: dict[str, list[str]] = {
    "rpid.activity": ["lunch", "away"],
    "rpid.activity.other": [],
    "rpid.activity.from": ["2030-01-01T10:00:00Z"],
    "rpid.activity.until": ["2030-01-01T12:00:00Z"],
    "ACTIVITY_OTHER": ["gaming"],
    "pidf.basic": ["closed"],
    "oma.overriding-willingness": ["open"],
    "rpid.place-type": ["cafe", "{urn:x}y"],
    "rpid.place-type.other": ["behind the house"],
    "rpid.place-type.from": ["2030-01-01T10:00:00Z"],
    "rpid.place-type.until": ["2030-01-01T12:00:00Z"],
    "rpid.place-is.audio": ["ok"],
    "rpid.place-is.video": ["toobright"],
    "rpid.place-is.text": ["inappropriate"],
    "rpid.place-is.from": ["2030-01-01T10:00:00Z"],
    "rpid.place-is.until": ["2030-01-01T12:00:00Z"],
    "rpid.privacy": ["audio,{urn:x}y"],
    "rpid.privacy[]": ["audio"],
    "rpid.privacy.from": ["2030-01-01T10:00:00Z"],
    "rpid.privacy.until": ["2030-01-01T12:00:00Z"],
    "rpid.sphere": ["bowling league"],
    "rpid.sphere.from": ["2030-01-01T10:00:00Z"],
    "rpid.sphere.until": ["2030-01-01T12:00:00Z"],
    "pidf.closed-contact": ["tel:+2"],
    "pidf.contact[]": [],
    "pidf.basic[]": [],
    "pidf.device[]": ["urn:uuid:1"],
    "caps[]": ["audio,automata,duplex=full|half"],
    "rpid.relationship[]": ["self"],
    "rpid.service-class[]": ["electronic"],
    "rpid.class[]": ["biz"],
    "ServiceNote": ["on the desk"],
    "DeviceNote": ["tablet"],
    "rpid.mood": ["happy", "other:so so", "{urn:x}y"],
    "rpid.mood.from": ["2030-01-01T10:00:00Z"],
    "rpid.mood.until": ["2030-01-01T12:00:00Z"],
    "rpid.time-offset": ["-120"],
    "rpid.time-offset.description": ["BRT\tsummer"],
    "rpid.time-offset.from": ["2030-01-01T10:00:00Z"],
    "rpid.time-offset.until": ["2030-01-01T12:00:00Z"],
    "rpid.user-input": ["idle"],
    "rpid.user-input.last-input": ["2030-01-01T10:45:00Z"],
    "rpid.user-input.idle-threshold": ["600"],
    "rpid.status-icon": ["http://example.com/icon.png"],
    "rpid.status-icon.from": ["2030-01-01T10:00:00Z"],
    "rpid.status-icon.until": ["2030-01-01T12:00:00Z"],
    "cipid.display-name": ["Alice & Co"],
    "cipid.icon": ["http://example.com/i"],
    "cipid.homepage": ["http://example.com/?a=b&c=d"],
    "cipid.card": ["http://example.com/c"],
    "cipid.map": ["http://example.com/m"],
    "cipid.sound": ["http://example.com/s"],
}
ALONE = {
    # Names that need a partner, or stand for another way of saying the same.
    "rpid.activity.other": "ACTIVITY_OTHER",
    "pidf.contact[]": "rpid.class[]",
    "pidf.basic[]": "rpid.class[]",
}


def test_every_reserved_name_round_trips() -> None:
    """One publication with all of them: what goes in comes out, and nothing else."""
    assert EXAMPLES.keys() == OWNERS.keys()
    first = to_document(
        [Attribute(C, (Means("sip:a@x", 0.5, MeansType.PHONE),))], presentity=ALICE, at=AT
    )
    name_of = first.tuples[1].id
    sent = [
        (name.replace("[]", f"[{name_of}]"), value)
        for name, values in EXAMPLES.items()
        for value in values
    ]
    sent.append(("rpid.scheduled", "activities/vacation;from=2030-07-01T00:00:00Z"))
    attributes = [
        Attribute(A, Activity.MEAL),
        Attribute(P, Place.RESTAURANT),
        Attribute(S, Sphere.OTHER),
        Attribute(C, (Means("sip:a@x", 0.5, MeansType.PHONE),)),
        *(Attribute(N, Other(n, v)) for n, v in sent),
    ]
    body = pidf.serialise(to_document(attributes, presentity=ALICE, at=AT))
    assert is_valid(body.replace(b"<rpid:lunch/>", b"")), body.decode()
    document = pidf.parse(body)
    got = to_attributes(document, at=AT, presentity=ALICE).attributes
    assert [a.value for a in got if a.kind in (A, P, S)] == [
        Activity.MEAL,
        Place.RESTAURANT,
        Sphere.OTHER,
    ]
    said = [(a.value.name, a.value.value) for a in got if isinstance(a.value, Other)]
    assert sorted(said) == sorted(sent)
    assert document.persons[0].other_info == ()


@pytest.mark.parametrize("name", sorted(OWNERS))
def test_a_reserved_name_with_a_value_that_makes_no_sense_is_valid_and_total(name: str) -> None:
    for value in ("", "complete nonsense", "<&>", "{", "[]"):
        attribute = Attribute(N, Other(name.replace("[]", "[x]"), value))
        assert is_valid(pidf.serialise(to_document([attribute], presentity=ALICE, at=AT)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pidf.basic", "maybe"),
        ("rpid.time-offset", "two hours"),
        ("rpid.user-input", "asleep"),
        ("rpid.user-input.idle-threshold", "600"),
        ("rpid.mood", "happyish"),
        ("rpid.activity.until", "noon"),
        ("rpid.status-icon", "no uri"),
        ("rpid.scheduled", "activities/vacation"),
        ("rpid.unheard-of", "x"),
        ("my.own", "line one\nline two"),
        ("ServiceAndDeviceNote", "both"),
    ],
)
def test_what_rpid_can_not_say_is_carried_as_an_own_name(name: str, value: str) -> None:
    made = to_document([Attribute(N, Other(name, value))], presentity=ALICE, at=AT)
    document = pidf.parse(pidf.serialise(made))
    got = to_attributes(document, at=AT, presentity=ALICE).attributes
    assert [a.value for a in got if a.kind is N] == [Other(name, value)]


def test_the_class_of_our_person_comes_back() -> None:
    given = Presence(ALICE, (), (Person("p", classes=("biz",)),))
    mapped = to_attributes(given, at=AT, presentity=ALICE).attributes
    assert Other("rpid.class[p]", "biz") in [a.value for a in mapped]
    made = to_document([Attribute(A, Activity.BUSY)], presentity=ALICE, at=AT)
    name = f"rpid.class[{made.persons[0].id}]"
    assert owner_of(name) is N
    again = to_document([Attribute(N, Other(name, "biz"))], presentity=ALICE, at=AT)
    assert again.persons[0].classes == ("biz",)


def test_a_device_for_its_note_has_the_required_id() -> None:
    made = to_document([Attribute(N, Other("DeviceNote", "tablet"))], presentity=ALICE, at=AT)
    (device,) = made.devices
    assert device.device_id is not None
    assert device.device_id.startswith("urn:uuid:")
    assert len(device.device_id) == len("urn:uuid:") + 36


def test_every_mood_of_the_schema_is_known() -> None:
    assert MOODS | {"other"} == MOOD_ELEMENTS


def test_the_note_of_an_own_name_comes_back() -> None:
    pair = Attribute(AttributeKind.OTHER, Other("shift", "night"), 'until "six" & a bit')
    document = to_document([pair], presentity=ALICE, at=AT)
    body = pidf.serialise(document)
    assert is_valid(body), body.decode()
    mapped = to_attributes(pidf.parse(body), at=AT, presentity=ALICE)
    assert pair.fingerprint in [a.fingerprint for a in mapped.attributes]
