import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipbridge.errors import ParseError
from sipbridge.sip.headers import COMPACT, KEYS, MAX_REMEMBERED_NAMES, Headers, key_of


def test_names_ignore_case_and_know_their_compact_form() -> None:
    headers = Headers([("v", "a"), ("VIA", "b"), ("Event", "presence")])
    assert headers.get_all("via") == headers.get_all("V") == ["a", "b"]
    assert headers.get("o") == "presence"
    assert headers.items() == [("Via", "a"), ("VIA", "b"), ("Event", "presence")]
    assert "O" in headers
    assert "Subject" not in headers
    assert headers.get("Subject") is None


def test_every_compact_name_is_one_letter_and_unique() -> None:
    assert all(len(short) == 1 and short.islower() for short in COMPACT)
    assert len(set(COMPACT.values())) == len(COMPACT)


def test_values_split_over_lines_and_commas() -> None:
    headers = Headers(
        [("Supported", "a, b"), ("k", ""), ("Supported", "c,"), ("Contact", '"x, y" <sip:a@b>')]
    )
    assert headers.values("supported") == ["a", "b", "c"]
    assert headers.values("Contact") == ['"x, y" <sip:a@b>']
    assert headers.values("Allow") == []


def test_changes_are_seen_at_once() -> None:
    headers = Headers([("X-A", "1"), ("X-B", "2"), ("x-a", "3"), ("X-C", "4")])
    assert headers.get("x-B") == "2"
    headers.set("X-A", "9")
    assert headers.items() == [("X-A", "9"), ("X-B", "2"), ("X-C", "4")]
    headers.set("X-D", "5")
    headers.add("X-B", "6")
    headers.add_first("Via", "v")
    assert [name for name, _ in headers] == ["Via", "X-A", "X-B", "X-C", "X-D", "X-B"]
    assert headers.repeated == {"x-b": ["2", "6"]}
    headers.set_lines("x-b", ["7", "8", "9"])
    assert headers.get_all("X-B") == ["7", "8", "9"]
    assert [name for name, _ in headers] == ["Via", "X-A", "x-b", "x-b", "x-b", "X-C", "X-D"]
    headers.remove("X-B")
    headers.remove("X-Never")
    assert len(headers) == 4
    assert headers.get("X-B") is None


def test_a_copy_is_independent() -> None:
    one = Headers([("X-A", "1")])
    two = one.copy()
    assert one == two
    two.add("X-B", "2")
    assert one != two
    assert one.get("X-B") is None
    assert repr(one) == "Headers([('X-A', '1')])"


@pytest.mark.parametrize("name", ["", "a b", "a:b", "é", "a\r\nVia"])
def test_a_name_that_is_no_token_is_refused(name: str) -> None:
    with pytest.raises(ParseError):
        Headers([(name, "x")])
    with pytest.raises(ParseError):
        Headers().add(name, "x")


def test_content_length_has_one_spelling() -> None:
    assert Headers([("CONTENT-length", "1"), ("l", "2")]).items() == [
        ("Content-Length", "1"),
        ("Content-Length", "2"),
    ]


def test_invented_names_do_not_fill_the_memory() -> None:
    for i in range(MAX_REMEMBERED_NAMES + 500):
        assert key_of(f"X-Invented-{i}") == f"x-invented-{i}"
    assert len(KEYS) <= MAX_REMEMBERED_NAMES
    KEYS.clear()


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["Via", "v", "X-A", "x-a", "X-B"]), st.text("ab,", max_size=3))
    )
)
def test_the_index_agrees_with_the_fields(pairs: list[tuple[str, str]]) -> None:
    headers = Headers(pairs)
    for name in ("Via", "X-A", "X-B"):
        wanted = [v for n, v in pairs if key_of(n) == name.lower()]
        assert headers.get_all(name) == wanted
        assert headers.get(name) == (wanted[0] if wanted else None)
        assert (name in headers) == bool(wanted)
