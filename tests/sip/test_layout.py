"""What a layout reads is what the general way reads."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipbridge.sip import layout
from sipbridge.sip.layout import LOOK_AT_EVERY, MAX_LAYOUTS, MAX_SEEN, WORTH_IT, Layout, Layouts
from sipbridge.sip.message import Request, Response
from sipbridge.sip.parser import DEFAULT_LIMITS, Malformed, parse_head

ENOUGH = LOOK_AT_EVERY * WORTH_IT


def head(start: str, *lines: str) -> str:
    return "\r\n".join((start, *lines))


NOTIFY = "NOTIFY sip:a@192.0.2.1 SIP/2.0"
LINES = ("Via: SIP/2.0/UDP a;branch=z9hG4bK1", "f: <sip:b@x>;tag=1", "Via: SIP/2.0/UDP b", "X-a: 1")


def learned(*heads: str) -> Layouts:
    layouts = Layouts()
    for text in heads:
        for _ in range(ENOUGH):
            layouts.notice(text)
    return layouts


def same(one: Request | Response, other: Request | Response) -> bool:
    return (
        type(one) is type(other)
        and one.start_line() == other.start_line()
        and one.headers.first() == other.headers.first()
        and one.headers.repeated == other.headers.repeated
        and len(one.headers) == len(other.headers)
        and one.headers.items() == other.headers.items()
    )


def test_a_head_that_comes_often_is_read_by_its_layout() -> None:
    layouts = Layouts()
    text = head(NOTIFY, *LINES)
    for _ in range(ENOUGH - 1):
        layouts.notice(text)
        assert layouts.read(text, 128) is None
    layouts.notice(text)
    read = layouts.read(head("NOTIFY sip:other SIP/2.0", *LINES), 128)
    assert isinstance(read, Request) and read.uri == "sip:other"
    assert [via.host for via in read.vias] == ["a", "b"] and read.headers.get("x-A") == "1"
    assert read.headers.items()[1] == ("From", "<sip:b@x>;tag=1")
    assert layouts.read(text, 3) is None, "more fields than allowed"


VALUES = st.text(st.sampled_from('ab ;:\t\r\n"é\x00\x7f'), max_size=6)
NAMES = st.sampled_from(["Via", "v", "From", "X-a", "Content-Length", "l", "To ", "CSeq"])
STARTS = st.sampled_from(
    [NOTIFY, "NOTIFY  sip:a SIP/2.0", "notify sip:a SIP/2.0", "SIP/2.0 200 OK", "SIP/2.0 099 x"]
    + ["SIP/2.0 200 ", "SIP/2.0 180 Ringing on ", "sip/2.0 200 OK", "NOTIFY sip:a SIP/3.0"]
)


@settings(deadline=None, max_examples=300)
@given(STARTS, st.lists(st.tuples(NAMES, VALUES), max_size=5), st.sampled_from([": ", ":", ":  "]))
def test_a_layout_reads_what_the_general_way_reads(
    start: str, fields: list[tuple[str, str]], mark: str
) -> None:
    text = head(start, *(f"{name}{mark}{value}" for name, value in fields))
    method = "SIP/2.0" if start[:3].upper() == "SIP" else "NOTIFY"
    read = Layout(method, [name for name, _ in fields]).read(text)
    if read is None:
        return
    try:
        assert same(read, parse_head(text.encode(), DEFAULT_LIMITS))
    except Malformed as why:
        pytest.fail(f"{text!r}: {why}")


@settings(deadline=None)
@given(STARTS.filter(lambda s: "  " not in s), st.lists(NAMES, max_size=6))
def test_plain_heads_are_read_by_layouts(start: str, names: list[str]) -> None:
    text = head(start, *(f"{name}: some value; {i}" for i, name in enumerate(names)))
    read = learned(text).read(text, 128)
    plain = start in (NOTIFY, "SIP/2.0 200 OK")
    assert (read is not None) is plain
    assert read is None or same(read, parse_head(text.encode(), DEFAULT_LIMITS))


def test_what_cannot_be_read_so_does_not_take_the_place_of_others() -> None:
    layouts = learned(head(NOTIFY, *LINES), head(NOTIFY, "Via:x", "Subject: "))
    assert [made.names for made in layouts.known["NOTIFY"]] == [["Via", "From", "Via", "X-a"]]


def test_only_so_many_are_kept_and_those_in_use() -> None:
    heads = [head(NOTIFY, f"X-{n}: 1") for n in range(MAX_LAYOUTS + 1)]
    layouts = learned(*heads[:-1])
    assert layouts.read(heads[0], 128) is not None, "now the newest"
    for _ in range(ENOUGH):
        layouts.notice(heads[-1])
    assert len(layouts.known["NOTIFY"]) == MAX_LAYOUTS
    assert layouts.read(heads[0], 128) is not None and layouts.read(heads[1], 128) is None


def test_counting_is_bounded() -> None:
    layouts = Layouts()
    for n in range(2 * MAX_SEEN * LOOK_AT_EVERY):
        layouts.notice(head(NOTIFY, f"X-{n}: 1"))
    assert len(layouts.seen) <= MAX_SEEN and not layouts.known["NOTIFY"]


def test_methods_nobody_knows_are_not_counted() -> None:
    assert not learned(head("MAKEUP sip:a SIP/2.0", "Via: x")).seen
    assert set(layout.METHODS) < set(Layouts().known)
