"""Decisions by pattern: one more rule for whole domains, until the presentity has its own word."""

from datetime import UTC, datetime

import pytest

from sipbridge.errors import NotAuthorized, ParseError
from sipbridge.gateway.policies import OperatorPolicy, effective, watchers
from sipbridge.gateway.ports import Reference
from sipbridge.identities import PresentityKey
from sipbridge.mapping.attributes import Activity, Attribute, AttributeKind, Place
from sipbridge.mapping.permissions import kinds_visible
from sipbridge.presence.rules import RuleSet, SubHandling, evaluate
from sipbridge.uri import Uri
from tests.gateway.fakes import Bench

K = AttributeKind
AT = datetime(2026, 3, 1, tzinfo=UTC)
ALICE, BOB = Uri.parse("sip:alice@example.com"), Uri.parse("sip:bob@example.com")
STRANGER = Uri.parse("sip:eve@elsewhere.example")
KEY = PresentityKey("sip:alice@example.com")
ACTIVITY = OperatorPolicy.parse("*", "sip:*@example.com", SubHandling.ALLOW, [K.ACTIVITY])


def visible(policies: list[OperatorPolicy], watcher: Uri, rules: RuleSet | None = None) -> set[K]:
    permission = evaluate(effective(rules, policies, KEY), watcher, AT, SubHandling.CONFIRM)
    return set(kinds_visible(permission))


def test_a_policy_is_for_the_watchers_of_its_pattern_only() -> None:
    assert visible([ACTIVITY], BOB) == {K.ACTIVITY}
    assert visible([ACTIVITY], STRANGER) == set()
    anybody = OperatorPolicy.parse("*", "*", SubHandling.ALLOW)
    assert visible([anybody], STRANGER) == set(K)
    one = OperatorPolicy.parse("*", str(STRANGER), SubHandling.ALLOW, [K.PLACE])
    assert visible([ACTIVITY, one], STRANGER) == {K.PLACE}
    assert visible([ACTIVITY, one], BOB) == {K.ACTIVITY}


def test_a_policy_is_for_the_presentities_of_its_pattern_only() -> None:
    sales = OperatorPolicy.parse("sip:sales-*@example.com", "*", SubHandling.ALLOW)
    assert visible([sales], BOB) == set()
    assert sales.concerns(PresentityKey("sip:sales-7@example.com"))
    assert effective(None, [sales], KEY) is None


def test_the_presentity_decides_over_the_policy() -> None:
    blocked = RuleSet().with_decision(BOB, SubHandling.BLOCK)
    assert visible([ACTIVITY], BOB, blocked) == set()
    assert visible([ACTIVITY], Uri.parse("sip:carol@example.com"), blocked) == {K.ACTIVITY}


@pytest.mark.parametrize("pattern", ["", "bob", "sip:b*@example.com", "sip:*@*", "mailto:x"])
def test_patterns_that_rules_have_no_words_for_are_refused(pattern: str) -> None:
    with pytest.raises(ParseError):
        watchers(pattern)


async def test_the_gateway_lets_see_what_a_policy_allows_and_the_agent_is_given_the_same() -> None:
    bench = Bench(policies=(ACTIVITY,))
    await bench.gateway.publish(
        bench.alice, [Attribute(K.ACTIVITY, Activity.BUSY), Attribute(K.PLACE, Place.OFFICE)]
    )
    reference = Reference("/bayeux/app_bob/presence", "s")
    await bench.gateway.subscribe(bench.bob, ALICE, frozenset(), reference, "Desk app")
    (told,) = bench.sink.take()
    assert told["notifySubscription"]["decisions"] == [
        {"presenceAttribute": "Activity", "decision": True}
    ]
    seen = await bench.gateway.get_presence(bench.bob, ALICE, frozenset())
    assert [a.value for a in seen] == [Activity.BUSY]
    rules = bench.gateway.rules(bench.alice.key)
    assert rules is not None and set(
        kinds_visible(evaluate(rules, BOB, AT, SubHandling.CONFIRM))
    ) == {K.ACTIVITY}

    # What is not named stays as the policy had it.
    await bench.gateway.update_authorization(bench.alice, BOB, [(K.PLACE, True)])
    seen = await bench.gateway.get_presence(bench.bob, ALICE, frozenset())
    assert [a.value for a in seen] == [Activity.BUSY, Place.OFFICE]
    await bench.gateway.update_authorization(
        bench.alice, BOB, [(K.ACTIVITY, False), (K.PLACE, False)]
    )
    with pytest.raises(NotAuthorized):
        await bench.gateway.get_presence(bench.bob, ALICE, frozenset())


async def test_policies_say_nothing_of_presentities_of_other_servers() -> None:
    bench = Bench(policies=(ACTIVITY,))
    bench.network.here = False
    reference = Reference("/bayeux/app_bob/presence", "s")
    await bench.gateway.subscribe(bench.bob, ALICE, frozenset(), reference, "Desk app")
    assert bench.sink.take() == []
    assert bench.gateway.rules(bench.alice.key) is None
