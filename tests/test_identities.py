import pytest

from sipbridge.identities import KnownIdentities, NormalisingIdentities, Person
from sipbridge.uri import Uri

IDENTITIES = NormalisingIdentities()


@pytest.mark.parametrize(
    "text",
    [
        "sip:alice@example.com",
        "sips:alice@example.com",
        "pres:alice@example.com",
        "SIP:alice@EXAMPLE.com",
        "sip:%61lice@example.com:5060;transport=tcp",
        "sip:alice:secret@example.com?x=y",
    ],
)
def test_every_spelling_of_one_address_has_one_key(text: str) -> None:
    assert IDENTITIES.canonical(Uri.parse(text)) == "sip:alice@example.com"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("sip:Alice@example.com", "sip:Alice@example.com"),
        ("sip:alice@example.com:5080", "sip:alice@example.com:5080"),
        ("tel:+1-(555)-0100", "tel:+15550100"),
        ("mailto:alice@example.com", "mailto:alice@example.com"),
    ],
)
def test_other_people_have_other_keys(text: str, key: str) -> None:
    assert IDENTITIES.canonical(Uri.parse(text)) == key


def test_a_key_is_an_address_of_its_own_person() -> None:
    key = IDENTITIES.canonical(Uri.parse("pres:alice@Example.com"))
    (alias,) = IDENTITIES.aliases(key)
    assert IDENTITIES.canonical(alias) == key


NAMES = ("tel:+1-555-0100", "mailto:asmith@example.com", "webex:Y2lzY29", "sip:asmith@example.net")
ALICE = Person(Uri.parse("sip:alice@example.com"), tuple(map(Uri.parse, NAMES)))
HELPDESK = Person(Uri.parse("sip:helpdesk@example.com"), (Uri.parse("webex:desk"),), bot=True)
KNOWN = KnownIdentities([ALICE, HELPDESK])


@pytest.mark.parametrize(
    "text", [*NAMES, "tel:+15550100", "sips:asmith@example.net", "sip:alice@EXAMPLE.com"]
)
def test_every_name_of_a_person_has_the_persons_key(text: str) -> None:
    assert KNOWN.canonical(Uri.parse(text)) == "sip:alice@example.com"


def test_who_is_not_known_is_whoever_the_address_says() -> None:
    assert KNOWN.canonical(Uri.parse("tel:+15550101")) == "tel:+15550101"
    assert KNOWN.aliases(KNOWN.canonical(Uri.parse("sip:bob@example.com"))) == (
        Uri.parse("sip:bob@example.com"),
    )


def test_the_network_is_asked_for_the_address_and_not_for_another_name() -> None:
    assert str(KNOWN.address(Uri.parse("tel:+15550100"))) == "sip:alice@example.com"
    spelled = Uri.parse("sip:alice@example.com;transport=tcp")
    assert KNOWN.address(spelled) is spelled
    assert KNOWN.aliases(KNOWN.canonical(spelled)) == (ALICE.uri, *ALICE.aliases)


def test_machines_are_known_as_such() -> None:
    assert KNOWN.is_bot(KNOWN.canonical(Uri.parse("webex:desk")))
    assert not KNOWN.is_bot(KNOWN.canonical(ALICE.uri))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("sip:bob@example.com", "sip:bob@example.com"),
        ("sips:bob@example.com", "sips:bob@example.com"),
        ("pres:bob@example.com", "pres:bob@example.com"),
        ("tel:+1-555-0101", "tel:+1-555-0101"),
        ("mailto:bob@example.com", "sip:bob@example.com"),
        ("bob@example.com", "sip:bob@example.com"),
        ("mailto:asmith@example.com", "mailto:asmith@example.com"),
        ("asmith@example.com", "mailto:asmith@example.com"),
        ("Y2lzY29", "webex:Y2lzY29"),
        ("webex:Y2lzY29", "webex:Y2lzY29"),
        ("alice@example.com", "sip:alice@example.com"),
        ("bad id", None),
        ("", None),
        ("Y2lz", None),
        ("webex:Y2lz", None),
        ("tel:nobody", None),
        ("sip:example.com", None),
        ("https://example.com/bob", None),
        ("@example.com", None),
        ("a" * 5000, None),
    ],
)
def test_what_other_interfaces_call_a_person(text: str, address: str | None) -> None:
    found = KNOWN.contact(text)
    assert (None if found is None else str(found)) == address


def test_without_known_persons_an_id_means_nobody() -> None:
    assert IDENTITIES.contact("Y2lzY29") is None
    assert str(IDENTITIES.contact("bob@example.com")) == "sip:bob@example.com"
