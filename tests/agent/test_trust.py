"""Whom a trusted peer asserts is believed; what anybody else asserts counts for nothing."""

import pytest

from sipbridge.agent.admission import Guessing
from sipbridge.agent.ports import Authenticator
from sipbridge.agent.trust import TrustedPeers, asserted_identity
from sipbridge.errors import ParseError
from sipbridge.events.registration import Registered, Registrant
from sipbridge.sip.digest import Challenge, DigestServer, answer
from sipbridge.sip.flow import Flow
from sipbridge.sip.headers import Headers
from sipbridge.sip.message import Request
from sipbridge.sip.policy import Credentials, PeerPolicy
from sipbridge.uri import Uri
from tests.agent.test_admission import ha1_of, known
from tests.agent.world import (
    ALLOW,
    BLOCK,
    CAROL,
    CONFIRM,
    DAVE,
    ERIN,
    AgentWorld,
    document,
    with_flow,
)
from tests.events.peers import TO_BOB
from tests.harness.pair import ALICE, BOB

HERE, ELSEWHERE = ALICE[0], "192.0.2.77"
ASSERTED = "P-Asserted-Identity"


def asserting(*values: str) -> PeerPolicy:
    return with_flow(TO_BOB, extra_headers=tuple((ASSERTED, value) for value in values))


def world(*trusted: str, digest: bool = False, alone: bool = True) -> AgentWorld:
    server = Authenticator(DigestServer("example.com", b"secret"), ha1_of)
    return AgentWorld(
        authenticator=server if digest else None,
        trusted=TrustedPeers.parse(trusted, alone=alone),
    )


# --- whose word counts ----------------------------------------------------------------------------------


def test_who_is_asserted_by_a_trusted_peer_needs_no_digest() -> None:
    there = world(HERE, digest=True)
    watching = there.watch(DAVE, policy=asserting(f"<{DAVE}>"))
    there.publish(document("open"), policy=asserting(f'"C" <{CAROL}>'))
    assert there.basics(watching) == ["open"]
    assert there.pair.wire.named("401") == []


def test_whom_the_peer_asserts_counts_and_not_who_from_says() -> None:
    there = world(HERE)
    there.publish(document(), identity=ERIN, policy=asserting(f"<{CAROL}>"))
    assert there.publish_failed == []
    there.publish(document(), identity=CAROL, policy=asserting(f"<{ERIN}>"))
    assert there.publish_failed == [403]
    winfo = there.watch(ERIN, CAROL, "presence.winfo", policy=asserting(f"<{CAROL}>"))
    there.watch(Uri.parse("sip:anonymous@anonymous.invalid"), policy=asserting(f"<{DAVE}>"))
    assert (str(DAVE), "active", "subscribe") in there.rows(winfo)


ANONYMOUS = Uri.parse("sip:anonymous@anonymous.invalid")


@pytest.mark.parametrize("privacy", ["id", "header;ID ; critical", "user, id"])
def test_who_asks_for_privacy_is_judged_as_himself_and_shown_as_from_says(privacy: str) -> None:
    there = world(HERE)
    there.storing, there.sub_handling = True, CONFIRM
    there.restart()
    carol = there.watch(CAROL, CAROL, "presence.winfo", policy=asserting(f"<{CAROL}>"))
    there.watch(ANONYMOUS, policy=hidden(DAVE, privacy))
    assert there.rows(carol) == [(str(ANONYMOUS), "pending", "subscribe")]
    there.decide(DAVE, ALLOW)
    assert there.rows(carol) == [(str(ANONYMOUS), "active", "approved")]
    there.restart(asleep=60)
    there.pair.pass_seconds(1)
    assert there.rows(carol) == [(str(ANONYMOUS), "active", "subscribe")]
    assert not [one for one in there.pair.wire.named("NOTIFY") if b"dave" in one.data]


def test_a_decision_about_the_anonymous_address_is_not_about_who_asks_for_privacy() -> None:
    there = world(HERE)
    there.storing, there.sub_handling = True, CONFIRM
    there.restart()
    there.decide(DAVE, BLOCK)
    there.decide(ANONYMOUS, ALLOW)
    there.watch(ANONYMOUS, policy=hidden(DAVE, "id"))
    assert there.refused == [403]
    carol = there.watch(CAROL, CAROL, "presence.winfo", policy=asserting(f"<{CAROL}>"))
    there.watch(ANONYMOUS, policy=hidden(ERIN, "id"))
    assert there.rows(carol)[-1] == (str(ANONYMOUS), "pending", "subscribe")


def test_strangers_without_names_wait_each_for_himself() -> None:
    there = world(HERE)
    there.storing, there.sub_handling = True, CONFIRM
    there.restart()
    for who in (DAVE, ERIN):
        there.end(there.watch(ANONYMOUS, policy=hidden(who, "id")))
    there.restart(asleep=60)
    carol = there.watch(CAROL, CAROL, "presence.winfo", policy=asserting(f"<{CAROL}>"))
    assert there.rows(carol) == [(str(ANONYMOUS), "waiting", "timeout")] * 2
    there.decide(DAVE, ALLOW)
    assert there.rows(carol) == [(str(ANONYMOUS), "terminated", "approved")]


def test_without_that_wish_who_is_asserted_is_shown() -> None:
    there = world(HERE)
    carol = there.watch(CAROL, CAROL, "presence.winfo", policy=asserting(f"<{CAROL}>"))
    there.watch(ANONYMOUS, policy=hidden(DAVE, "none"))
    there.watch(ANONYMOUS, policy=hidden(ERIN, "user;header"))
    shown = [row.uri for info in there.watchers(carol) for row in info.lists[0].watchers]
    assert shown == [str(DAVE), str(ERIN)]


def hidden(user: Uri, privacy: str) -> PeerPolicy:
    """Asserted, and asking for that privacy."""
    return with_flow(TO_BOB, extra_headers=((ASSERTED, f"<{user}>"), ("Privacy", privacy)))


def test_what_anybody_else_asserts_is_passed_over() -> None:
    there = world(ELSEWHERE, digest=True)
    there.watch(DAVE, policy=asserting(f"<{CAROL}>"))
    there.publish(document(), identity=CAROL, policy=asserting(f"<{CAROL}>"))
    assert there.refused == [401]
    assert there.publish_failed == [401]
    there.publish(document(), credentials=known("dave"), policy=asserting(f"<{CAROL}>"))
    assert there.publish_failed == [401, 403]
    there.publish(document(), credentials=known("carol"), policy=asserting(f"<{DAVE}>"))
    assert there.publish_failed == [401, 403]


def test_beside_trusted_peers_nobody_is_served_without_digest() -> None:
    there = world(ELSEWHERE)
    there.watch(DAVE)
    there.watch(DAVE, policy=asserting(f"<{DAVE}>"))
    assert there.refused == [403, 403]


def test_unless_anonymous_says_so() -> None:
    there = world(ELSEWHERE, alone=False)
    there.publish(document(), policy=asserting(f"<{DAVE}>"))
    assert there.publish_failed == []  # as Carol, who From says it is


def test_a_trusted_peer_that_asserts_nobody_is_one_like_others() -> None:
    there = world(HERE, digest=True)
    there.publish(document(), credentials=known("carol"))
    assert there.publish_failed == []
    assert len(there.pair.wire.named("401")) == 1
    alone = world(HERE)
    alone.publish(document())
    assert alone.publish_failed == [403]


@pytest.mark.parametrize("package", ["presence", "presence.winfo"])
@pytest.mark.parametrize("digest", [False, True])
def test_inside_a_dialog_a_trusted_peer_need_not_say_it_again(package: str, digest: bool) -> None:
    """Networks assert in the first SUBSCRIBE only."""
    there = world(HERE, digest=digest)
    anonymous = Uri.parse("sip:anonymous@anonymous.invalid")
    watching = there.watch(anonymous, CAROL, package, policy=asserting(f"<{CAROL}>"))
    there.subscriber.follow(watching, TO_BOB)
    there.pair.pass_seconds(86_400)
    subscribed = there.pair.wire.named("SUBSCRIBE")
    assert len(subscribed) > 20
    assert [bool(one.header(ASSERTED)) for one in subscribed[:3]] == [True, False, False]
    assert there.states(watching)[-1] == "active"
    assert there.terminated == []
    assert there.pair.wire.named("401") == there.pair.wire.named("403") == []


def test_an_assertion_that_cannot_be_read_is_400() -> None:
    for value in ("<sip:", "nonsense", "<mailto:carol@example.com>"):
        there = world(HERE)
        there.publish(document(), policy=asserting(value))
        assert there.publish_failed == [400]


def test_a_trusted_peer_registers_others() -> None:
    """As an S-CSCF does at an application server: From is the S-CSCF, To is whom it registers."""
    for trusted, good in ((HERE, True), (ELSEWHERE, False)):
        there = world(trusted)
        registrant = Registrant(there.pair.alice)
        registrant.register(CAROL, there.pair.now, policy=TO_BOB)
        there.pair.turn()
        said = [s for s in there.pair.reported[ALICE] if isinstance(s, Registered)]
        assert bool(said) is good


# --- who is trusted -------------------------------------------------------------------------------------


def flow(host: str, connection: int = 0) -> Flow:
    return Flow("tls" if connection else "udp", ("192.0.2.2", 5060), (host, 5060), connection)


@pytest.mark.parametrize(
    ("entry", "host", "trusts"),
    [
        ("192.0.2.7", "192.0.2.7", True),
        ("192.0.2.7", "192.0.2.70", False),
        ("192.0.2.0/24", "192.0.2.200", True),
        ("192.0.2.0/24", "192.0.3.1", False),
        ("2001:db8::/32", "2001:db8::5", True),
        ("2001:db8::/32", "192.0.2.1", False),
        ("192.0.2.0/24", "::ffff:192.0.2.9", True),
        ("192.0.2.0/24", "agent", False),
        ("scscf.example.com", "192.0.2.7", False),
    ],
)
def test_addresses_and_networks(entry: str, host: str, trusts: bool) -> None:
    assert TrustedPeers.parse([entry]).trusts(flow(host)) is trusts


def test_a_name_is_what_the_certificate_of_the_connection_proves() -> None:
    certificates = {1: frozenset({"scscf.example.com"}), 2: frozenset({"else.example.com"})}
    peers = TrustedPeers.parse(
        ["SCSCF.Example.com."], lambda flow: certificates.get(flow.connection, frozenset())
    )
    assert [peers.trusts(flow("192.0.2.7", number)) for number in (0, 1, 2, 3)] == [
        *(False, True),
        *(False, False),
    ]


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([], None),
        (['"C" <sip:carol@example.com;x=y>;p=q'], "sip:carol@example.com"),
        (["<tel:+15550100>, <sip:carol@example.com>"], "sip:carol@example.com"),
        (["<tel:+15550100>", "<sips:carol@example.com>"], "sips:carol@example.com"),
        (["<tel:+15550100>"], "tel:+15550100"),
    ],
)
def test_the_sip_uri_is_preferred_over_the_tel_uri(values: list[str], found: str | None) -> None:
    request = Request("PUBLISH", "sip:x", Headers([(ASSERTED, value) for value in values]))
    asserted = asserted_identity(request)
    assert (None if asserted is None else str(asserted)) == found


@pytest.mark.parametrize("value", ["<im:carol@example.com>", "<sip:", "a b"])
def test_an_assertion_of_something_else_is_none(value: str) -> None:
    with pytest.raises(ParseError):
        asserted_identity(Request("PUBLISH", "sip:x", Headers([(ASSERTED, value)])))


# --- digest, besides ------------------------------------------------------------------------------------


def test_a_private_identity_proves_a_public_one() -> None:
    def identity_of(user: str) -> Uri | None:
        return CAROL if user == "x y" else None

    server = DigestServer("example.com", b"secret")
    there = AgentWorld(authenticator=Authenticator(server, ha1_of, identity_of))
    there.publish(document(), credentials=known("x y"))
    assert there.publish_failed == []
    there.watch(Uri.parse("sip:x%20y@example.com"), credentials=known("x y"))
    assert there.refused == [403]


def test_passwords_can_be_guessed_only_slowly() -> None:
    there = world(digest=True)
    for number in range(25):
        there.watch(DAVE, credentials=Credentials("dave", f"guess {number}"))
    assert there.refused == [401] * 20 + [403] * 5
    there.watch(DAVE, credentials=known("dave"))
    assert there.refused[25:] == [403]
    assert there.pair.said_by(BOB, Guessing) == [Guessing("dave", ALICE[0])]
    there.watch(CAROL, credentials=known("carol"))
    there.pair.pass_seconds(61)
    there.watch(DAVE, credentials=known("dave"))
    assert there.refused[26:] == []


def test_on_a_nonce_that_is_not_ours_no_guess_is_judged() -> None:
    said = []
    for password in ("a guess", known("carol").password):
        there = world(digest=True)
        challenge = Challenge("Digest", "example.com", "abc", "MD5", ("auth",))
        guess = answer(
            challenge, Credentials("carol", password), "PUBLISH", str(CAROL), b"", 1, "c"
        )
        policy = with_flow(TO_BOB, extra_headers=(("Authorization", guess),))
        there.publish(document(), policy=policy)
        (refusal,) = there.pair.wire.named("401")
        said.append(refusal.header("WWW-Authenticate").endswith("stale=true"))
    assert said == [True, True]


def test_what_was_overheard_cannot_be_published_again() -> None:
    there = world(digest=True)
    there.publish(document("open"), credentials=known("carol"))
    (overheard,) = [s for s in there.pair.wire.named("PUBLISH") if s.header("Authorization")]
    policy = with_flow(
        TO_BOB, extra_headers=(("Authorization", overheard.header("Authorization")),)
    )
    there.publish(document("closed"), policy=policy)
    assert there.publish_failed == [401]
