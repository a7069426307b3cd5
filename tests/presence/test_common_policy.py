"""Rule sets as XML: read, written, valid, and never wider than what was understood."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipbridge.errors import DocumentError
from sipbridge.presence.common_policy import parse, serialise
from sipbridge.presence.model import Extension
from sipbridge.presence.rules import (
    ALL,
    ANY,
    Conditions,
    Except,
    Many,
    Period,
    Provide,
    Rule,
    RuleSet,
    Selection,
    SubHandling,
    Transformations,
    UserInputDetail,
    evaluate,
)
from sipbridge.presence.schema import is_valid
from sipbridge.uri import Uri

CORPUS = Path(
    os.environ.get("SIPBRIDGE_CORPUS") or Path(__file__).parents[2].parent / "shared" / "corpus"
)
AT = datetime(2024, 5, 1, 12, tzinfo=UTC)

HEAD = (
    '<c:ruleset xmlns:c="urn:ietf:params:xml:ns:common-policy" xmlns="urn:ietf:params:xml:ns:pres-rules"'
    ' xmlns:o="urn:other"><c:rule id="a">'
)
TAIL = "</c:rule></c:ruleset>"


def rule(inside: str) -> Rule:
    (found,) = parse(f"{HEAD}{inside}{TAIL}".encode()).rules
    return found


def conditions(inside: str) -> Conditions:
    return rule(f"<c:conditions>{inside}</c:conditions>").conditions


def shown(inside: str) -> Transformations:
    return rule(f"<c:transformations>{inside}</c:transformations>").transformations


def test_an_empty_rule_says_nothing() -> None:
    assert rule("") == Rule("a")


def test_conditions() -> None:
    assert conditions(
        "<c:identity><c:one id='sip:a@b'/><c:many domain='x.com'><c:except id='sip:c@x.com'/>"
        "<c:except domain='y.com'/></c:many><c:many/></c:identity><c:sphere value='work'/>"
        "<c:validity><c:from>2024-05-01T12:00:00Z</c:from><c:until>2024-05-01T15:00:00+02:00</c:until>"
        "</c:validity>"
    ) == Conditions(
        ("sip:a@b",),
        (Many("x.com", (Except("sip:c@x.com"), Except(domain="y.com"))), Many()),
        "work",
        (Period(AT, AT.replace(hour=13)),),
    )


@pytest.mark.parametrize(
    "inside",
    [
        "<o:moon phase='full'/>",
        "<c:identity/>",
        "<c:identity><o:other-identity/></c:identity>",
        "<c:identity><c:one id='sip:a@b'><o:only-if/></c:one></c:identity>",
        "<c:identity><c:one/></c:identity>",
        "<c:identity><c:many><o:only-if/></c:many></c:identity>",
        "<c:sphere value='work'/><c:sphere value='home'/>",
        "<c:identity><c:many/></c:identity><c:identity><c:one id='sip:a@b'/></c:identity>",
        "<c:sphere/>",
        "<c:validity/>",
        "<c:validity><c:from>yesterday</c:from><c:until>2034-05-01T12:00:00Z</c:until></c:validity>",
        "<c:validity><c:from>2014-05-01T12:00:00Z</c:from></c:validity>",
        "<c:validity><c:until>2034-05-01T12:00:00Z</c:until><c:from>2014-05-01T12:00:00Z</c:from></c:validity>",
    ],
)
def test_what_is_not_understood_makes_a_rule_apply_to_nobody_and_is_kept(inside: str) -> None:
    body = (
        f"{HEAD}<c:conditions>{inside}</c:conditions><c:actions><sub-handling>allow</sub-handling>"
        f"</c:actions>{TAIL}"
    ).encode()
    rules = parse(body)
    for sphere in ("work", "home", None):
        permission = evaluate(rules, Uri.parse("sip:a@b"), AT, SubHandling.BLOCK, sphere)
        assert permission.sub_handling is SubHandling.BLOCK
    assert parse(serialise(rules)) == rules
    assert rules.rules[0].conditions.unknown


def test_actions() -> None:
    found = rule("<c:actions><sub-handling> polite-block </sub-handling><o:ring/></c:actions>")
    assert found.sub_handling is SubHandling.POLITE_BLOCK
    assert [e.name for e in found.extensions] == ["{urn:other}ring"]


def test_components_are_all_or_chosen() -> None:
    assert shown(
        "<provide-devices><deviceID>urn:x</deviceID><class>c</class></provide-devices>"
        "<provide-persons><all-persons/></provide-persons>"
        "<provide-services><service-uri>sip:a@b</service-uri><service-uri-scheme>SIP"
        "</service-uri-scheme><occurrence-id>t1</occurrence-id><o:service-id>x</o:service-id>"
        "</provide-services>"
    ) == Transformations(
        Selection(classes=frozenset({"c"}), uris=frozenset({"urn:x"})),
        ALL,
        Selection(
            uris=frozenset({"sip:a@b"}),
            schemes=frozenset({"sip"}),
            occurrences=frozenset({"t1"}),
            extensions=(
                Extension(
                    "{urn:other}service-id", '<o:service-id xmlns:o="urn:other">x</o:service-id>'
                ),
            ),
        ),
    )


@pytest.mark.parametrize("word", [w for w in Provide if w is not Provide.ALL_ATTRIBUTES])
@pytest.mark.parametrize(
    ("text", "given"), [("true", True), (" 1 ", True), ("false", False), ("0", False)]
)
def test_every_switch(word: Provide, text: str, given: bool) -> None:
    found = shown(f"<provide-{word}>{text}</provide-{word}>")
    assert found.provide == (frozenset({word}) if given else frozenset())


def test_the_other_permissions() -> None:
    found = shown(
        "<provide-all-attributes/><provide-user-input>thresholds</provide-user-input>"
        "<provide-unknown-attribute ns='urn:x' name='y'>true</provide-unknown-attribute>"
        "<provide-unknown-attribute ns='urn:x' name='z'>false</provide-unknown-attribute>"
        "<x:provide-unknown-attributes xmlns:x='urn:sipbridge:pidf:extension'>true"
        "</x:provide-unknown-attributes><o:provide-aura>true</o:provide-aura>"
    )
    assert found.provide == {Provide.ALL_ATTRIBUTES}
    assert found.user_input is UserInputDetail.THRESHOLDS
    assert found.unknown == {"{urn:x}y", ANY}
    assert [e.name for e in found.extensions] == ["{urn:other}provide-aura"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<ruleset/>",
        b"<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:a@b'/>",
        f"{HEAD}<c:actions><sub-handling>perhaps</sub-handling></c:actions>{TAIL}".encode(),
        f"{HEAD}<c:transformations><provide-mood>maybe</provide-mood></c:transformations>{TAIL}".encode(),
        f"{HEAD}<c:transformations><provide-user-input>true</provide-user-input>"
        f"</c:transformations>{TAIL}".encode(),
        f"{HEAD}<c:transformations><provide-unknown-attribute>true</provide-unknown-attribute>"
        f"</c:transformations>{TAIL}".encode(),
        f"{HEAD}{TAIL}".replace(' id="a"', "").encode(),
        f"{HEAD}</c:rule><c:rule id='a'>{TAIL}".encode(),
    ],
)
def test_what_is_no_rule_set_is_refused(body: bytes) -> None:
    with pytest.raises(DocumentError):
        parse(body)


# --- the way back ---

names = st.sampled_from(["sip:a@example.com", "a<&>\"'b", "ä"])
elements = st.sampled_from(
    [(), (Extension("{urn:o}e", '<o:e xmlns:o="urn:o"></o:e>'), Extension("e", "<e>x</e>"))]
)
sets = st.frozensets(names, max_size=2)
instants = st.datetimes(datetime(1000, 1, 1), datetime(9000, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def selections(
    uris: st.SearchStrategy[frozenset[str]], schemes: bool
) -> st.SearchStrategy[Selection]:
    chosen = (
        st.frozensets(st.sampled_from(["sip", "tel"])) if schemes else st.just(frozenset[str]())
    )
    return st.just(ALL) | st.builds(
        Selection,
        classes=sets,
        occurrences=sets,
        uris=uris,
        schemes=chosen,
        extensions=elements,
    )


nothing = st.just(frozenset[str]())
transformations = st.builds(
    Transformations,
    selections(sets, False),
    selections(nothing, False),
    selections(sets, True),
    st.frozensets(st.sampled_from(Provide)),
    st.sampled_from(UserInputDetail),
    st.frozensets(st.sampled_from([ANY, "{urn:x}y", "{urn:x}z"])),
    elements,
)
optional = st.none() | names
rule_sets = st.lists(
    st.builds(
        Rule,
        st.sampled_from(["a", "b", "c", "d"]),
        st.builds(
            Conditions,
            st.lists(names, max_size=2).map(tuple),
            st.lists(
                st.builds(
                    Many,
                    optional,
                    st.lists(st.builds(Except, optional, optional), max_size=2).map(tuple),
                ),
                max_size=2,
            ).map(tuple),
            optional,
            st.lists(st.builds(Period, instants, instants), max_size=2).map(tuple),
        ),
        st.none() | st.sampled_from(SubHandling),
        transformations,
        elements,
    ),
    max_size=3,
    unique_by=lambda r: r.id,
).map(lambda rules: RuleSet(tuple(rules)))


@given(rule_sets)
def test_what_is_written_is_read_back(rules: RuleSet) -> None:
    assert parse(serialise(rules)) == rules


def test_what_we_write_is_valid() -> None:
    rules = RuleSet().with_decision(
        Uri.parse("sip:bob@example.com"),
        SubHandling.ALLOW,
        Transformations(
            ALL,
            ALL,
            Selection(schemes=frozenset({"sip"})),
            frozenset(Provide),
            UserInputDetail.FULL,
            frozenset({ANY, "{urn:x}y"}),
        ),
    )
    many = Conditions(
        many=(Many(None, (Except("sip:e@b"),)),), sphere="work", validity=(Period(AT, AT),)
    )
    rules = rules.with_rule(Rule("everybody", many, SubHandling.CONFIRM)).with_rule(Rule("empty"))
    assert is_valid(serialise(rules))
    assert is_valid(serialise(RuleSet()))


@pytest.mark.skipif(not (CORPUS / "pidf").is_dir(), reason="no corpus here")
@pytest.mark.parametrize("name", ["rfc5025-ruleset.xml", "oma-pres-rules.xml"])
def test_rule_sets_from_elsewhere(name: str) -> None:
    rules = parse((CORPUS / "pidf" / name).read_bytes())
    assert [r.id for r in rules.rules] == ["a"]
    permission = evaluate(rules, Uri.parse(rules.rules[0].conditions.one[0]), AT, SubHandling.BLOCK)
    assert permission.sub_handling is SubHandling.ALLOW
    assert permission.transformations.provides(Provide.ACTIVITIES)
    again = serialise(rules)
    assert parse(again) == rules and is_valid(again)
