import pytest

from sipbridge.identities import NormalisingIdentities
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
