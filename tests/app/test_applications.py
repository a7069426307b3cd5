"""The directory of applications: what each reader of it sees after a change."""

from dataclasses import replace

import pytest

from sipbridge.app.applications import Application, Directory
from sipbridge.errors import AgainstPolicy, InvalidValue
from sipbridge.gateway import Caller
from sipbridge.identities import NormalisingIdentities
from sipbridge.uri import Uri

DESK = Application(
    "desk",
    Uri.parse("sip:Desk@Example.COM"),
    ("sip:*@users.example.com",),
    password="secret",
    sip_password="sippw",
)
ALICE = "sip:alice@users.example.com"


@pytest.fixture
def directory() -> Directory:
    made = Directory(NormalisingIdentities())
    made.put(DESK)
    return made


def test_an_application_is_known_to_every_reader(directory: Directory) -> None:
    caller = directory.callers["desk"]
    assert (caller.application, caller.key) == ("desk", "sip:Desk@example.com")
    account = directory.account("desk")
    assert account is not None and account.password == "secret"
    assert directory.credentials["desk"].username == "Desk"
    assert directory.sip_secret("Desk") == "sippw"
    assert directory.owner(caller.key) == "desk"
    assert caller.key in directory.represented


def test_a_disabled_one_may_not_call_and_its_digest_fails(directory: Directory) -> None:
    directory.put(replace(DESK, disabled=True))
    assert directory.account("desk") is None
    assert directory.accounts() == {}
    assert directory.sip_secret("Desk") is None
    assert "desk" in directory.callers  # what it has goes on


SECOND = replace(
    DESK, id="second", identity=Uri.parse("sip:Desk@partner.example"), sip_password="second's"
)


def test_of_several_with_one_sip_user_name_the_first_stays_the_first(directory: Directory) -> None:
    directory.put(SECOND)
    assert directory.sip_secret("Desk") == "sippw"
    directory.put(replace(DESK, password="another"))
    assert directory.sip_secret("Desk") == "sippw"
    assert directory.sip_identity("Desk") == DESK.identity
    assert directory.sip_secret("Desk", "PARTNER.example") == "second's"
    directory.put(replace(SECOND, id="earlier", sip_password="a later one's"))
    assert directory.sip_secret("Desk") == "sippw"  # which stands before it after a restart too
    directory.put(replace(SECOND, configured=True))
    assert directory.sip_secret("Desk") == "second's"


def test_a_disabled_one_does_not_stand_before_another_of_its_sip_user_name(
    directory: Directory,
) -> None:
    directory.put(SECOND)
    directory.put(replace(DESK, disabled=True))
    for domain in ("", "example.com"):
        assert directory.sip_secret("Desk", domain) == "second's"
        assert directory.sip_identity("Desk", domain) == SECOND.identity
    directory.put(DESK)
    assert directory.sip_secret("Desk") == "sippw"


def test_a_change_leaves_nothing_of_before(directory: Directory) -> None:
    directory.put(replace(DESK, sip_password=None, acts_for=(), sip_username="d"))
    assert directory.credentials == {}
    assert directory.sip_secret("Desk") is None
    with pytest.raises(AgainstPolicy):
        directory.act(directory.callers["desk"], ALICE)


def test_a_dropped_one_is_nowhere(directory: Directory) -> None:
    key = directory.callers["desk"].key
    directory.drop("desk")
    assert (directory.applications, directory.callers, directory.credentials) == ({}, {}, {})
    assert directory.sip_secret("Desk") is None
    assert directory.owner(key) is None
    assert key not in directory.represented


def test_acting_gives_the_address_and_its_key(directory: Directory) -> None:
    met: list[Caller] = []
    directory.met = met.append
    acted = [directory.act(directory.callers["desk"], ALICE) for _ in range(3)]
    assert {str(c.identity) for c in acted} == {ALICE}
    assert {c.key for c in acted} == {ALICE}
    assert {c.application for c in acted} == {"desk"}
    assert met == [acted[0]]  # told once


@pytest.mark.parametrize(
    "named", ["sip:alice@example.com", "tel:+15550100", "sip:users.example.com", "mailto:a@b"]
)
def test_nobody_acts_as_whom_it_likes(directory: Directory, named: str) -> None:
    with pytest.raises(AgainstPolicy) as refused:
        directory.act(directory.callers["desk"], named)
    assert (refused.value.rule, refused.value.part) == ("identity", "X-Presence-Identity")


@pytest.mark.parametrize("named", ["", "alice", "sip:", "sip:a b@example.com"])
def test_what_is_no_address_is_a_wrong_value(directory: Directory, named: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        directory.act(directory.callers["desk"], named)
    assert refused.value.part == "X-Presence-Identity"


def test_what_was_allowed_before_a_change_is_not_remembered(directory: Directory) -> None:
    directory.act(directory.callers["desk"], ALICE)
    directory.put(replace(DESK, acts_for=("sip:bob@users.example.com",)))
    with pytest.raises(AgainstPolicy):
        directory.act(directory.callers["desk"], ALICE)
