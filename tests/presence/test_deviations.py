"""The table of deviation codes and the notebook."""

import re
from pathlib import Path

import sipbridge.presence
from sipbridge.presence import markup
from sipbridge.presence.deviations import DEVIATIONS, MAX_DEVIATIONS, Notebook

PACKAGE = Path(sipbridge.presence.__file__).parent
ELEMENT = markup.parse(b"<a><b/></a>")


def test_every_code_in_the_sources_is_in_the_table_and_the_other_way_round() -> None:
    sources = "".join(
        path.read_text() for path in PACKAGE.glob("*.py") if path.name != "deviations.py"
    )
    noted = set(re.findall(r'"([a-z]+(?:-[a-z]+)+|doctype)"', sources)) & set(DEVIATIONS)
    own = {"bad-id", "duplicate-id", "no-id", "too-many"}
    assert noted | own == set(DEVIATIONS)


def test_each_code_names_its_rule() -> None:
    for code, rule in DEVIATIONS.items():
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code)
        assert re.match(r"RFC \d{4} §\d", rule.rfc) and rule.meaning


def test_the_notebook_ends_with_a_word_that_there_were_more() -> None:
    notes = Notebook()
    for _ in range(MAX_DEVIATIONS + 50):
        notes.note("stray-text", ELEMENT)
    assert len(notes.deviations) == MAX_DEVIATIONS
    assert notes.deviations[-1].code == "too-many"


def test_ids_are_checked_for_form_and_repetition() -> None:
    notes = Notebook()
    assert [notes.id(name, ELEMENT) for name in ("a", "a", "1b", "ä-b.c", "p:q")] == [
        "a",
        "a",
        "1b",
        "ä-b.c",
        "p:q",
    ]
    assert notes.id(None, ELEMENT, required=True) is None
    assert [each.code for each in notes.deviations] == ["duplicate-id", "bad-id", "bad-id", "no-id"]


def test_a_deviation_says_where() -> None:
    notes = Notebook()
    notes.note("stray-text", ELEMENT[0])
    assert (notes.deviations[0].path, notes.deviations[0].line) == ("a/b", 1)
