"""REGISTER at the agent (RFC 3261 §10.3): what phones do before they publish."""

import pytest

from sipbridge.agent.ports import (
    Authenticator,
    Record,
    RegistrationRemoved,
    RegistrationStored,
)
from sipbridge.agent.registrar import MAX_BINDINGS
from sipbridge.sip.address import NameAddr
from sipbridge.sip.digest import DigestServer
from sipbridge.sip.policy import Credentials
from sipbridge.uri import Uri
from tests.agent.test_admission import ha1_of, known
from tests.agent.world import AgentWorld
from tests.events.peers import TO_BOB
from tests.harness.pair import Outcome

CAROL, DAVE = "sip:carol@example.com", "sip:dave@example.com"
PHONE, TABLET = "<sip:carol@192.0.2.7:5060>", "<sip:carol@192.0.2.8:5062;transport=tcp>"


class Phone:
    """Registers; its Call-ID stays, its CSeq rises, as RFC 3261 §10.2 wants it."""

    def __init__(self, world: AgentWorld, call_id: str = "phone") -> None:
        self.world, self.call_id, self.cseq = world, call_id, 0

    def register(
        self,
        *contacts: str,
        aor: str = CAROL,
        sender: str = "",
        expires: int | None = None,
        cseq: int | None = None,
        domain: str = "sip:example.com",
        credentials: Credentials | None = None,
    ) -> Outcome:
        self.cseq = cseq if cseq is not None else self.cseq + 2  # a challenge takes one
        pair = self.world.pair
        request = pair.alice.new_request(
            "REGISTER",
            Uri.parse(domain),
            from_=NameAddr(sender or aor).with_tag("t"),
            to=NameAddr(aor),
            call_id=self.call_id,
            cseq=self.cseq,
        )
        for contact in contacts:
            request.headers.add("Contact", contact)
        if expires is not None:
            request.headers.set("Expires", str(expires))
        outcome = Outcome()
        pair.alice.request(request, outcome, pair.now, policy=TO_BOB, credentials=credentials)
        pair.turn()
        return outcome


def listed(outcome: Outcome) -> dict[str, int]:
    """Contact URI to the seconds left."""
    return {
        c.uri_text: int(c.parameters.get("expires") or -1) for c in outcome.responses[0].contacts
    }


def test_a_phone_registers_refreshes_asks_and_leaves() -> None:
    phone = Phone(AgentWorld())
    outcome = phone.register(PHONE, expires=600)
    assert (outcome.status, listed(outcome)) == (200, {"sip:carol@192.0.2.7:5060": 600})
    assert outcome.responses[0].headers.get("Date")
    phone.world.pair.pass_seconds(200)
    assert listed(phone.register()) == {"sip:carol@192.0.2.7:5060": 400}
    assert listed(phone.register(PHONE, expires=600)) == {"sip:carol@192.0.2.7:5060": 600}
    assert listed(phone.register(PHONE, expires=0)) == {}
    assert phone.world.agent.registrar is not None
    assert phone.world.agent.registrar.registered == {}


def test_a_binding_ends_by_itself() -> None:
    world = AgentWorld()
    Phone(world, "a").register(PHONE, expires=100)
    Phone(world, "b").register(TABLET, expires=300)
    world.pair.pass_seconds(150)
    assert list(listed(Phone(world, "c").register())) == ["sip:carol@192.0.2.8:5062;transport=tcp"]
    world.pair.pass_seconds(200)
    assert listed(Phone(world, "d").register()) == {}
    assert world.agent.registrar is not None and world.agent.registrar.registered == {}


@pytest.mark.parametrize(
    ("contact", "expires", "granted"),
    [
        (PHONE, None, 3600),
        (PHONE + ";expires=120", 600, 120),
        (PHONE + ";expires=abc", 600, 600),
        (PHONE + ";expires=999999999", None, 86400),
        (PHONE + ";q=0.5;expires=60", None, 60),
    ],
)
def test_the_contact_s_own_wish_goes_before_expires(
    contact: str, expires: int | None, granted: int
) -> None:
    outcome = Phone(AgentWorld()).register(contact, expires=expires)
    assert list(listed(outcome).values()) == [granted]
    text = outcome.responses[0].headers.get("Contact") or ""
    assert ("q=0.5" in text) == ("q=0.5" in contact)


def test_too_short_is_423_and_nothing_of_the_request_counts() -> None:
    phone = Phone(AgentWorld())
    outcome = phone.register(PHONE, TABLET + ";expires=30", expires=600)
    assert outcome.status == 423
    assert outcome.responses[0].min_expires == 60
    assert listed(phone.register()) == {}


def test_a_star_removes_everything_and_only_with_expires_0() -> None:
    world = AgentWorld()
    Phone(world, "a").register(PHONE, expires=600)
    phone = Phone(world, "b")
    phone.register(TABLET, expires=600)
    assert phone.register("*", expires=600).status == 400
    assert phone.register("*").status == 400
    assert phone.register("*", PHONE, expires=0).status == 400
    assert len(listed(phone.register())) == 2
    assert listed(phone.register("*", expires=0)) == {}


def test_a_request_that_comes_too_late_changes_nothing() -> None:
    world = AgentWorld()
    phone = Phone(world)
    phone.register(PHONE, expires=600, cseq=7)
    assert phone.register(PHONE, expires=0, cseq=6).status == 500
    assert phone.register("*", expires=0, cseq=5).status == 500
    assert len(listed(phone.register(cseq=9))) == 1
    # The same contact by another phone, or by one that was switched off and on, is another Call-ID.
    assert listed(Phone(world, "b").register(PHONE, expires=0, cseq=1)) == {}


def test_nobody_has_so_many_phones() -> None:
    world = AgentWorld()
    phone = Phone(world)
    contacts = [f"<sip:carol@192.0.2.{n}>" for n in range(MAX_BINDINGS + 1)]
    assert phone.register(*contacts).status == 403
    assert phone.register(*contacts[1:]).status == 200


@pytest.mark.parametrize(
    ("aor", "domain"),
    [
        ("sip:carol@elsewhere.example", "sip:example.com"),
        (CAROL, "sip:elsewhere.example"),
        ("sip:example.com", "sip:example.com"),
        ("tel:+15551234", "sip:example.com"),
    ],
)
def test_other_domains_are_not_served_here(aor: str, domain: str) -> None:
    assert Phone(AgentWorld()).register(PHONE, aor=aor, domain=domain).status == 404


def test_a_contact_that_is_no_address_is_400() -> None:
    assert Phone(AgentWorld()).register("<nowhere>").status == 400


def guarded() -> AgentWorld:
    server = DigestServer("example.com", b"secret", ("SHA-256", "MD5"), nonce_life=300)
    return AgentWorld(authenticator=Authenticator(server, ha1_of))


def test_with_digest_everybody_registers_for_oneself() -> None:
    phone = Phone(guarded())
    assert phone.register(PHONE).status == 401
    assert phone.register(PHONE, credentials=known("carol")).status == 200
    assert phone.register(PHONE, credentials=known("dave")).status == 403
    # Dave, proven, for Carol: a third-party registration.
    assert phone.register(PHONE, sender=DAVE, credentials=known("dave")).status == 403


def test_what_a_stranger_is_told_does_not_depend_on_who_exists() -> None:
    phone = Phone(guarded())
    for aor in (CAROL, "sip:nobody@example.com", "sip:x@elsewhere.example"):
        assert phone.register(PHONE, aor=aor).status == 401


def test_bindings_survive_a_restart_and_those_that_ended_meanwhile_do_not() -> None:
    world = AgentWorld(storing=True)
    Phone(world, "a").register(PHONE, expires=100)
    Phone(world, "b").register(TABLET, expires=1000)
    (key, record) = next(
        (c.id, c) for _, _, c in reversed(world.pair.stored) if isinstance(c, RegistrationStored)
    )
    assert key == CAROL
    world.pair.pass_seconds(200)
    records: list[Record] = [record]
    world.agent = world.new_agent()
    world.agent.restore(records, world.pair.now)
    world.pair.turn()
    assert listed(Phone(world, "c").register()) == {"sip:carol@192.0.2.8:5062;transport=tcp": 800}
    newest = world.pair.stored[-1][2]
    assert isinstance(newest, RegistrationStored) and "192.0.2.7" not in newest.bindings


@pytest.mark.parametrize("text", ["", "[]x", "{}", '[{"uri": "sip:a"}]', "[1]"])
def test_what_cannot_be_read_any_more_is_reported_and_forgotten(text: str) -> None:
    world = AgentWorld(storing=True)
    stored = RegistrationStored(world.agent.identities.canonical(Uri.parse(CAROL)), text)
    world.agent.restore([stored], world.pair.now)
    world.pair.turn()
    if text == "{}":
        return  # no bindings: nothing to report
    assert isinstance(world.pair.stored[-1][2], RegistrationRemoved)


def test_what_could_not_be_stored_was_not_promised() -> None:
    world = AgentWorld(storing=True)
    phone = Phone(world)
    phone.register(PHONE, expires=600)
    world.pair.commit_at_once = False
    outcome = phone.register(TABLET, expires=600)
    assert outcome.responses == []
    core, number, _ = world.pair.stored[-1]
    core.store_failed(number, world.pair.now)
    world.pair.commit_at_once = True
    world.pair.turn()
    assert outcome.status == 500
    assert list(listed(phone.register())) == ["sip:carol@192.0.2.7:5060"]


def test_an_agent_that_is_no_registrar_says_405() -> None:
    from tests.harness.pair import Pair

    pair = Pair()
    request = pair.alice.new_request(
        "REGISTER",
        Uri.parse("sip:example.com"),
        from_=NameAddr(CAROL).with_tag("t"),
        to=NameAddr(CAROL),
    )
    outcome = Outcome()
    pair.alice.request(request, outcome, pair.now, policy=TO_BOB)
    pair.turn()
    assert outcome.status == 405
    assert "REGISTER" not in outcome.responses[0].allow
