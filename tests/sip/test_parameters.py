import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipbridge.errors import ParseError
from sipbridge.sip.parameters import MAX_PARAMETERS, Parameters

NAMES = st.text("abcXYZ019-.!%*_+`'~", min_size=1, max_size=8)
VALUES = st.none() | st.text(
    st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=12
)


@settings(deadline=None)
@given(st.lists(st.tuples(NAMES, VALUES), max_size=6, unique_by=lambda pair: pair[0].lower()))
def test_what_was_set_comes_back_through_text(pairs: list[tuple[str, str | None]]) -> None:
    made = Parameters()
    for name, value in pairs:
        made = made.with_(name, value)
    again = Parameters.parse(str(made))
    assert again == made
    for name, value in pairs:
        assert again.get(name.upper()) == (value or "")


def test_white_space_round_the_marks_goes() -> None:
    read = Parameters.parse(' ;  branch =  "a;b" ; lr ;q=0.5 ')
    assert str(read) == ';branch="a;b";lr;q=0.5'
    assert read.get("BRANCH") == "a;b"
    assert read.raw("branch") == '"a;b"'
    assert read.get("lr") == ""
    assert read.get("absent") is None
    assert "LR" in read
    assert "r" not in read
    assert len(read) == len(list(read)) == 3


def test_bare_values_that_need_quotes_are_read() -> None:
    read = Parameters.parse(
        ";start=<top@example.net>;type=application/rlmi+xml;received=2001:db8::1"
    )
    assert [read.get(n) for n in ("start", "type", "received")] == [
        "<top@example.net>",
        "application/rlmi+xml",
        "2001:db8::1",
    ]


@pytest.mark.parametrize(
    "bad", [";;", ";a;;b", "a=b", ";a=", ';a="b', ";a=b c", ";=b", ";a,b", ";a=b,c"]
)
def test_malformed_lists_are_refused_with_the_field(bad: str) -> None:
    with pytest.raises(ParseError) as caught:
        Parameters.parse(bad, "Via")
    assert caught.value.field == "Via"


def test_too_many_are_refused() -> None:
    Parameters.parse(";a" * MAX_PARAMETERS)
    with pytest.raises(ParseError, match="more than"):
        Parameters.parse(";a" * (MAX_PARAMETERS + 1))


def test_setting_replaces_in_place_and_removing_ignores_case() -> None:
    read = Parameters.parse(";a=1;Tag=x;b")
    assert str(read.with_("tag", "y")) == ";a=1;Tag=y;b"
    assert str(read.without("TAG")) == ";a=1;b"
    assert str(read.with_("new", "a b")) == ';a=1;Tag=x;b;new="a b"'
