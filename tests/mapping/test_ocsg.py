"""Documents and attributes: the identities and restorations, exhaustively and by property."""

import itertools
import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sipbridge.errors import DocumentError
from sipbridge.mapping.attributes import (
    Activity,
    Attribute,
    AttributeKind,
    Means,
    MeansType,
    Other,
    Place,
    Privacy,
    Sphere,
    Value,
    fingerprint,
    from_json,
    to_json,
)
from sipbridge.mapping.ocsg import Memory, effective_tables, to_attributes, to_document
from sipbridge.mapping.vocabulary import ACTIVITY, PLACE
from sipbridge.presence import pidf
from sipbridge.presence.model import (
    Basic,
    Capabilities,
    Choice,
    Cipid,
    Contact,
    Device,
    Note,
    OtherInfo,
    Person,
    PlaceIs,
    Presence,
    ServiceDescription,
    StatusIcon,
    TimeOffset,
    Timestamp,
    Token,
    TokenList,
    Tuple,
    UserInput,
)
from sipbridge.presence.namespaces import LOCATION_TYPE, RPID, SIPBRIDGE
from sipbridge.presence.schema import is_valid

FULL = bool(os.environ.get("SIPBRIDGE_FULL"))
AT = datetime(2030, 1, 1, 11, 5, tzinfo=UTC)
ALICE = "sip:alice@example.com"

KINDS = (AttributeKind.ACTIVITY, AttributeKind.PLACE, AttributeKind.PRIVACY, AttributeKind.SPHERE)
LEFT_OUT = (Place.NONE, Privacy.NONE, Sphere.NONE)


def rpid(word: str, text: str | None = None) -> Token:
    return Token(f"{{{RPID}}}{word}", text)


def lt(word: str) -> Token:
    return Token(f"{{{LOCATION_TYPE}}}{word}")


def own(word: str) -> Token:
    return Token(f"{{{SIPBRIDGE}}}{word}")


FOREIGN = Token("{urn:example:foreign}thing")


def there_and_back(*attributes: Attribute) -> tuple[Attribute, ...]:
    document = to_document(attributes, presentity=ALICE, at=AT)
    return to_attributes(pidf.parse(pidf.serialise(document)), at=AT, presentity=ALICE).attributes


def pairs(attributes: tuple[Attribute, ...]) -> list[tuple[str, str]]:
    return [(a.value.name, a.value.value) for a in attributes if isinstance(a.value, Other)]


def value(attributes: tuple[Attribute, ...], kind: AttributeKind) -> object:
    return next((a.value for a in attributes if a.kind is kind), None)


# --- JSON to document to JSON -----------------------------------------------------------------------------


def all_combinations() -> Iterator[tuple[Attribute, ...]]:
    for a, p, v, s in itertools.product(Activity, Place, Privacy, Sphere):
        values: tuple[Value, ...] = (a, p, v, s)
        yield tuple(
            Attribute(kind, word, None, AT) for kind, word in zip(KINDS, values, strict=True)
        )


def test_every_combination_of_the_four_words_is_its_own_image() -> None:
    failures = []
    count = 0
    for attributes in all_combinations():
        count += 1
        document = to_document(attributes, presentity=ALICE, at=AT)
        mapped = to_attributes(document, at=AT, presentity=ALICE).attributes
        if mapped != tuple(a for a in attributes if a.value not in LEFT_OUT):
            failures.append((attributes, mapped))
    assert count == 7040
    assert failures == []


def test_the_documents_written_for_them_are_valid_and_say_the_same_after_a_journey() -> None:
    step = 1 if FULL else 17
    for attributes in itertools.islice(all_combinations(), 0, None, step):
        body = pidf.serialise(to_document(attributes, presentity=ALICE, at=AT))
        assert is_valid(body), body.decode()
        mapped = to_attributes(pidf.parse(body), at=AT, presentity=ALICE).attributes
        assert mapped == tuple(a for a in attributes if a.value not in LEFT_OUT)


# --- document to JSON to document -------------------------------------------------------------------------

ACTIVITIES = [
    t
    for t in (*ACTIVITY.pairs, *ACTIVITY.folds)
    if not t.startswith("x:") and t not in ("other", "unknown")
]
PLACES = [t for t in (*PLACE.pairs, *PLACE.folds) if not t.startswith("x:") and t != "unknown"]


def activities(*tokens: Token) -> Person:
    return Person("p1", activities=(TokenList(tokens=tokens),))


def places(*tokens: Token) -> Person:
    return Person("p1", place_types=(TokenList(tokens=tokens),))


def spheres(*tokens: Token) -> Person:
    return Person("p1", spheres=(TokenList(tokens=tokens),))


def persons() -> Iterator[Person]:
    """Every activity and place alone and in ordered pairs, every privacy, every audio, and so on."""
    for n in (1, 2):
        for words in itertools.permutations(ACTIVITIES, n):
            yield activities(*map(rpid, words))
        for words in itertools.permutations(PLACES, n):
            yield places(*map(lt, words))
    for n in range(4):
        for media in itertools.combinations(("audio", "text", "video"), n):
            yield Person("p1", privacy=(TokenList(tokens=tuple(map(rpid, media))),))
    for audio in ("noisy", "ok", "quiet", "unknown"):
        around = (PlaceIs(audio=(rpid(audio),)),)
        yield Person("p1", place_is=around)
        yield Person("p1", place_is=around, place_types=(TokenList(tokens=(lt("office"),)),))
    for token in (rpid("other", "gaming"), rpid("unknown"), FOREIGN):
        yield activities(token)
    for token in (rpid("other", "cellar"), lt("unknown"), FOREIGN):
        yield places(token)
    for token in (rpid("home"), rpid("work"), rpid("unknown"), FOREIGN):
        yield spheres(token)


def said(document: Presence) -> tuple[set[tuple[object, ...]], bool]:
    """Token sets by element, and basic."""
    tokens: set[tuple[object, ...]] = set()
    for person in document.persons:
        for name in ("activities", "place_types", "privacy", "spheres"):
            for element in getattr(person, name):
                tokens.add((name,))
                tokens |= {(name, t.name, t.text) for t in element.tokens}
        for around in person.place_is:
            tokens |= {("audio", t.name) for t in around.audio}
    return tokens, any(t.basic is Basic.OPEN for t in document.tuples)


@pytest.mark.parametrize("basic", list(Basic))
def test_tokens_and_basic_survive_the_way_through_json(basic: Basic) -> None:
    count = invalid = 0
    for person in persons():
        count += 1
        document = Presence(ALICE, (Tuple("t1", basic),), (person,))
        mapped = to_attributes(document, at=AT, presentity=ALICE).attributes
        again = to_document(mapped, presentity=ALICE, at=AT)
        assert said(again) == said(document), pairs(mapped)
        if FULL or count % 11 == 0:
            has_lunch = rpid("lunch") in [t for a in person.activities for t in a.tokens]
            valid = is_valid(pidf.serialise(again))
            invalid += not valid
            assert valid is not has_lunch
    assert count == 2415
    if FULL:
        assert invalid == 49


# --- one document, all views --------------------------------------------------------------------------

WORKED = b"""<presence xmlns="urn:ietf:params:xml:ns:pidf"
    xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"
    xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid"
    xmlns:lt="urn:ietf:params:xml:ns:location-type" entity="sip:alice@example.com">
  <tuple id="t7f3a"><status><basic>open</basic></status>
    <contact priority="0.8">tel:+15550100</contact></tuple>
  <dm:person id="p7f3a">
    <rpid:activities until="2030-01-01T12:00:00Z">
      <rpid:note xml:lang="en">team lunch</rpid:note><rpid:lunch/><rpid:away/></rpid:activities>
    <rpid:place-type><lt:cafe/></rpid:place-type>
    <rpid:privacy><rpid:text/></rpid:privacy>
    <rpid:user-input idle-threshold="600" last-input="2030-01-01T10:45:00Z">idle</rpid:user-input>
    <dm:timestamp>2030-01-01T11:00:00Z</dm:timestamp>
  </dm:person>
</presence>"""
NOON = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
ELEVEN = datetime(2030, 1, 1, 11, 0, tzinfo=UTC)


def test_the_worked_document_at_five_past_eleven() -> None:
    mapped = to_attributes(pidf.parse(WORKED), at=AT, presentity=ALICE)
    got = mapped.attributes
    assert got[0] == Attribute(AttributeKind.ACTIVITY, Activity.MEAL, "team lunch", ELEVEN)
    assert value(got, AttributeKind.PLACE) is Place.RESTAURANT
    assert value(got, AttributeKind.PRIVACY) is Privacy.QUIET
    assert value(got, AttributeKind.SPHERE) is None
    assert value(got, AttributeKind.COMMUNICATION) == (
        Means("tel:+15550100", 0.8, MeansType.PHONE),
    )
    assert sorted(pairs(got)) == sorted(
        [
            ("rpid.activity", "lunch"),
            ("rpid.activity", "away"),
            ("rpid.activity.until", "2030-01-01T12:00:00Z"),
            ("rpid.place-type", "cafe"),
            ("rpid.user-input", "idle"),
            ("rpid.user-input.last-input", "2030-01-01T10:45:00Z"),
            ("rpid.user-input.idle-threshold", "600"),
        ]
    )
    assert mapped.next_change == NOON


def test_the_worked_document_at_noon_without_any_notify() -> None:
    mapped = to_attributes(pidf.parse(WORKED), at=NOON, presentity=ALICE)
    assert mapped.attributes[0] == Attribute(AttributeKind.ACTIVITY, Activity.AVAILABLE, None, NOON)
    assert "rpid.activity" not in dict(pairs(mapped.attributes))
    assert mapped.next_change is None


# --- any document -------------------------------------------------------------------------------------

TEXT = st.text(
    st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="\ufffe\uffff"),
    max_size=12,
)
WORD = TEXT.map(str.strip).filter(bool)


def stamp(hour: int) -> Timestamp:
    at = datetime(2030, 1, 1, hour, tzinfo=UTC)
    return Timestamp(at.isoformat().replace("+00:00", "Z"), at)


STAMPS = st.none() | st.sampled_from([8, 10, 11, 13, 15]).map(stamp)
NOTES = st.lists(st.builds(Note, WORD, st.sampled_from([None, "en", "de"])), max_size=2).map(tuple)
NO_NOTES = st.just(())


def token_lists(
    tokens: st.SearchStrategy[Token],
    least: int = 0,
    most: int = 3,
    notes: st.SearchStrategy[tuple[Note, ...]] = NOTES,
) -> st.SearchStrategy[TokenList]:
    lists = st.lists(tokens, min_size=least, max_size=most, unique=True).map(tuple)
    return st.builds(
        lambda since, until, held, said: TokenList(since, until, tokens=held, notes=said),
        STAMPS,
        STAMPS,
        lists,
        notes,
    )


ACTIVITY_TOKENS = st.sampled_from(
    [rpid(t) for t in [*ACTIVITIES, "unknown"] if t != "lunch"]
    + [own(t) for t in ("do-not-disturb", "other", "none", "be-right-back", "quiet")]
    + [FOREIGN, rpid("other", "D.N.D.")]
) | WORD.map(lambda text: rpid("other", text))
PLACE_TOKENS = st.sampled_from(
    [lt(t) for t in [*PLACES, "unknown", "moon-base"]]
    + [own("station"), own("other"), FOREIGN, rpid("home"), rpid("office")]
)
PRIVACY_TOKENS = st.sampled_from(
    [rpid("audio"), rpid("text"), rpid("video"), rpid("unknown"), FOREIGN, own("other")]
)
SPHERE_TOKENS = st.sampled_from(
    [rpid("home"), rpid("work"), rpid("unknown"), FOREIGN, own("other")]
)
MOOD_TOKENS = st.sampled_from([rpid("happy"), rpid("sad"), FOREIGN]) | WORD.map(
    lambda text: rpid("other", text)
)
PLACE_ELEMENTS = token_lists(PLACE_TOKENS, 1) | token_lists(
    WORD.map(lambda text: rpid("other", text)), 1, 1
)
PRIVACY_ELEMENTS = token_lists(PRIVACY_TOKENS, notes=NO_NOTES)
SPHERE_ELEMENTS = token_lists(SPHERE_TOKENS, 0, 1, NO_NOTES) | WORD.map(
    lambda text: TokenList(text=text)
)


def medium(*words: str) -> st.SearchStrategy[tuple[Token, ...]]:
    return st.sampled_from([(), *((rpid(word),) for word in words)])


SURROUNDINGS = st.builds(
    lambda audio, video, text, since, until: PlaceIs(
        since, until, audio=audio, video=video, medium_text=text
    ),
    medium("quiet", "noisy", "ok", "unknown"),
    medium("dark", "ok"),
    medium("ok"),
    STAMPS,
    STAMPS,
)


def some(strategy: st.SearchStrategy[object], most: int = 1) -> st.SearchStrategy[object]:
    return st.lists(strategy, max_size=most).map(tuple)


USER_INPUT = st.none() | st.builds(
    UserInput, st.sampled_from(["active", "idle"]), st.sampled_from([None, "600"]), STAMPS
)
PERSONS = st.builds(
    Person,
    st.sampled_from(["p1", "p2"]),
    activities=some(token_lists(ACTIVITY_TOKENS), 2),
    moods=some(token_lists(MOOD_TOKENS, 1)),
    place_is=some(SURROUNDINGS),
    place_types=some(PLACE_ELEMENTS, 2),
    privacy=some(PRIVACY_ELEMENTS),
    spheres=some(SPHERE_ELEMENTS),
    status_icons=some(
        st.builds(lambda since: StatusIcon(since, uri="http://example.com/i.png"), STAMPS)
    ),
    time_offsets=some(
        st.builds(lambda d: TimeOffset(minutes="120", description=d), st.none() | WORD)
    ),
    user_input=USER_INPUT,
    classes=some(WORD),
    cipid=st.none()
    | st.builds(Cipid, card=st.none() | st.just("http://x/c"), display_name=st.none() | WORD),
    overriding_willingness=st.sampled_from([None, *Basic]),
    other_info=some(st.builds(OtherInfo, WORD, TEXT), 2),
    notes=NOTES,
    timestamp=STAMPS,
)
CONTACTS = st.none() | st.builds(
    Contact,
    st.sampled_from(
        ["sip:a@x", "sip:b@x", "tel:+1", "mailto:a@x", "pres:a@x", "sms:+1", "xmpp:a@x"]
    ),
    st.sampled_from([None, "0.5", "1", "0.125"]),
)
FEATURES = st.lists(
    st.tuples(
        st.sampled_from(["audio", "video", "message", "text", "automata"]),
        st.sampled_from(["true", "false"]),
    )
    | st.just(("duplex", "full,half")),
    max_size=3,
    unique_by=lambda pair: pair[0],
)
SERVICES = st.sampled_from(
    [
        ServiceDescription("org.openmobilealliance:IM-session", "1.0"),
        ServiceDescription("x:y/z", "2.0"),
    ]
)


def choices(*words: Token) -> st.SearchStrategy[Choice | None]:
    return st.sampled_from([None, *(Choice((word,)) for word in words)])


TUPLES = st.builds(
    Tuple,
    st.sampled_from(["t1", "t2", "t3"]),
    basic=st.sampled_from([None, *Basic]),
    contact=CONTACTS,
    notes=NOTES,
    timestamp=STAMPS,
    device_ids=some(st.just("urn:uuid:1")),
    classes=some(WORD),
    privacy=some(PRIVACY_ELEMENTS),
    relationship=choices(rpid("self"), rpid("friend"), rpid("other", "x"), FOREIGN),
    service_class=choices(rpid("electronic"), rpid("postal"), FOREIGN),
    capabilities=st.none() | FEATURES.map(lambda f: Capabilities(supported=tuple(f))),
    service_descriptions=some(SERVICES),
)


def address(service: Tuple) -> str | None:
    if service.contact is not None:
        return service.contact.uri
    return ALICE if service.capabilities or service.service_descriptions else None


DOCUMENTS = st.builds(
    Presence,
    st.just(ALICE),
    st.lists(TUPLES, max_size=3, unique_by=(lambda t: t.id, address)).map(tuple),
    some(PERSONS, 2),
    some(st.builds(Device, st.just("d1"), st.just("urn:uuid:2"), USER_INPUT, notes=NOTES)),
    NOTES,
)
TIMES = st.sampled_from([7, 9, 10, 12, 14, 16]).map(lambda hour: AT.replace(hour=hour))

often = settings(
    max_examples=2000 if FULL else 120,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
ID = re.compile(r"\[.*\]", re.DOTALL)


def comparable(attributes: tuple[Attribute, ...], document: Presence) -> set[object]:
    """What has to survive: all but ids and `unknown`, which gives way to anything else said."""
    single = len(document.persons) <= 1
    kept: set[object] = set()
    for a in attributes:
        if not isinstance(a.value, Other):
            kept.add(a.fingerprint)
        elif a.value == Other("rpid.activity", "unknown"):
            continue
        elif single and not a.value.name.startswith(("pidf.contact[", "pidf.basic[")):
            kept.add((ID.sub("[]", a.value.name), a.value.value))
    return kept


@pytest.mark.timeout(300 if FULL else 180)
@often
@given(DOCUMENTS, TIMES)
def test_attributes_of_any_document_publish_a_valid_one_that_says_the_same(
    document: Presence, at: datetime
) -> None:
    mapped = to_attributes(document, at=at, presentity=ALICE).attributes
    for attribute in mapped:
        read = from_json(json.loads(json.dumps(to_json(attribute))), "presence[0]")
        assert read.fingerprint == attribute.fingerprint
    body = pidf.serialise(to_document(mapped, presentity=ALICE, at=at))
    assert is_valid(body), body.decode()
    again = pidf.parse(body)
    assert again.deviations == ()
    mapped_again = to_attributes(again, at=at, presentity=ALICE).attributes
    assert comparable(mapped_again, document) == comparable(mapped, document)


@often
@given(DOCUMENTS, TIMES)
def test_nothing_happens_before_the_next_change(document: Presence, at: datetime) -> None:
    mapped = to_attributes(document, at=at, presentity=ALICE)
    when = mapped.next_change
    assert when is None or when > at
    just_before = (when or at + timedelta(days=400)) - timedelta(microseconds=1)
    then = to_attributes(document, at=just_before, presentity=ALICE)
    assert fingerprint(then.attributes) == fingerprint(mapped.attributes)
    assert then.next_change == when


# --- any attributes -----------------------------------------------------------------------------------

CONTACT_URIS = st.sampled_from(
    ["sip:a@x", "sips:a@x", "tel:+15550100", "mailto:a@x", "pres:a@x", "http://x/y", "xmpp:a@x"]
)
PRIORITIES = st.integers(0, 1000).map(lambda n: n / 1000)
MEANS = st.lists(st.builds(Means, CONTACT_URIS, PRIORITIES, st.sampled_from(MeansType)), max_size=6)
RESERVED = st.sampled_from(
    sorted(
        {name.replace("[]", "[t1]") for name in effective_tables()["reserved"]}  # type: ignore[attr-defined]
        | {"rpid.scheduled", "rpid.unheard-of", "caps", "my.own"}
    )
)
VALUES = TEXT | st.sampled_from(
    [
        "lunch",
        "{urn:x}y",
        "open",
        "closed",
        "audio,text",
        "other:abc",
        "2030-01-01T12:00:00Z",
        "activities/vacation;from=2031-01-01T00:00:00Z",
        "activities/unknown,away;from=2031-01-01T00:00:00Z",
        "privacy/video,audio;from=2031-01-01T00:00:00Z",
        "sphere/home,work;from=2031-01-01T00:00:00Z",
        "idle",
        "600",
        "-90",
        "sip:a@x",
        "{urn:ietf:params:xml:ns:pidf:rpid}busy",
        "{urn:ietf:params:xml:ns:pidf:rpid}nonsense",
        "{bad namespace}x",
        "{}x",
        "audio,video=false,duplex=full|half",
    ]
)


def one(
    kind: AttributeKind, values: type[Activity] | type[Place] | type[Privacy] | type[Sphere]
) -> st.SearchStrategy[list[Attribute]]:
    return st.lists(
        st.builds(Attribute, st.just(kind), st.sampled_from(values), st.none() | TEXT, st.just(AT)),
        max_size=1,
    )


OTHERS = st.lists(
    st.builds(Other, RESERVED, VALUES).map(lambda o: Attribute(AttributeKind.OTHER, o, None, AT)),
    max_size=6,
)
LISTS = st.tuples(
    one(AttributeKind.ACTIVITY, Activity),
    one(AttributeKind.PLACE, Place),
    one(AttributeKind.PRIVACY, Privacy),
    one(AttributeKind.SPHERE, Sphere),
    MEANS.map(lambda m: [Attribute(AttributeKind.COMMUNICATION, tuple(m), None, AT)]),
    OTHERS,
).map(lambda parts: tuple(itertools.chain(*parts)))


@pytest.mark.timeout(300 if FULL else 180)
@often
@given(LISTS)
def test_any_list_of_attributes_gives_a_valid_document(attributes: tuple[Attribute, ...]) -> None:
    body = pidf.serialise(to_document(attributes, presentity=ALICE, at=AT))
    if b"lunch/>" not in body:
        assert is_valid(body), body.decode()
    document = pidf.parse(body)
    assert any(t.basic is not None for t in document.tuples)
    to_attributes(document, at=AT, presentity=ALICE)


@often
@given(st.lists(st.tuples(WORD, TEXT), max_size=6, unique=True))
def test_own_names_come_back_unchanged(given_pairs: list[tuple[str, str]]) -> None:
    sent = [Attribute(AttributeKind.OTHER, Other(f"my.{n}", v)) for n, v in given_pairs]
    assert sorted(pairs(there_and_back(*sent))) == sorted((f"my.{n}", v) for n, v in given_pairs)


@often
@given(MEANS)
def test_means_come_back_sorted(means: list[Means]) -> None:
    got = value(
        there_and_back(Attribute(AttributeKind.COMMUNICATION, tuple(means), None, AT)),
        AttributeKind.COMMUNICATION,
    )
    wanted = sorted(set(means), key=lambda m: (-m.priority, m.contact, m.type.value))
    assert got == (tuple(wanted) or None)


# --- when it changed ----------------------------------------------------------------------------------


def busy(at: Timestamp | None, word: str = "busy", **more: object) -> Presence:
    element = TokenList(tokens=(rpid(word),), **more)  # type: ignore[arg-type]
    return Presence(ALICE, (), (Person("p1", activities=(element,), timestamp=at),))


def changed(document: Presence, at: datetime, memory: Memory | None = None) -> datetime | None:
    mapped = to_attributes(document, at=at, presentity=ALICE, memory=memory)
    return mapped.attributes[0].last_change


def test_the_timestamp_of_the_container_counts_else_the_arrival() -> None:
    assert changed(busy(stamp(10)), AT) == stamp(10).at
    assert changed(busy(None), AT) == AT


def test_a_timestamp_from_the_future_is_replaced_and_reported() -> None:
    explain: list[dict[str, object]] = []
    to_attributes(busy(stamp(15)), at=AT, presentity=ALICE, explain=explain)
    assert changed(busy(stamp(15)), AT) == AT
    assert any(line.get("dropped") == "time in the future" for line in explain)


def test_a_refresh_with_the_same_value_does_not_move_the_time() -> None:
    memory = Memory()
    assert changed(busy(None), AT, memory) == AT
    assert changed(busy(None), AT + timedelta(hours=1), memory) == AT
    assert changed(busy(stamp(11)), AT + timedelta(hours=2), memory) == AT
    later = AT + timedelta(hours=3)
    assert changed(busy(None, "away"), later, memory) == later


def test_the_bound_that_made_a_value_current_moves_the_time() -> None:
    document = busy(stamp(8), since=stamp(10), until=stamp(13))
    memory = Memory()
    assert changed(document, AT, memory) == stamp(10).at
    at_14 = AT.replace(hour=14)
    assert changed(document, at_14, memory) == stamp(13).at
    assert changed(document, at_14 + timedelta(hours=1), memory) == stamp(13).at


def test_each_kind_keeps_its_own_time_through_a_document() -> None:
    attributes = [
        Attribute(AttributeKind.ACTIVITY, Activity.BUSY, None, AT - timedelta(hours=3)),
        Attribute(AttributeKind.PLACE, Place.HOME, None, AT - timedelta(hours=2)),
        Attribute(AttributeKind.SPHERE, Sphere.HOME, None, AT - timedelta(minutes=1.5)),
        Attribute(AttributeKind.PRIVACY, Privacy.PUBLIC, None, AT - timedelta(microseconds=7)),
        Attribute(AttributeKind.COMMUNICATION, (Means("tel:1", 0.5, MeansType.PHONE),), None, AT),
    ]
    got = there_and_back(*attributes)
    assert {a.kind: a.last_change for a in got} == {a.kind: a.last_change for a in attributes}


def test_available_keeps_its_time_beside_a_newer_place() -> None:
    early = AT - timedelta(hours=3)
    got = there_and_back(
        Attribute(AttributeKind.ACTIVITY, Activity.AVAILABLE, None, early),
        Attribute(AttributeKind.PLACE, Place.HOME, None, AT),
    )
    assert got[0].last_change == early


# --- explanations and tables --------------------------------------------------------------------------


def test_explanations_name_container_element_token_row_and_window() -> None:
    explain: list[dict[str, object]] = []
    to_attributes(pidf.parse(WORKED), at=AT, presentity=ALICE, explain=explain)
    meal = next(line for line in explain if line["value"] == "Meal")
    assert meal["container"] == "p7f3a"
    assert meal["element"] == "activities"
    assert meal["token"] == "lunch"
    assert "fold" in str(meal["row"])
    assert meal["window"] == "/2030-01-01T12:00:00Z"
    assert {line["kind"] for line in explain} >= {"Activity", "Place", "Privacy", "Communication"}


def test_what_is_dropped_on_writing_is_explained() -> None:
    explain: list[dict[str, object]] = []
    to_document(
        [
            Attribute(AttributeKind.PRIVACY, Privacy.PUBLIC),
            Attribute(AttributeKind.OTHER, Other("rpid.privacy", "audio")),
        ],
        presentity=ALICE,
        at=AT,
        explain=explain,
    )
    assert explain == [
        {"pair": "rpid.privacy", "value": "audio", "dropped": "the value itself wins"}
    ]


def test_the_tables_are_json_and_complete() -> None:
    tables = json.loads(json.dumps(effective_tables()))
    tokens = [row["token"] for row in tables["activity"]["tokens"]]
    assert len(tokens) == 30
    assert tokens[:3] == ["permanent-absence", "x:do-not-disturb", "on-the-phone"]
    assert tokens[-1] == "unknown"
    words = {row["word"] for row in tables["activity"]["tokens"]}
    assert words == {a.value for a in Activity} - {"Available"}
    assert tables["switches"]["multi"] is False


# --- documents of others ------------------------------------------------------------------------------

DRAFT = """<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:alice@example.com"
    xmlns:r="{namespace}" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model">
  <tuple id="t"><status><basic> OPEN </basic></status></tuple>
  <dm:person>{content}</dm:person></presence>"""
DRAFT_NAMESPACES = (RPID, "urn:ietf:params:xml:ns:pidf:rpid:rpid-person")


@pytest.mark.parametrize("namespace", DRAFT_NAMESPACES)
@pytest.mark.parametrize(
    ("content", "kind", "expected"),
    [
        ("<r:activity>meeting</r:activity>", KINDS[0], Activity.MEETING),
        (
            "<r:activities><r:activity>on-the-phone</r:activity></r:activities>",
            KINDS[0],
            Activity.ON_THE_PHONE,
        ),
        ("<r:activities>busy</r:activities>", KINDS[0], Activity.BUSY),
        ("<r:placetype><r:home/></r:placetype>", KINDS[1], Place.HOME),
        ("<r:place-type><r:office/></r:place-type>", KINDS[1], Place.OFFICE),
        ("<r:place-type><r:cycle/></r:place-type>", KINDS[1], Place.OTHER),
        ("<r:place-is><r:audio>quiet</r:audio></r:place-is>", KINDS[1], Place.QUIET),
        ("<r:privacy><r:public/></r:privacy>", KINDS[2], Privacy.PUBLIC),
        ("<r:privacy>private</r:privacy>", KINDS[2], Privacy.PRIVATE),
        ("<r:privacy><r:quiet/></r:privacy>", KINDS[2], Privacy.QUIET),
        ("<r:sphere>Work</r:sphere>", KINDS[3], Sphere.WORK),
        ("<r:sphere><r:home/></r:sphere>", KINDS[3], Sphere.HOME),
    ],
)
def test_forms_of_the_drafts_mean_the_homonymous_word(
    namespace: str, content: str, kind: AttributeKind, expected: Value
) -> None:
    body = DRAFT.format(namespace=namespace, content=content).encode()
    got = to_attributes(pidf.parse(body), at=AT, presentity=ALICE).attributes
    assert value(got, kind) == expected
    assert is_valid(pidf.serialise(to_document(got, presentity=ALICE, at=AT)))


CORPUS = Path(
    os.environ.get("SIPBRIDGE_CORPUS", Path(__file__).parents[2].parent / "shared" / "corpus")
)


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus of foreign documents is not here")
def test_documents_met_in_the_wild_are_mapped_and_published_again() -> None:
    seen = 0
    for path in sorted((CORPUS / "pidf").glob("*.xml")):
        try:
            document = pidf.parse(path.read_bytes())
        except DocumentError:
            continue
        seen += 1
        entity = document.entity or ALICE
        mapped = to_attributes(document, at=AT, presentity=entity).attributes
        body = pidf.serialise(to_document(mapped, presentity=entity, at=AT))
        again = to_attributes(pidf.parse(body), at=AT, presentity=entity).attributes
        assert comparable(again, document) == comparable(mapped, document), path.name
        assert is_valid(body) or b"lunch/>" in body, path.name
    assert seen > 40


@often
@given(
    token_lists(ACTIVITY_TOKENS, 1),
    st.sampled_from(list(Basic)),
    TIMES,
    st.lists(TIMES, max_size=4),
)
def test_what_was_published_again_comes_and_goes_at_the_same_times(
    element: TokenList, basic: Basic, at: datetime, later: list[datetime]
) -> None:
    document = Presence(ALICE, (Tuple("t", basic),), (Person("p", activities=(element,)),))
    mapped = to_attributes(document, at=at, presentity=ALICE).attributes
    again = to_document(mapped, presentity=ALICE, at=at)
    for then in later:
        if then >= at:
            original = to_attributes(document, at=then, presentity=ALICE)
            published = to_attributes(again, at=then, presentity=ALICE)
            if rpid("unknown") not in element.tokens:
                assert published.attributes[0].value == original.attributes[0].value
                assert published.next_change == original.next_change
