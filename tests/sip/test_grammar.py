import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipbridge.errors import ParseError
from sipbridge.sip import grammar

TEXT = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=60)


@pytest.mark.parametrize("word", ["presence", "!interesting-Method0123456789_*+`.%indeed'~", "1"])
def test_tokens(word: str) -> None:
    assert grammar.is_token(word)


@pytest.mark.parametrize("word", ["", "a b", "a:b", "é", "a\n", "a;b", '"a"'])
def test_what_is_no_token(word: str) -> None:
    assert not grammar.is_token(word)


@settings(deadline=None)
@given(TEXT)
def test_a_quoted_string_comes_back(text: str) -> None:
    assert grammar.unquote(grammar.quote(text)) == text


def test_a_line_break_cannot_leave_a_quoted_string() -> None:
    assert grammar.quote('a\r\nVia: x"') == '"a Via: x\\""'


def test_what_is_not_quoted_stays() -> None:
    assert grammar.unquote('a"b') == 'a"b'
    assert grammar.unquote('"') == '"'


def test_lists_split_outside_quotes_and_brackets() -> None:
    text = '"Doe, \\"J, \\\\" <sip:a@b;x=1,2>;q=1, <sip:c@d> ,sip:e@f'
    assert grammar.split_list(text) == [
        '"Doe, \\"J, \\\\" <sip:a@b;x=1,2>;q=1',
        "<sip:c@d>",
        "sip:e@f",
    ]


def test_empty_list_elements_are_kept_for_those_who_mind() -> None:
    assert grammar.split_list("a,,b,") == ["a", "", "b", ""]
    assert grammar.split_list('"a",') == ['"a"', ""]
    assert grammar.token_list("a, ,b,") == ("a", "b")


@pytest.mark.parametrize("text", ['"a, b', "<sip:a, b", '"a\\", b'])
def test_what_is_never_closed_is_an_error(text: str) -> None:
    with pytest.raises(ParseError, match="never closed") as caught:
        grammar.split_list(text, "Contact")
    assert caught.value.field == "Contact"


def test_numbers_are_digits_only() -> None:
    assert grammar.parse_integer("0068", "x", 70) == 68
    assert grammar.parse_integer("0" * 5000, "x", 70) == 0
    for bad in ("", "+1", "-1", "1 2", "0x1", "²", "71", "9" * 5000):
        with pytest.raises(ParseError, match="^x: "):
            grammar.parse_integer(bad, "x", 70)


def test_control_characters_count_outside_quoted_strings_only() -> None:
    assert grammar.has_stray_control("a\x00b")
    assert not grammar.has_stray_control('"a\\\x00\x07" b')
    assert grammar.has_stray_control('"closed" \x01')
    assert grammar.has_stray_control('"never closed \x01\\"')


@pytest.mark.parametrize(
    "hostile", ['"' + '\\"' * 16000 + "\x01", '"' * 32001 + "\x01", "<" * 32000]
)
def test_hostile_quotes_cost_linear_time(hostile: str) -> None:
    began = time.process_time()
    grammar.has_stray_control(hostile)
    with pytest.raises(ParseError):
        grammar.split_list(hostile + ",")
    assert time.process_time() - began < 1
