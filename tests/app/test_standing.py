"""Which server is asked about whom, and whose password answers it."""

import pytest

from sipbridge.app.standing import Peer, Standing
from sipbridge.gateway.caller import Caller
from sipbridge.identities import NormalisingIdentities
from sipbridge.sip.policy import Credentials, PeerPolicy
from sipbridge.uri import Uri

BOB, PAT = Uri.parse("sip:bob@example.com"), Uri.parse("sip:pat@Partner.Example")
IDENTITIES = NormalisingIdentities()
OURS = Peer("example.com", True)
PARTNER = Peer("partner.example", False, PeerPolicy("partner"), register=True)
CALLER = Caller("app_bob", BOB, IDENTITIES.canonical(BOB))


def standing(realm: str = "") -> Standing:
    known = {"app_bob": Credentials("bob", "pw", realm)}
    return Standing(IDENTITIES, {"partner.example": PARTNER}, OURS, known, {"app_bob": CALLER})


def test_the_domain_decides_whatever_its_case() -> None:
    assert standing().peer_of(PAT) is PARTNER
    assert standing().peer_of(BOB) is OURS


def test_our_own_server_serves_its_domain_only() -> None:
    assert standing().serves(PAT) and standing().serves(BOB)
    assert not standing().serves(Uri.parse("sip:carol@elsewhere.example"))


@pytest.mark.parametrize(("realm", "answered"), [("", False), ("anything", True)])
def test_a_password_without_a_realm_is_for_the_applications_own_server(
    realm: str, answered: bool
) -> None:
    known = standing(realm)
    assert known.credentials_for("app_bob", BOB) is known.credentials["app_bob"]
    assert (known.credentials_for("app_bob", PAT) is not None) == answered
    assert known.credentials_for("app_gone", BOB) is None


def test_an_application_is_registered_where_its_own_server_wants_it() -> None:
    pat = Caller("app_pat", PAT, IDENTITIES.canonical(PAT))
    assert standing().home_policy(pat) is PARTNER.policy
    assert standing().home_policy(CALLER) is None
    assert standing().policy_for("app_pat", PAT) is PARTNER.policy
