"""Who may ask for what: digest, the gateway's own flow, one's own presence."""

import hashlib

import pytest

from sipbridge.agent.admission import NotProven
from sipbridge.agent.ports import Authenticator
from sipbridge.events.publisher import PublishFailed
from sipbridge.identities import PresentityKey
from sipbridge.presence.lists import Entry
from sipbridge.sip.address import NameAddr
from sipbridge.sip.digest import Challenge, DigestServer, answer
from sipbridge.sip.flow import Flow
from sipbridge.sip.parameters import Parameters
from sipbridge.sip.policy import Credentials
from sipbridge.uri import Uri
from tests.agent.world import CAROL, DAVE, AgentWorld, document, with_flow
from tests.events.peers import TO_BOB
from tests.harness.pair import ALICE, BOB, Outcome

PASSWORDS = {"carol": "c-secret", "dave": "d-secret", "x y": "odd"}
HASHES = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}


def ha1_of(user: str, realm: str, algorithm: str) -> str | None:
    if user not in PASSWORDS:
        return None
    text = f"{user}:{realm}:{PASSWORDS[user]}"
    return HASHES[algorithm](text.encode()).hexdigest()


def guarded(algorithms: tuple[str, ...] = ("SHA-256", "MD5"), life: float = 300) -> AgentWorld:
    server = DigestServer("example.com", b"secret", algorithms, nonce_life=life)
    return AgentWorld(authenticator=Authenticator(server, ha1_of))


def known(user: str) -> Credentials:
    return Credentials(user, PASSWORDS[user])


@pytest.mark.parametrize("algorithms", [("SHA-256", "MD5"), ("MD5",)])
def test_who_proves_to_be_somebody_may_publish_and_watch(algorithms: tuple[str, ...]) -> None:
    world = guarded(algorithms)
    watching = world.watch(DAVE, credentials=known("dave"))
    world.publish(document("open"), credentials=known("carol"))
    assert world.basics(watching) == ["open"]
    challenge = world.pair.wire.named("401")[0]
    assert challenge.data.count(b"WWW-Authenticate") == len(algorithms)


def test_integrity_is_that_of_the_body_on_the_wire() -> None:
    """RFC 7616 §3.4.3 with a compressed body: the hash is of what came."""
    server = DigestServer("example.com", b"secret", ("SHA-256",), qops=("auth-int",))
    world = AgentWorld(authenticator=Authenticator(server, ha1_of))
    watching = world.watch(DAVE, credentials=known("dave"))
    notes = "".join(f"<!-- {n} -->" for n in range(100))
    whole = with_flow(TO_BOB, partial_publish=False)
    publication = world.publish(
        document("open", more=notes), credentials=known("carol"), policy=whole
    )
    world.modify(publication, document("closed", more=notes))
    sent = [one.header("Content-Encoding") for one in world.pair.wire.named("PUBLISH")]
    assert sent[0] == "" and sent[-1] == "gzip"
    assert world.basics(watching) == ["closed"]
    assert world.publish_failed == []


def test_who_proves_nothing_gets_401() -> None:
    world = guarded()
    world.watch(DAVE)
    world.publish(document())
    assert world.refused == [401]
    assert world.publish_failed == [401]
    assert world.agent.presentities == {}


def test_a_wrong_password_gets_401_again() -> None:
    world = guarded()
    world.watch(DAVE, credentials=Credentials("dave", "guess"))
    world.watch(DAVE, credentials=Credentials("stranger", "guess"))
    assert world.refused == [401, 401]


def test_another_from_than_the_proven_user_gets_403() -> None:
    world = guarded()
    world.watch(CAROL, credentials=known("dave"))
    assert world.refused == [403]


def test_nobody_publishes_for_somebody_else() -> None:
    world = guarded()
    world.publish(document(), identity=DAVE, entity=CAROL, credentials=known("dave"))
    assert world.publish_failed == [403]


def test_without_an_authenticator_anybody_may() -> None:
    world = AgentWorld()
    world.publish(document(), identity=DAVE, entity=CAROL)
    assert world.publish_failed == []


def test_a_user_name_with_odd_characters_is_escaped_in_its_address() -> None:
    world = guarded()
    world.watch(Uri.parse("sip:x%20y@example.com"), credentials=known("x y"))
    assert world.refused == []


def test_refreshes_in_the_dialog_are_proven_too() -> None:
    world = guarded(life=10)
    watching = world.watch(DAVE, credentials=known("dave"))
    world.pair.pass_seconds(86_400)
    assert world.states(watching)[-1] == "active"
    assert world.terminated == []


def test_an_old_nonce_is_called_stale() -> None:
    world = guarded(life=10)
    publication = world.publish(document("open"), credentials=known("carol"))
    world.pair.pass_seconds(60)
    world.modify(publication, document("closed"))
    assert world.publish_failed == []
    assert len(world.published) == 2


@pytest.mark.parametrize("value", ["Digest", "Digest username=", "Digest a=b"])
def test_an_authorization_that_cannot_be_read_gets_400(value: str) -> None:
    world = guarded()
    policy = with_flow(TO_BOB, extra_headers=(("Authorization", value),))
    world.watch(DAVE, policy=policy)
    assert world.refused == [400]


def test_another_scheme_is_challenged() -> None:
    world = guarded()
    world.watch(DAVE, policy=with_flow(TO_BOB, extra_headers=(("Authorization", "Basic eA=="),)))
    assert world.refused == [401]
    assert told(world) == [("", "scheme Basic")]


def told(world: AgentWorld) -> list[tuple[str, str]]:
    """Whom credentials named that proved nobody, and why they did not."""
    said = [one for one in world.pair.reported[BOB] if isinstance(one, NotProven)]
    assert all(one.address == ALICE[0] for one in said)
    return [(one.user, one.reason) for one in said]


def test_wrong_passwords_are_reported_and_challenges_are_not() -> None:
    world = guarded(algorithms=("MD5",))
    world.watch(DAVE)
    world.watch(DAVE, credentials=known("dave"))
    assert told(world) == []
    world.watch(DAVE, credentials=Credentials("dave", "guess"))
    world.watch(DAVE, credentials=Credentials("stranger", "guess"))
    wrong = "wrong user or password"
    assert told(world) == [("dave", wrong), ("stranger", wrong)]


def test_what_is_tried_while_nothing_is_judged_is_reported_too() -> None:
    world = guarded(algorithms=("MD5",))
    for _ in range(22):
        world.watch(DAVE, credentials=Credentials("dave", "guess"))
    assert [reason for _, reason in told(world)][20:] == ["refused after too many failures"] * 2


def test_credentials_for_another_realm_are_reported_only_where_nothing_else_is_proven() -> None:
    world = guarded(algorithms=("MD5",))
    foreign = 'Digest username="d", realm="elsewhere", nonce="n", uri="sip:x", response="0"'
    world.watch(DAVE, policy=with_flow(TO_BOB, extra_headers=(("Authorization", foreign),)))
    assert told(world) == [("d", "another realm")]
    challenge = Challenge.parse(world.pair.wire.named("401")[0].header("WWW-Authenticate"))
    ours = answer(challenge, known("dave"), "SUBSCRIBE", str(CAROL), b"", 1, "c")
    both = (("Authorization", foreign), ("Authorization", ours))
    world.watch(DAVE, policy=with_flow(TO_BOB, extra_headers=both))
    assert world.refused == [401]
    assert len(told(world)) == 1


def test_the_flow_in_memory_is_believed_but_only_for_itself() -> None:
    world = guarded()
    policy = with_flow(TO_BOB, flow=Flow("memory", ALICE, BOB))
    watching = world.watch(DAVE, policy=policy)
    world.publish(document("open"), policy=policy)
    world.publish(document("open"), identity=DAVE, entity=CAROL, policy=policy)
    assert world.basics(watching) == ["open"]
    assert [f.status for f in failures(world)] == [403]
    assert world.refused == []


def failures(world: AgentWorld) -> list[PublishFailed]:
    return [s for s in world.pair.reported[ALICE] if isinstance(s, PublishFailed)]


def test_a_from_without_a_usable_address_gets_400() -> None:
    world = AgentWorld()
    request = world.pair.alice.new_request(
        "PUBLISH",
        CAROL,
        from_=NameAddr("sip:", parameters=Parameters.parse(";tag=1", "From")),
        to=NameAddr(str(CAROL)),
    )
    world.pair.alice.request(request, Outcome(), world.pair.now, policy=TO_BOB)
    world.pair.turn()
    assert len(world.pair.wire.named("400")) == 1


@pytest.mark.parametrize("package", ["presence", "presence.winfo"])
def test_a_dialog_obeys_nobody_but_the_watcher_who_made_it(package: str) -> None:
    """Whoever knows its tags and is somebody too could else redirect what another one may see."""
    world = guarded()
    world.publish(document("open"), credentials=known("carol"))
    watcher, other = (CAROL, "dave") if package != "presence" else (DAVE, "carol")
    watching = world.watch(watcher, CAROL, package, credentials=known(watcher.user or ""))
    assert refresh_as(world, watching, other) == 403
    assert len(world.notified(watching)) == 1
    assert refresh_as(world, watching, watcher.user or "") == 200
    assert len(world.notified(watching)) == 2


def test_a_dialog_about_a_list_obeys_nobody_else_either() -> None:
    world = guarded()
    friends = Uri.parse("sip:friends@example.com")
    world.lists[PresentityKey(str(friends))] = (Entry(str(CAROL)),)
    policy = with_flow(TO_BOB, capabilities=TO_BOB.capabilities | {"eventlist"})
    watching = world.watch(DAVE, friends, credentials=known("dave"), policy=policy)
    assert refresh_as(world, watching, "carol") == 403
    assert refresh_as(world, watching, "dave") == 200


def refresh_as(world: AgentWorld, watching: str, user: str) -> int:
    """The answer to a SUBSCRIBE in the dialog, from a user who proves to be that one."""
    dialog = world.subscriber.subscriptions[watching].dialog
    assert dialog is not None
    outcome = Outcome()
    package = world.subscriber.subscriptions[watching].package.name
    request = dialog.new_request("SUBSCRIBE", [("Event", package), ("Expires", "600")])
    request.headers.set("From", f"<sip:{user}@example.com>;tag={request.from_.tag}")
    world.pair.alice.request_in_dialog(
        dialog, request, outcome, world.pair.now, credentials=known(user)
    )
    world.pair.turn()
    return outcome.status
