"""An integrator's own tables: what changes, what is refused, and that the example file is right."""

import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sipbridge.errors import ConfigurationError
from sipbridge.mapping import bems, webex
from sipbridge.mapping.attributes import (
    Activity,
    Attribute,
    AttributeKind,
    MeansType,
    Other,
    Place,
    Sphere,
)
from sipbridge.mapping.ocsg import effective_tables, to_attributes, to_document
from sipbridge.mapping.overrides import KEYS, load
from sipbridge.mapping.rows import clark
from sipbridge.mapping.table import DEFAULT, Tables
from sipbridge.presence.model import Basic, Contact, Person, Presence, Token, TokenList, Tuple
from sipbridge.presence.namespaces import RPID

AT = datetime(2030, 1, 1, 11, 5, tzinfo=UTC)
ALICE = "sip:alice@example.com"
EXAMPLE = Path(__file__).parents[2] / "configs" / "mapping.toml"


def document(*words: str) -> Presence:
    tokens = tuple(Token(clark(w, RPID)) for w in words)
    return Presence(
        ALICE, (Tuple("t", Basic.OPEN),), (Person("p", activities=(TokenList(tokens=tokens),)),)
    )


def read(given: Presence, tables: Tables) -> tuple[object, list[str]]:
    mapped = to_attributes(given, at=AT, presentity=ALICE, tables=tables).attributes
    return mapped[0].value, [a.value.value for a in mapped if isinstance(a.value, Other)]


def test_nothing_given_changes_nothing() -> None:
    assert effective_tables(load({})) == effective_tables(DEFAULT)


def test_a_fold_is_read_and_kept_by_a_pair() -> None:
    tables = load({"activity": {"folds": {"presentation": "Meeting"}}})
    assert read(document("presentation"), tables) == (Activity.MEETING, ["presentation"])
    assert read(document("presentation"), DEFAULT)[0] is Activity.PERFORMANCE


def test_a_pair_is_read_and_written() -> None:
    tables = load({"activity": {"pairs": {"vacation": "Holiday"}}})
    assert read(document("vacation"), tables) == (Activity.HOLIDAY, [])
    assert read(document("holiday"), tables) == (Activity.HOLIDAY, ["holiday"])
    made = to_document(
        [Attribute(AttributeKind.ACTIVITY, Activity.HOLIDAY)],
        presentity=ALICE,
        at=AT,
        tables=tables,
    )
    assert made.persons[0].activities[0].tokens == (Token(clark("vacation", RPID)),)


def test_foreign_elements_can_be_given_a_meaning_and_a_rank() -> None:
    name = "{urn:example:a}standup"
    tables = load({"activity": {"folds": {name: "Meeting"}, "order": [name]}})
    assert read(document("permanent-absence", name), tables)[0] is Activity.MEETING
    with_effect = load({"effects": {name: {"webex": "Meeting", "bems": "busy"}}})
    given = document(name)
    assert webex.derive(given, at=AT, tables=with_effect)[0].status == "Meeting"
    assert bems.derive(given, at=AT, tables=with_effect)[0].availability == 6000


def test_schemes_and_services() -> None:
    tables = load({"schemes": {"Skype": "Video"}, "services": {"com.example:Board": "Web"}})
    given = Presence(ALICE, (Tuple("t", Basic.OPEN, Contact("skype:alice")),))
    mapped = to_attributes(given, at=AT, presentity=ALICE, tables=tables).attributes
    means = next(a.value for a in mapped if isinstance(a.value, tuple))
    assert means[0].type is MeansType.VIDEO
    assert tables.services["com.example:board"] is MeansType.WEB


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"surprise": 1}, "surprise"),
        ({"activity": {"surprise": {}}}, "activity.surprise"),
        ({"activity": 5}, "activity"),
        ({"activity": {"folds": {"lunch": "Lunch"}}}, "activity.folds.lunch"),
        ({"activity": {"pairs": {"two words": "Meal"}}}, "activity.pairs.two words"),
        ({"activity": {"folds": {"meal": "Away"}}}, "activity"),
        ({"activity": {"order": "busy"}}, "activity.order"),
        ({"place": {"folds": {"library": 5}}}, "place.folds.library"),
        ({"multi": "yes"}, "multi"),
        ({"order": "alphabetical"}, "order"),
        ({"privacy_quiet": "loud"}, "privacy_quiet"),
        ({"dnd_phrases": ["a", 5]}, "dnd_phrases"),
        ({"schemes": {"tel": "Telephone"}}, "schemes.tel"),
        ({"effects": {"tv": {"webex": "Busy"}}}, "effects.tv.bems"),
        ({"effects": {"tv": {"bems": "busy", "webex": "busy"}}}, "effects.tv.webex"),
        ({"effects": {"tv": {"bems": "busy", "lync": "x"}}}, "effects.tv.lync"),
    ],
)
def test_a_mistake_names_the_full_key(options: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(options)
    assert caught.value.key == key


def test_the_example_file_shows_every_key_with_its_default() -> None:
    options = tomllib.loads(EXAMPLE.read_text())
    assert options.keys() == KEYS
    tables = load(options)
    for name in KEYS - {"activity", "place", "privacy", "sphere", "schemes", "services", "effects"}:
        assert getattr(tables, name) == getattr(DEFAULT, name), name
    assert tables.activity.pairs == DEFAULT.activity.pairs
    assert tables.activity.folds.items() > DEFAULT.activity.folds.items()
    assert tables.place.row("{urn:example:places}hot-desk").word is Place.OFFICE
    assert tables.sphere.row("{urn:example:spheres}on-call").word is Sphere.WORK
