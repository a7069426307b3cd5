import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipbridge.errors import ParseError
from sipbridge.sip.parameters import Parameters
from sipbridge.sip.via import Via, check_via, cut, frame_of, parse_hops, parse_vias

HOSTS = st.sampled_from(["192.0.2.1", "pc33.example.com", "[2001:db8::9:1]", "under_score.example"])


@settings(deadline=None)
@given(
    st.sampled_from(["UDP", "TCP", "TLS", "WS", "UNKNOWN"]),
    HOSTS,
    st.none() | st.integers(0, 65535),
    st.text("abcXYZ019-.!%*_+`'~", min_size=1, max_size=20),
)
def test_a_hop_comes_back_through_text(
    protocol: str, host: str, port: int | None, branch: str
) -> None:
    made = Via(protocol, host, port, Parameters((("branch", branch), ("rport", None))))
    assert Via.parse(str(made)) == made


def test_white_space_round_everything() -> None:
    read = Via.parse(
        "SIP  / 2.0  /  udp     spindle.example.com : 5060  ; branch  =   z9hG4bK9ikj8  "
    )
    assert str(read) == "SIP/2.0/UDP spindle.example.com:5060;branch=z9hG4bK9ikj8"


@pytest.mark.parametrize("text", ["2001:db8::9:255", "[2001:db8::9:255]"])
def test_received_is_told_without_brackets(text: str) -> None:
    assert Via.parse(f"SIP/2.0/UDP [2001:db8::9:1];received={text}").received == "2001:db8::9:255"


def test_rport_asks_without_value_and_tells_with_one() -> None:
    asking = Via.parse("SIP/2.0/UDP a;rport;branch=z9hG4bK1")
    assert (asking.wants_rport, asking.rport) == (True, None)
    told = asking.with_parameter("rport", "5082").with_parameter("received", "192.0.2.9")
    assert (told.wants_rport, told.rport, told.received) == (True, 5082, "192.0.2.9")
    assert str(told) == "SIP/2.0/UDP a;rport=5082;branch=z9hG4bK1;received=192.0.2.9"
    assert not Via.parse("SIP/2.0/UDP a").wants_rport
    assert Via.parse("SIP/2.0/UDP a;rport=x").rport is None


def test_the_bare_cookie_is_no_transaction_id() -> None:
    assert not Via.parse("SIP/2.0/UDP a;branch=z9hG4bK").has_transaction_id
    assert not Via.parse("SIP/2.0/UDP a;branch=390skdjuw").has_transaction_id
    assert not Via.parse("SIP/2.0/UDP a").has_transaction_id
    assert Via.parse("SIP/2.0/UDP a;branch=z9hG4bKx").has_transaction_id


def test_several_hops_on_a_line() -> None:
    hops = parse_vias("SIP/2.0/UDP a;branch=1, SIP/2.0/TCP b:5070;maddr=224.0.0.1")
    assert [(h.protocol, h.sent_by, h.branch, h.maddr) for h in hops] == [
        ("UDP", "a", "1", None),
        ("TCP", "b:5070", None, "224.0.0.1"),
    ]


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "SIP/2.0/UDP",
        "SIP/2.0 a",
        "HTTP/1.1/TCP a",
        "SIP/2.0/UDP a:99999",
        "SIP/2.0/UDP a:x",
        "SIP/2.0/UDP 2001:db8::1",
        "SIP/2.0/UDP 192.0.2.15;;",
        "SIP/2.0/UDP a b",
        "SIP/2.0/UDP a,",
    ],
)
def test_malformed_hops_are_refused(bad: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse_vias(bad)
    assert caught.value.field == "Via"


@settings(deadline=None)
@given(
    st.sampled_from(
        ["SIP/2.0/UDP a:5060", "SIP/2.0/TCP [2001:db8::1];rport", 'SIP/2.0/UDP a;x=","']
    ),
    st.text("ab1-.;, =\"'", max_size=8),
    st.sampled_from(
        ["", ";rport", ";received=192.0.2.9", " ;ttl=1", ";branch=2", ";BRANCH=2", ";;"]
    ),
)
def test_a_hop_cut_round_its_branch_is_read_like_a_whole_one(
    before: str, branch: str, after: str
) -> None:
    line = f"{before};branch={branch}{after}"
    try:
        whole: tuple[Via, ...] | None = parse_hops(line)
    except ParseError:
        whole = None
    if whole is None:
        with pytest.raises(ParseError):
            parse_vias(line)
        with pytest.raises(ParseError):
            check_via(line)
    else:
        assert parse_vias(line) == whole
        check_via(line)


def test_a_frame_has_everything_but_the_branch() -> None:
    parts = cut("SIP/2.0/UDP a:5070;rport;branch=z9hG4bK77;x=1")
    assert parts == ("SIP/2.0/UDP a:5070;rport", "z9hG4bK77", ";x=1")
    frame = frame_of(parts[0], parts[2])
    assert frame is not None and frame.with_branch("z9hG4bK78") == Via.parse(
        "SIP/2.0/UDP a:5070;rport;branch=z9hG4bK78;x=1"
    )
    assert cut("SIP/2.0/UDP a;rport") is None and cut("SIP/2.0/UDP a;branch=") is None
    assert frame_of("SIP/2.0/UDP a, SIP/2.0/UDP b", "") is None
