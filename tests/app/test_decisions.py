"""Who may see what, through the whole stack: applications by REST, watchers by SIP, the agent between."""

import itertools
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipbridge.app.sip_client import SipClient
from sipbridge.events.subscriber import Notified, Refused, Terminated
from sipbridge.mapping.attributes import Activity
from sipbridge.mapping.ocsg import to_attributes
from sipbridge.presence import pidf
from sipbridge.uri import Uri
from tests.app.rig import (
    KINDS,
    PATIENCE,
    Application,
    Site,
    attributes,
    document,
    kept,
    presence_server,
    remote,
    site,
    until,
    values,
)
from tests.app.rig import settings as configured

ALICE, BOB, CAROL = (f"sip:{name}@example.com" for name in ("alice", "bob", "carol"))
RICH: dict[str, object] = {
    "Activity": "Meeting",
    "Place": "Office",
    "Privacy": "PrivacyQuiet",
    "Sphere": "SphereWork",
}
WORDS = {
    "Activity": b"meeting",
    "Place": b"office",
    "Privacy": b"privacy",
    "Sphere": b"work",
    "Communication": b"mailto:alice@example.com",
    "Other": b"cheerful",
}
"""What shows in a document when the kind is to be seen."""
PATIENT = {"fetch_wait": PATIENCE}
"""A poll right after a grant waits for the agent's word; on a busy machine that takes more than a second."""


async def publish_everything(alice: Application) -> None:
    """All six kinds, each with a word of its own."""
    means = [{"priority": 0.5, "contact": "mailto:alice@example.com", "type": "Email"}]
    other = {"unionElement": "Other", "other": {"name": "mood", "value": "cheerful"}}
    said = [
        *attributes(**RICH),
        {"typeAndValue": {"unionElement": "Communication", "communication": {"means": means}}},
        {"typeAndValue": other},
    ]
    await alice.rest("PUT", "/presence", {"presence": said})


async def refusal(app: Application, method: str, path: str, body: object = None) -> tuple[int, str]:
    """Status and fault id of a call that does not succeed."""
    status, answer = await app.ask(method, "/rest/presence" + path, body)
    assert status >= 400, answer
    return status, answer["error"]["messageId"]


# --- decision 5: who decides


async def test_any_true_lifts_a_block() -> None:
    async with site(gateway=PATIENT) as here:
        alice, bob = here.application("alice"), await here.application("bob").listen()
        await bob.subscribe(ALICE)
        await alice.decide(BOB, Activity=True, Place=True)
        await bob.told("notifySubscription")
        await alice.block(BOB)
        assert await bob.told("subscriptionEnded") == {"presentity": ALICE, "reason": "Blocked"}
        assert await refusal(bob, "GET", f"/presence?query={{%22presentity%22:%22{ALICE}%22}}") == (
            400,
            "SVC0002",
        )
        await bob.subscribe(ALICE)
        assert (await bob.told("subscriptionEnded"))["reason"] == "Blocked"
        await alice.decide(BOB, Sphere=True)
        await bob.subscribe(ALICE)
        told = await bob.told("notifySubscription")
        assert told["decisions"] == [{"presenceAttribute": "Sphere", "decision": True}]


async def test_only_false_does_not_lift_a_block() -> None:
    async with site(gateway=PATIENT) as here:
        alice, bob = here.application("alice"), await here.application("bob").listen()
        await bob.subscribe(ALICE)
        await alice.block(BOB)
        await bob.told("subscriptionEnded")
        await alice.decide(BOB, Activity=False)
        await bob.subscribe(ALICE)
        assert (await bob.told("subscriptionEnded"))["reason"] == "Blocked"


async def test_a_block_is_lifted_for_sip_watchers_too() -> None:
    async with site(gateway=PATIENT) as here:
        alice = here.application("alice")
        carol = await here.phone("carol")
        await alice.publish(Activity="Meeting")
        carol.subscribe(Uri.parse(ALICE))
        await carol.wait_for(lambda s: isinstance(s, Notified), PATIENCE)
        await until(alice.open_subscriptions, lambda found: CAROL in found)
        await alice.block(CAROL)
        said = await carol.wait_for(lambda s: isinstance(s, Terminated), PATIENCE)
        assert isinstance(said, Terminated) and said.reason == "rejected"
        carol.subscribe(Uri.parse(ALICE))
        refused = await carol.wait_for(lambda s: isinstance(s, Refused), PATIENCE)
        assert isinstance(refused, Refused) and refused.status == 403
        await alice.decide(CAROL, Activity=True)
        carol.subscribe(Uri.parse(ALICE))
        said = await carol.wait_for(lambda s: isinstance(s, Notified), PATIENCE)
        assert isinstance(said, Notified) and (said.state, b"meeting" in said.body) == (
            "active",
            True,
        )


async def test_a_watcher_never_seen_cannot_be_decided_about() -> None:
    async with site(gateway=PATIENT) as here:
        alice = here.application("alice")
        decision = [{"presenceAttribute": "Activity", "decision": True}]
        body = {"watcher": CAROL, "decisions": decision}
        assert await refusal(alice, "PUT", "/subscription", body) == (400, "SVC0002")
        assert await refusal(alice, "DELETE", f"/subscription/{CAROL}") == (400, "SVC0002")


async def test_sub_handling_allow_grants_everything_and_is_the_decision() -> None:
    async with site(agent={"sub_handling": "allow"}) as here:
        alice, bob = here.application("alice"), await here.application("bob").listen()
        await alice.publish(Activity="Meeting")
        await bob.subscribe(ALICE)
        told = await bob.told("notifySubscription")
        assert [d["decision"] for d in told["decisions"]] == [True] * 6
        assert await alice.open_subscriptions() == {}
        assert await alice.watchers() == [BOB]


async def test_polite_block_says_all_true_and_shows_that_nobody_is_there() -> None:
    async with site(agent={"sub_handling": "polite-block"}) as here:
        alice, bob = here.application("alice"), await here.application("bob").listen()
        await publish_everything(alice)
        await bob.subscribe(ALICE)
        told = await bob.told("notifySubscription")
        assert [d["decision"] for d in told["decisions"]] == [True] * 6
        _, answer = await bob.presence(ALICE)
        assert not any(word.decode() in str(answer).lower() for word in WORDS.values())
        carol = await here.phone("carol")
        carol.subscribe(Uri.parse(ALICE))
        said = await carol.wait_for(lambda s: isinstance(s, Notified), PATIENCE)
        assert isinstance(said, Notified)
        assert said.state == "active" and b"closed" in said.body
        assert not any(word in said.body for word in WORDS.values())


async def test_a_presentity_nobody_has_heard_of_exists_in_our_domain() -> None:
    async with site(gateway=PATIENT) as here:
        bob = here.application("bob")
        await bob.subscribe("sip:nobody@example.com")
        status, _ = await bob.presence("sip:nobody@example.com")
        assert status == 403


# --- decision 6: open subscriptions and watchers


async def test_one_entry_for_each_watcher_and_the_local_record_wins() -> None:
    async with site(gateway=PATIENT) as here:
        alice, bob = here.application("alice"), here.application("bob")
        phone = await here.phone("bob")
        phone.subscribe(Uri.parse(ALICE))
        await until(alice.open_subscriptions, lambda found: BOB in found)
        assert (await alice.open_subscriptions())[BOB]["application"] == "SIP"
        await bob.subscribe(ALICE, "Activity", "Place")
        answer = await alice.rest("GET", "/subscription?status=open")
        (entry,) = answer["result"]
        assert entry == {
            "application": "Desk app",
            "attributes": ["Activity", "Place"],
            "watcher": BOB,
        }


async def test_what_is_decided_is_not_open_any_more() -> None:
    async with site(gateway=PATIENT) as here:
        alice, bob = here.application("alice"), here.application("bob")
        await bob.subscribe(ALICE, "Activity", "Place", "Sphere")
        await alice.decide(BOB, Activity=True, Place=False)
        assert (await alice.open_subscriptions())[BOB]["attributes"] == ["Sphere"]
        await alice.decide(BOB, Sphere=False)
        assert await alice.open_subscriptions() == {}
        assert await alice.watchers() == [BOB]
        await alice.decide(BOB, Activity=False)
        assert await alice.watchers() == []


async def test_a_sip_watcher_that_has_gone_is_no_watcher() -> None:
    async with site(gateway=PATIENT) as here:
        alice, carol = here.application("alice"), await here.phone("carol")
        subscription = carol.subscribe(Uri.parse(ALICE))
        await until(alice.open_subscriptions, lambda found: CAROL in found)
        await alice.grant_all(CAROL)
        await until(alice.watchers, lambda found: found == [CAROL])
        carol.unsubscribe(subscription)
        await until(alice.watchers, lambda found: found == [])


# --- decision 8: notifications


async def test_start_for_a_presentity_that_granted_nothing_makes_no_contract() -> None:
    async with site(gateway=PATIENT) as here:
        alice, bob = here.application("alice"), await here.application("bob").listen()
        await bob.subscribe(ALICE)
        assert await bob.start(ALICE) == [ALICE]
        assert await refusal(bob, "DELETE", "/notification/w-1") == (400, "SVC0002")
        await alice.grant_all(BOB)
        await bob.told("notifySubscription")
        await alice.publish(Activity="Meeting")
        assert (
            await bob.start(ALICE) == []
        )  # the correlator was free, and nothing had begun by itself
        assert (await bob.told("statusChanged"))["correlator"] == "w-1"


async def test_get_presence_says_why_there_is_nothing() -> None:
    async with site(gateway=PATIENT) as here:
        alice, bob = here.application("alice"), here.application("bob")
        path = f"/presence?query={{%22presentity%22:%22{ALICE}%22}}"
        assert await refusal(bob, "GET", path) == (400, "SVC0002")
        await bob.subscribe(ALICE)
        assert await refusal(bob, "GET", path) == (403, "POL0002")
        await alice.grant_all(BOB)
        assert await bob.presence(ALICE) == (200, {"result": []})
        await alice.decide(BOB, **dict.fromkeys(KINDS, False))
        assert await refusal(bob, "GET", path) == (403, "POL0002")


async def test_without_check_immediate_the_state_comes_once_at_the_end_of_the_period() -> None:
    async with site(gateway=PATIENT) as here:
        alice, bob = here.application("alice"), await here.application("bob").listen()
        await alice.publish(Activity="Meeting")
        await bob.subscribe(ALICE)
        await alice.grant_all(BOB)
        await bob.told("notifySubscription")
        frequency = {"metric": "Millisecond", "units": 300}
        await bob.start(ALICE, checkImmediate=False, frequency=frequency, count=2)
        told = await bob.told("statusChanged")
        assert values(told["changedAttributes"])["Activity"] == "Meeting"
        await alice.publish(Activity="Travel")
        await bob.told_status(Activity="Travel")
        assert await bob.told("statusEnd") == {"correlator": "w-1"}


# --- nobody sees what was not granted


def shown_in(said: Notified) -> set[str]:
    """The kinds whose words stand anywhere in the body."""
    return {kind for kind, word in WORDS.items() if word in said.body}


def shown_by(answer: Any) -> set[str]:
    text = str(answer).lower().encode()
    return {kind for kind, word in WORDS.items() if word in text}


async def newest(carol: SipClient, kinds: set[str]) -> None:
    """A NOTIFY shows these kinds; none before it showed more."""
    while True:
        said = await carol.wait_for(lambda s: isinstance(s, Notified), PATIENCE)
        assert isinstance(said, Notified), f"no NOTIFY that shows {kinds}"
        assert shown_in(said) <= kinds
        if said.state == "active" and shown_in(said) == kinds:
            return


async def acquainted(here: Site) -> tuple[Application, Application, SipClient]:
    """Alice has published everything; Bob's application and Carol's phone have asked to see it."""
    alice, bob = here.application("alice"), await here.application("bob").listen()
    await publish_everything(alice)
    await bob.subscribe(ALICE)
    carol = await here.phone("carol")
    carol.subscribe(Uri.parse(ALICE))
    said = await carol.wait_for(lambda s: isinstance(s, Notified), PATIENCE)
    assert isinstance(said, Notified)
    assert (said.state, shown_in(said)) == ("pending", set())
    assert (await bob.presence(ALICE))[0] == 403
    await until(alice.open_subscriptions, lambda found: {BOB, CAROL} <= set(found))
    return alice, bob, carol


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "Other"])
async def test_one_granted_kind_is_all_there_is_to_see(kind: str) -> None:
    async with site(gateway=PATIENT) as here:
        alice, bob, carol = await acquainted(here)
        await alice.decide(BOB, **{kind: True})
        await alice.decide(CAROL, **{kind: True})
        _, answer = await until(lambda: bob.presence(ALICE), lambda a: shown_by(a[1]))
        assert shown_by(answer) == {kind}
        assert {a["typeAndValue"]["unionElement"] for a in answer["result"]} == {kind}
        said = await carol.wait_for(lambda s: isinstance(s, Notified) and s.body != b"", PATIENCE)
        assert isinstance(said, Notified) and shown_in(said) == {kind}
        uri = Uri.parse(ALICE)
        mapped = to_attributes(pidf.parse(said.body), at=datetime.now(UTC), presentity=uri)
        # `basic` is no activity: a means has to say whether it is open, and nothing at all is ActivityNone.
        basic = (Activity.NONE, Activity.AVAILABLE)
        seen = {a.kind.value for a in mapped.attributes if a.value not in basic}
        assert seen - {"Other"} == {kind}


async def test_what_is_revoked_stops_at_once_for_everybody() -> None:
    async with site(gateway=PATIENT) as here:
        alice, bob, carol = await acquainted(here)
        everything = set(WORDS)
        await alice.grant_all(BOB)
        await alice.grant_all(CAROL)
        await newest(carol, everything)
        await bob.told("notifySubscription")
        await bob.start(ALICE)
        await bob.told("statusChanged")
        await alice.decide(BOB, Activity=False, Other=False)
        await alice.decide(CAROL, Activity=False, Other=False)
        # By REST the very next answer; by SIP the very next NOTIFY.
        _, answer = await bob.presence(ALICE)
        assert shown_by(answer) == everything - {"Activity", "Other"}
        said = await carol.wait_for(lambda s: isinstance(s, Notified), PATIENCE)
        assert isinstance(said, Notified)
        assert shown_in(said) == everything - {"Activity", "Other"}
        # What happens in a revoked kind reaches nobody; what happens in another one does.
        await alice.publish(Activity="Travel")
        await alice.publish(Place="Train")
        told = await bob.told("notifySubscription")
        assert {d["presenceAttribute"] for d in told["decisions"] if not d["decision"]} == {
            "Activity",
            "Other",
        }
        told = await bob.told("statusChanged")
        assert values(told["changedAttributes"]) == {"Place": "Train"}
        said = await carol.wait_for(
            lambda s: isinstance(s, Notified) and b"train" in s.body, PATIENCE
        )
        assert isinstance(said, Notified) and b"travel" not in said.body


DECISIONS = st.lists(
    st.dictionaries(st.sampled_from(KINDS), st.booleans(), min_size=1), min_size=1, max_size=4
)


@given(DECISIONS)
@settings(max_examples=8, deadline=None)
async def test_whatever_is_decided_nobody_sees_more(decided: list[dict[str, bool]]) -> None:
    """After each decision both watchers see what is granted then, and nothing else."""
    async with site(gateway=PATIENT) as here:
        alice, bob, carol = await acquainted(here)
        granted: set[str] = set()
        for decision in decided:
            before = frozenset(granted)
            await alice.decide(BOB, **decision)
            await alice.decide(CAROL, **decision)
            granted |= {kind for kind, allowed in decision.items() if allowed}
            granted -= {kind for kind, allowed in decision.items() if not allowed}
            status, answer = await bob.presence(ALICE)
            assert status == (200 if granted else 403)
            if granted:
                assert shown_by(answer) == granted
            if granted and granted != before:
                await newest(carol, granted)
        await publish_something_else(alice)
        while (said := await carol.wait_for(lambda s: True, 0.05)) is not None:
            assert not isinstance(said, Notified) or shown_in(said) <= granted


async def publish_something_else(alice: Application) -> None:
    await alice.publish(Activity="Travel", Privacy="PrivacyPublic", Sphere="SphereHome")
    await publish_everything(alice)


async def test_the_answer_of_somebody_elses_server_decides_about_their_presentities() -> None:
    async with presence_server() as server, site(presence_server=remote(server)) as here:
        bob = await here.application("bob").listen()
        await bob.subscribe(CAROL, "Activity", "Place")
        asked = await server.subscription(CAROL)
        server.notify(asked, state="pending;expires=60")
        await server.response("NOTIFY")
        assert (await bob.presence(CAROL))[0] == 403
        server.notify(asked, state="active;expires=60")
        told = await bob.told("notifySubscription")
        assert [d["presenceAttribute"] for d in told["decisions"]] == ["Activity", "Place"]
        assert await bob.presence(CAROL) == (200, {"result": []})


async def test_rules_of_ours_bind_what_a_remote_server_shows_about_our_presentities() -> None:
    """Alice has an application here: what her server tells Bob is cut to what she granted."""
    async with presence_server() as server, site(presence_server=remote(server)) as here:
        alice, bob = here.application("alice"), await here.application("bob").listen()
        await bob.subscribe(ALICE)
        asked = await server.subscription(ALICE)
        server.notify(asked, document("meeting", ALICE, place="office"))
        await server.response("NOTIFY")
        assert (await bob.presence(ALICE))[0] == 403
        await alice.decide(BOB, Place=True)
        _, answer = await bob.presence(ALICE)
        assert values(answer["result"]) == {"Place": "Office"}
        assert "eeting" not in str(answer)


async def test_decisions_last_as_long_as_they_stand(tmp_path: Path) -> None:
    """Every change of one rule set is kept in its order, whoever asks at the same time."""
    wanted = configured(store=kept(tmp_path))
    grants = itertools.cycle([True, False])
    async with site(wanted) as here:
        alice, bob = here.application("alice"), here.application("bob")
        await bob.subscribe(ALICE)
        for decision, _ in zip(grants, range(9), strict=False):
            await alice.decide(BOB, Activity=decision)
    async with site(wanted) as here:
        assert await here.application("alice").watchers() == [BOB]
