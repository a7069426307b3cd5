"""Rules: conditions, combination, edits, and the store's JSON."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipbridge.errors import ParseError
from sipbridge.presence.model import Extension
from sipbridge.presence.rules import (
    ALL,
    ANY,
    EVERYTHING,
    NOTHING,
    Conditions,
    Except,
    Many,
    Period,
    Permission,
    Provide,
    Rule,
    RuleSet,
    Selection,
    SubHandling,
    Transformations,
    UserInputDetail,
    evaluate,
    next_change,
)
from sipbridge.uri import Uri

AT = datetime(2024, 5, 1, 12, tzinfo=UTC)
BOB = Uri.parse("sip:bob@example.com")
EVE = Uri.parse("sip:eve@example.com")
ANONYMOUS = Uri.parse("sip:anonymous@anonymous.invalid")
ACTIVITIES = Transformations(persons=ALL, provide=frozenset({Provide.ACTIVITIES}))
PLACES = Transformations(persons=ALL, provide=frozenset({Provide.PLACE_TYPE, Provide.PLACE_IS}))


def handling(rules: RuleSet | None, watcher: Uri = BOB, sphere: str | None = None) -> SubHandling:
    return evaluate(rules, watcher, AT, SubHandling.CONFIRM, sphere).sub_handling


def allow(id: str, conditions: Conditions, shown: Transformations = EVERYTHING) -> Rule:
    return Rule(id, conditions, SubHandling.ALLOW, shown)


@pytest.mark.parametrize("rules", [None, RuleSet()])
@pytest.mark.parametrize("default", SubHandling)
def test_without_rules_the_default_counts(rules: RuleSet | None, default: SubHandling) -> None:
    shown = EVERYTHING if default is SubHandling.ALLOW else NOTHING
    assert evaluate(rules, BOB, AT, default) == Permission(default, shown)


@pytest.mark.parametrize(
    ("conditions", "watcher", "expected"),
    [
        (Conditions(), "sip:bob@example.com", True),
        (Conditions(), "sip:anonymous@anonymous.invalid", True),
        (Conditions(one=("sip:bob@example.com",)), "sip:bob@example.com", True),
        (Conditions(one=("sip:bob@example.com",)), "pres:bob@EXAMPLE.com", True),
        (Conditions(one=("sip:bob@example.com",)), "sip:%62ob@example.com;transport=tcp", True),
        (Conditions(one=("sip:bob@example.com",)), "sip:Bob@example.com", False),
        (Conditions(one=("sip:eve@a.com", "sip:bob@example.com")), "sip:bob@example.com", True),
        (Conditions(one=("tel:+1-555-0100",)), "tel:+15550100", True),
        (Conditions(one=("no uri at all",)), "sip:bob@example.com", False),
        (Conditions(many=(Many(),)), "sip:bob@example.com", True),
        (Conditions(many=(Many(),)), "sip:anonymous@anonymous.invalid", False),
        (Conditions(many=(Many("Example.COM"),)), "sip:bob@example.com", True),
        (Conditions(many=(Many("example.com"),)), "sip:bob@sub.example.com", False),
        (Conditions(many=(Many(None, (Except(domain="example.com"),)),)), "sip:b@x.com", True),
        (
            Conditions(many=(Many(None, (Except(domain="example.com"),)),)),
            "sip:b@example.com",
            False,
        ),
        (Conditions(many=(Many(None, (Except(id="sip:bob@x.com"),)),)), "pres:bob@x.com", False),
        (
            Conditions(("sip:bob@x.com",), (Many(None, (Except(id="sip:bob@x.com"),)),)),
            "sip:bob@x.com",
            True,
        ),
        (
            Conditions(unknown=(Extension("{urn:o}anonymous-request", "<a/>"),)),
            "sip:b@x.com",
            False,
        ),
    ],
)
def test_identity_conditions(conditions: Conditions, watcher: str, expected: bool) -> None:
    rules = RuleSet((allow("a", conditions),))
    found = handling(rules, Uri.parse(watcher))
    assert found is (SubHandling.ALLOW if expected else SubHandling.CONFIRM)


@pytest.mark.parametrize(
    ("sphere", "expected"), [("work", True), ("home", False), (None, False), ("Work", False)]
)
def test_a_sphere_condition_needs_that_very_sphere(sphere: str | None, expected: bool) -> None:
    rules = RuleSet((allow("a", Conditions(sphere="work")),))
    assert (handling(rules, sphere=sphere) is SubHandling.ALLOW) == expected


def test_a_period_includes_its_beginning_and_not_its_end() -> None:
    hour = timedelta(hours=1)
    rules = RuleSet((allow("a", Conditions(validity=(Period(AT, AT + hour),))),))

    def at(when: datetime) -> SubHandling:
        return evaluate(rules, BOB, when, SubHandling.BLOCK).sub_handling

    assert at(AT - timedelta(microseconds=1)) is SubHandling.BLOCK
    assert at(AT) is SubHandling.ALLOW
    assert at(AT + hour - timedelta(microseconds=1)) is SubHandling.ALLOW
    assert at(AT + hour) is SubHandling.BLOCK
    assert next_change(rules, AT - hour) == AT
    assert next_change(rules, AT) == AT + hour
    assert next_change(rules, AT + hour) is None
    assert next_change(None, AT) is None


def test_one_of_several_periods_is_enough_and_all_conditions_are_needed() -> None:
    day = timedelta(days=1)
    periods = (Period(AT - 2 * day, AT - day), Period(AT, AT + day))
    both = Conditions(one=(str(BOB),), sphere="work", validity=periods)
    rules = RuleSet((allow("a", both),))
    assert handling(rules, BOB, "work") is SubHandling.ALLOW
    assert handling(rules, EVE, "work") is SubHandling.CONFIRM
    assert handling(rules, BOB, "home") is SubHandling.CONFIRM


def test_rules_that_apply_are_combined_to_the_greatest_and_the_union() -> None:
    rules = RuleSet(
        (
            Rule("a", Conditions(), SubHandling.BLOCK, ACTIVITIES),
            Rule("b", Conditions(one=(str(BOB),)), SubHandling.POLITE_BLOCK, PLACES),
            Rule("c", Conditions(one=(str(EVE),)), SubHandling.ALLOW, EVERYTHING),
        )
    )
    assert evaluate(rules, BOB, AT, SubHandling.ALLOW) == Permission(
        SubHandling.POLITE_BLOCK, ACTIVITIES | PLACES, ("a", "b")
    )


def test_a_rule_without_sub_handling_leaves_the_default() -> None:
    rules = RuleSet((Rule("a", transformations=ACTIVITIES),))
    assert evaluate(rules, BOB, AT, SubHandling.ALLOW) == Permission(
        SubHandling.ALLOW, ACTIVITIES, ("a",)
    )


def test_words_are_ordered_as_the_rfc_orders_them() -> None:
    assert [h.value for h in SubHandling] == ["block", "confirm", "polite-block", "allow"]
    assert [d.value for d in UserInputDetail] == ["false", "bare", "thresholds", "full"]
    assert SubHandling.ALLOW.rank > SubHandling.BLOCK.rank
    assert UserInputDetail.FULL.rank > UserInputDetail.BARE.rank


def test_all_attributes_answers_for_every_permission_but_selects_no_component() -> None:
    shown = Transformations(provide=frozenset({Provide.ALL_ATTRIBUTES}))
    assert all(shown.provides(w) for w in Provide)
    assert shown.provides_element("{urn:x}y")
    assert shown.user_input_detail is UserInputDetail.FULL
    assert not (shown.services or shown.persons or shown.devices)


def test_unknown_elements_are_shown_by_name_or_all() -> None:
    assert Transformations(unknown=frozenset({"{urn:x}y"})).provides_element("{urn:x}y")
    assert not Transformations(unknown=frozenset({"{urn:x}y"})).provides_element("{urn:x}z")
    assert Transformations(unknown=frozenset({ANY})).provides_element("{urn:x}z")


# --- edits ---


def test_a_decision_replaces_the_one_before_and_is_found_by_any_spelling() -> None:
    once = RuleSet().with_decision(BOB, SubHandling.ALLOW, ACTIVITIES)
    twice = once.with_decision(Uri.parse("pres:bob@EXAMPLE.com"), SubHandling.BLOCK)
    assert len(twice.rules) == 1
    found = twice.decision(BOB)
    assert found is not None and found.sub_handling is SubHandling.BLOCK
    assert twice.without(found.id) == RuleSet()
    assert twice.without("another") == twice


@pytest.mark.parametrize(
    "conditions",
    [
        Conditions(),
        Conditions(many=(Many(),)),
        Conditions(many=(Many("example.com"), Many())),
        Conditions(one=(str(BOB), str(EVE))),
        Conditions(one=("pres:bob@example.com",)),
    ],
)
def test_a_block_holds_against_every_other_rule(conditions: Conditions) -> None:
    rules = RuleSet((allow("all", conditions),))
    before = handling(rules, EVE)
    blocked = rules.with_decision(BOB, SubHandling.BLOCK)
    assert handling(blocked, BOB) is SubHandling.BLOCK
    assert handling(blocked, EVE) is before
    assert blocked.with_decision(BOB, SubHandling.BLOCK) == blocked


def test_a_decision_leaves_rules_alone_that_do_not_mean_the_watcher() -> None:
    rules = RuleSet(
        (allow("a", Conditions(one=(str(EVE),))), allow("b", Conditions(many=(Many("x"),))))
    )
    assert rules.with_decision(BOB, SubHandling.BLOCK).rules[:2] == rules.rules


def test_with_rule_keeps_the_place_of_the_rule_it_replaces() -> None:
    rules = RuleSet((Rule("a"), Rule("b"), Rule("c")))
    changed = rules.with_rule(Rule("b", sub_handling=SubHandling.ALLOW))
    assert [r.id for r in changed.rules] == ["a", "b", "c"]
    assert changed.rule("b") == Rule("b", sub_handling=SubHandling.ALLOW)
    assert [r.id for r in rules.with_rule(Rule("d")).rules] == ["a", "b", "c", "d"]


# --- properties ---

words = st.sampled_from(["sip:bob@example.com", "home", "ä ö", "{urn:x}y", ANY, ""])
sets = st.frozensets(words, max_size=2)
extensions = st.lists(st.builds(Extension, words, words), max_size=2).map(tuple)
instants = st.datetimes(timezones=st.just(UTC))
selections = st.builds(Selection, st.booleans(), sets, sets, sets, sets, extensions)
transformations = st.builds(
    Transformations,
    selections,
    selections,
    selections,
    st.frozensets(st.sampled_from(Provide)),
    st.sampled_from(UserInputDetail),
    sets,
    extensions,
)
optional = st.none() | words
excepts = st.lists(st.builds(Except, optional, optional), max_size=2).map(tuple)
conditions = st.builds(
    Conditions,
    st.lists(words, max_size=2).map(tuple),
    st.lists(st.builds(Many, optional, excepts), max_size=2).map(tuple),
    optional,
    st.lists(st.builds(Period, instants, instants), max_size=2).map(tuple),
    extensions,
)
rule_values = st.builds(
    Rule, words, conditions, st.none() | st.sampled_from(SubHandling), transformations, extensions
)
rule_sets = st.builds(RuleSet, st.lists(rule_values, max_size=3).map(tuple))


@given(rule_sets)
def test_json_gives_back_what_was_stored(rules: RuleSet) -> None:
    text = rules.to_json()
    assert RuleSet.from_json(text) == rules
    assert RuleSet.from_json(text.encode()).to_json() == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "3",
        "[3]",
        "[{}]",
        '[{"id": "a", "sub-handling": "perhaps"}]',
        '[{"id": "a", "one": "sip:a@b"}]',
        '[{"id": "a", "one": [3]}]',
        '[{"id": "a", "many": [["x"]]}]',
        '[{"id": "a", "validity": [["2024-01-01"]]}]',
        '[{"id": "a", "transformations": {"provide": ["everything"]}}]',
        '[{"id": "a", "transformations": {"services": []}}]',
        '[{"id": "a", "sphere": {}}]',
    ],
)
def test_what_is_no_rule_set_is_refused_with_our_error(text: str) -> None:
    with pytest.raises(ParseError) as caught:
        RuleSet.from_json(text)
    assert caught.value.field == "rules"


@given(transformations, transformations, transformations)
def test_union_is_a_union(a: Transformations, b: Transformations, c: Transformations) -> None:
    assert (a | b) | c == a | (b | c)
    assert a | a == a
    assert NOTHING | a == a == a | NOTHING


@given(rule_sets, rule_values, st.sampled_from([BOB, EVE, ANONYMOUS]))
def test_another_rule_never_takes_away(rules: RuleSet, more: Rule, watcher: Uri) -> None:
    before = evaluate(rules, watcher, AT, SubHandling.BLOCK)
    after = evaluate(RuleSet((*rules.rules, more)), watcher, AT, SubHandling.BLOCK)
    assert after.sub_handling.rank >= before.sub_handling.rank
    assert after.transformations == before.transformations | after.transformations
