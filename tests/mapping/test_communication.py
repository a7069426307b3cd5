"""Tuples and means: which tuple is one, of which type, what becomes of the rest; and the way back."""

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from sipbridge.mapping.attributes import (
    Activity,
    Attribute,
    AttributeKind,
    Means,
    MeansType,
    Other,
)
from sipbridge.mapping.communication import contact_key, print_priority
from sipbridge.mapping.ocsg import to_attributes, to_document
from sipbridge.mapping.overrides import load
from sipbridge.mapping.table import DEFAULT, Tables
from sipbridge.presence import pidf
from sipbridge.presence.model import (
    Basic,
    Capabilities,
    Choice,
    Contact,
    Extension,
    Note,
    Presence,
    ServiceDescription,
    Timestamp,
    Token,
    Tuple,
)
from sipbridge.presence.namespaces import RPID, SIPBRIDGE
from sipbridge.presence.schema import is_valid

AT = datetime(2030, 1, 1, 11, 5, tzinfo=UTC)
ALICE = "sip:alice@example.com"
KIND = AttributeKind.COMMUNICATION


def service(
    uri: str | None = None,
    *features: str,
    id: str = "t1",
    basic: Basic | None = Basic.OPEN,
    priority: str | None = None,
    relationship: str | None = None,
    service_class: str | None = None,
    oma: str | None = None,
) -> Tuple:
    def choice(word: str | None) -> Choice | None:
        return Choice((Token(f"{{{RPID}}}{word}"),)) if word else None

    return Tuple(
        id,
        basic,
        Contact(uri, priority) if uri else None,
        capabilities=Capabilities(supported=tuple((f, "true") for f in features))
        if features
        else None,
        relationship=choice(relationship),
        service_class=choice(service_class),
        service_descriptions=(ServiceDescription(oma, "1.0"),) if oma else (),
    )


def read(*tuples: Tuple, tables: Tables = DEFAULT) -> tuple[list[Means], list[tuple[str, str]]]:
    """The means, and the pairs."""
    given = Presence(ALICE, tuples)
    mapped = to_attributes(given, at=AT, presentity=ALICE, tables=tables).attributes
    means = [m for a in mapped if isinstance(a.value, tuple) for m in a.value]
    return means, [(a.value.name, a.value.value) for a in mapped if isinstance(a.value, Other)]


def types(*tuples: Tuple, tables: Tables = DEFAULT) -> list[str]:
    return [m.type.value for m in read(*tuples, tables=tables)[0]]


def write(
    means: list[Means], *said: tuple[str, str], tables: Tables = DEFAULT
) -> tuple[Tuple, ...]:
    attributes = [
        Attribute(KIND, tuple(means)),
        *(Attribute(AttributeKind.OTHER, Other(n, v)) for n, v in said),
    ]
    made = to_document(attributes, presentity=ALICE, at=AT, tables=tables)
    body = pidf.serialise(made)
    assert is_valid(body), body.decode()
    return made.tuples


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("tel:+15550100", "Phone"),
        ("TEL:+15550100", "Phone"),
        ("sms:+1", "Sms"),
        ("smsto:+1", "Sms"),
        ("mms:+1", "Mms"),
        ("mmsto:+1", "Mms"),
        ("mailto:a@x", "Email"),
        ("http://x/", "Web"),
        ("https://x/", "Web"),
        ("im:a@x", "Chat"),
        ("xmpp:a@x", "Chat"),
        ("msrp://x:1/s;tcp", "Chat"),
        ("sip:a@x", "Phone"),
        ("sips:a@x", "Phone"),
        ("pres:a@x", "MeansOther"),
        ("urn:x:y", "MeansOther"),
    ],
)
def test_the_scheme_says_the_type(uri: str, kind: str) -> None:
    assert types(service(uri)) == [kind]


def test_capabilities_of_a_sip_contact_are_one_means_each() -> None:
    assert types(service("sip:a@x", "audio", "video", "message")) == ["Chat", "Phone", "Video"]
    assert types(service("sip:a@x", "text")) == ["Chat"]
    assert types(service("sip:a@x", "automata")) == ["Phone"]
    assert types(service("tel:+1", "video")) == ["Phone"]


def test_a_known_oma_service_says_the_type_first() -> None:
    assert types(service("sip:a@x", "audio", oma="org.openmobilealliance:IM-Session")) == ["Chat"]
    assert types(service("sip:a@x", "audio", oma="com.example:unheard-of")) == ["Phone"]


def test_capabilities_denied_are_no_means() -> None:
    denied = Tuple(
        "t",
        Basic.OPEN,
        Contact("sip:a@x"),
        capabilities=Capabilities(supported=(("audio", "false"), ("video", "true"))),
    )
    assert types(denied) == ["Video"]


def test_a_tuple_without_contact_is_a_means_only_if_it_says_what_it_can_do() -> None:
    assert read(service(None)) == ([], [])
    assert [m.contact for m in read(service(None, "audio"))[0]] == [ALICE]
    known = service(None, oma="org.openmobilealliance:PoC-session")
    assert read(known)[0] == [Means(ALICE, 0.0, MeansType.PHONE)]
    assert read(service(None, oma="com.example:unheard-of"))[0] == []


def test_our_own_status_tuple_does_not_come_back_as_a_means() -> None:
    made = to_document([Attribute(AttributeKind.ACTIVITY, Activity.BUSY)], presentity=ALICE, at=AT)
    assert read(*made.tuples) == ([], [])


def test_tuples_of_others_and_of_the_post_are_no_means() -> None:
    for given, pair in (
        (service("tel:+1", relationship="assistant"), ("rpid.relationship[t1]", "assistant")),
        (service("tel:+1", service_class="postal"), ("rpid.service-class[t1]", "postal")),
    ):
        means, pairs = read(given)
        assert means == []
        assert pairs == [pair, ("pidf.contact[t1]", "tel:+1"), ("pidf.basic[t1]", "open")]
    assert types(service("tel:+1", relationship="self", service_class="electronic")) == ["Phone"]


def test_a_closed_tuple_is_a_pair_and_one_that_says_nothing_a_means() -> None:
    means, pairs = read(
        service("tel:+1", basic=Basic.CLOSED), service("tel:+2", basic=None, id="t2")
    )
    assert [m.contact for m in means] == ["tel:+2"]
    assert ("pidf.closed-contact", "tel:+1") in pairs


def test_means_are_sorted_by_priority_contact_and_type() -> None:
    means, _ = read(
        service("sip:b@x", "video", "audio", id="a", priority="0.5"),
        service("sip:a@x", id="b", priority="0.5"),
        service("tel:+1", id="c", priority="1"),
        service("tel:+2", id="d"),
        service("tel:+3", id="e", priority="nonsense"),
    )
    assert [(m.contact, m.priority, m.type.value) for m in means] == [
        ("tel:+1", 1.0, "Phone"),
        ("sip:a@x", 0.5, "Phone"),
        ("sip:b@x", 0.5, "Phone"),
        ("sip:b@x", 0.5, "Video"),
        ("tel:+2", 0.0, "Phone"),
        ("tel:+3", 0.0, "Phone"),
    ]


def test_capabilities_our_writer_would_write_are_no_pair() -> None:
    for kind in ("audio", "message"):
        assert read(service("sip:a@x", kind))[1] == []
    assert read(service("sip:a@x", "audio", "automata"))[1] == [("caps[t1]", "audio,automata")]


def test_last_change_is_the_newest_timestamp_of_a_means() -> None:
    early = Timestamp("2030-01-01T09:00:00Z", AT.replace(hour=9, minute=0))
    late = Timestamp("2030-01-01T10:00:00Z", AT.replace(hour=10, minute=0))
    given = Presence(
        ALICE,
        (
            Tuple("a", Basic.OPEN, Contact("tel:+1"), timestamp=late),
            Tuple("b", Basic.OPEN, Contact("tel:+2"), timestamp=early),
            Tuple("c", Basic.OPEN),
        ),
    )
    mapped = to_attributes(given, at=AT, presentity=ALICE).attributes
    assert [a.last_change for a in mapped if a.kind is KIND] == [late.at]


# --- from JSON --------------------------------------------------------------------------------------------


def test_means_of_one_contact_are_one_tuple_with_stable_ids() -> None:
    means = [
        Means("sip:a@Example.com", 0.5, MeansType.PHONE),
        Means("sip:a@example.COM", 0.5, MeansType.CHAT),
        Means("tel:+1-555", 0.25, MeansType.PHONE),
    ]
    status, sip, tel = write(means)
    assert status.contact is None
    assert sip.contact == Contact("sip:a@Example.com", "0.5")
    assert sip.capabilities == Capabilities(supported=(("audio", "true"), ("message", "true")))
    assert tel.contact == Contact("tel:+1-555", "0.25")
    assert tel.capabilities is None
    assert [t.id for t in write(means)] == [status.id, sip.id, tel.id]
    assert len({status.id, sip.id, tel.id}) == 3


def test_there_is_always_a_tuple_with_basic() -> None:
    made = to_document([], presentity=ALICE, at=AT)
    assert [t.basic for t in made.tuples] == [Basic.OPEN]
    assert is_valid(pidf.serialise(made))


def test_types_the_scheme_can_not_express_travel_as_our_own_element() -> None:
    means = [Means("sip:a@x", 0.5, MeansType.SMS), Means("sip:a@x", 0.25, MeansType.PHONE)]
    (_, made) = write(means)
    assert "Sms" in made.extensions[0].xml
    assert read(made)[0] == means


def test_oma_mode_describes_the_service() -> None:
    tables = load({"oma": True})
    (_, made) = write([Means("sip:a@x", 0.5, MeansType.CHAT)], tables=tables)
    assert made.service_descriptions[0].service_id == "org.openmobilealliance:IM-session"
    assert read(made, tables=tables) == ([Means("sip:a@x", 0.5, MeansType.CHAT)], [])


def test_pairs_of_a_single_tuple_find_it_by_being_alone() -> None:
    given = service("sip:a@x", "audio", "automata", id="theirs", priority="0.5")
    means, pairs = read(given)
    assert pairs == [("caps[theirs]", "audio,automata")]
    (_, made) = write(means, *pairs)
    assert made.capabilities == given.capabilities


def test_pairs_of_several_tuples_find_them_by_their_contact() -> None:
    given = (
        service("sip:a@x", "audio", "automata", id="a"),
        service("sip:b@x", "audio", "control", id="b"),
        service("tel:+1", id="c", relationship="assistant"),
        service(None, id="d"),
    )
    means, pairs = read(*given)
    assert ("pidf.contact[b]", "sip:b@x") in pairs
    made = {t.contact.uri: t for t in write(means, *pairs) if t.contact}
    assert made["sip:a@x"].capabilities == given[0].capabilities
    assert made["sip:b@x"].capabilities == given[1].capabilities
    assert made["tel:+1"].relationship == given[2].relationship
    assert made["tel:+1"].basic is Basic.OPEN


def test_closed_contacts_devices_classes_and_notes_come_back() -> None:
    given = Tuple(
        "t1",
        Basic.CLOSED,
        Contact("tel:+1"),
        (Note("on the desk"),),
        device_ids=("urn:uuid:1", "urn:uuid:2"),
        classes=("biz",),
    )
    _, pairs = read(given)
    made = write([], *pairs)[1]
    assert (made.basic, made.contact) == (Basic.CLOSED, Contact("tel:+1"))
    assert (made.device_ids, made.classes) == (given.device_ids, given.classes)
    assert ("ServiceNote", "on the desk") in pairs


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("caps[t]", "nonsense"),
        ("caps[t]", "audio=perhaps"),
        ("pidf.device[t]", "not a urn"),
        ("rpid.relationship[t]", "godfather"),
        ("rpid.service-class[t]", "{urn:ietf:params:xml:ns:pidf:rpid}postal"),
        ("pidf.closed-contact", "no uri"),
    ],
)
def test_what_can_not_be_written_is_kept_as_an_own_name(name: str, value: str) -> None:
    attributes = [
        Attribute(KIND, (Means("sip:a@x", 0.5, MeansType.PHONE),)),
        Attribute(AttributeKind.OTHER, Other(name, value)),
    ]
    made = to_document(attributes, presentity=ALICE, at=AT)
    assert is_valid(pidf.serialise(made))
    assert [(i.name, i.value) for p in made.persons for i in p.other_info] == [(name, value)]


@pytest.mark.parametrize(
    ("priority", "text"),
    [(0.0, "0"), (1.0, "1"), (0.8, "0.8"), (0.1234, "0.123"), (2.0, "1"), (-1.0, "0"), (1e-9, "0")],
)
def test_priorities_have_three_decimals_at_most(priority: float, text: str) -> None:
    assert print_priority(priority) == text


def test_contacts_are_compared_after_normalising() -> None:
    assert contact_key("SIP:%61lice@EXAMPLE.com") == contact_key("sip:alice@example.com")
    assert contact_key("tel:+1-555-0100") == contact_key("tel:+15550100")
    assert contact_key("sip:a@x;transport=tcp") != contact_key("sip:a@x")
    assert contact_key("not a uri") == "not a uri"


@pytest.mark.parametrize(
    "note", ["call me", "a \"quoted\" <note> & priority='1'\n\tof two lines", "Grüße"]
)
def test_the_note_of_communication_comes_back(note: str) -> None:
    means = (Means("tel:+15550100", 0.8, MeansType.PHONE), Means(ALICE, 0.5, MeansType.CHAT))
    attributes = [Attribute(KIND, means, note)]
    document = to_document(attributes, presentity=ALICE, at=AT)
    body = pidf.serialise(document)
    assert is_valid(body), body.decode()
    mapped = to_attributes(pidf.parse(body), at=AT, presentity=ALICE)
    said = [a for a in mapped.attributes if a.kind is not AttributeKind.ACTIVITY]
    assert [a.fingerprint for a in said] == [(KIND, means, note)]


def test_a_note_without_means_is_told_of() -> None:
    explain: list[dict[str, object]] = []
    to_document([Attribute(KIND, (), "call me")], presentity=ALICE, at=AT, explain=explain)
    assert [e["dropped"] for e in explain] == ["there are no means"]


def test_an_own_element_that_makes_no_sense_says_nothing() -> None:
    for inside in ("Pigeon", "<deep/>", "", "x" * 300_000):
        xml = f'<x:means xmlns:x="{SIPBRIDGE}">{inside}</x:means>'
        odd = replace(
            service("tel:+15550100"), extensions=(Extension(f"{{{SIPBRIDGE}}}means", xml),)
        )
        assert types(odd) == ["Phone"]
