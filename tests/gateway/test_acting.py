"""As whom an application may act."""

import pytest

from sipbridge.errors import ParseError
from sipbridge.gateway.acting import IdentityPattern, Represented
from sipbridge.identities import NormalisingIdentities, PresentityKey
from sipbridge.uri import Uri

IDENTITIES = NormalisingIdentities()


def key(address: str) -> PresentityKey:
    return IDENTITIES.canonical(Uri.parse(address))


@pytest.mark.parametrize(
    ("pattern", "address", "matches"),
    [
        ("sip:*@example.com", "sip:alice@example.com", True),
        ("sip:*@example.com", "sip:alice@EXAMPLE.com;transport=tcp", True),
        ("sip:*@Example.COM", "sips:alice@example.com", True),
        ("sip:*@example.com", "sip:alice@example.org", False),
        ("sip:*@example.com", "sip:alice@example.com.evil.org", False),
        ("sip:*@example.com", "sip:alice@sub.example.com", False),
        ("sip:*@example.com", "sip:example.com", False),
        ("sip:*@example.com", "tel:+1555", False),
        ("sip:team-*@example.com", "sip:team-7@example.com", True),
        ("sip:team-*@example.com", "sip:alice@example.com", False),
        ("sip:a.c@example.com", "sip:abc@example.com", False),
        ("sip:a*z@example.com", "sip:a%40evil.org%40z@example.com", True),
        ("sip:alice@example.com", "sip:%61lice@example.com", True),
        ("sip:*@example.com", "sip:alice@example.com:5070", False),
        ("sip:*@example.com:5070", "sip:alice@example.com:5070", True),
    ],
)
def test_a_pattern_matches_users_of_its_host(pattern: str, address: str, matches: bool) -> None:
    assert IdentityPattern.parse(pattern).matches(key(address)) is matches


@pytest.mark.parametrize(
    "text", ["", "sip:", "*", "sip:*@*", "sip:*@*.com", "sip:example.com", "sip:*@example.com;a=b"]
)
def test_what_is_no_pattern_is_refused(text: str) -> None:
    with pytest.raises(ParseError):
        IdentityPattern.parse(text)


def test_an_application_acts_as_itself_and_as_its_patterns_say() -> None:
    known = Represented(IDENTITIES)
    known.put("front", Uri.parse("sip:desk@example.com"), ["sip:*@users.example.com"])
    known.put("back", Uri.parse("sip:back@example.com"))
    assert known.allowed("front", key("sip:desk@example.com"))
    assert known.allowed("front", key("sip:alice@users.example.com"))
    assert not known.allowed("front", key("sip:back@example.com"))
    assert not known.allowed("back", key("sip:alice@users.example.com"))
    assert not known.allowed("nobody", key("sip:desk@example.com"))


def test_who_is_represented_follows_every_change() -> None:
    known = Represented(IDENTITIES)
    alice = key("sip:alice@example.com")
    assert alice not in known
    known.put("front", Uri.parse("sip:desk@example.com"), ["sip:*@example.com"])
    assert alice in known
    known.put("front", Uri.parse("sip:desk@example.com"))
    assert alice not in known
    assert key("sip:desk@example.com") in known
    known.drop("front")
    assert key("sip:desk@example.com") not in known
