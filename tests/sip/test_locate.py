"""From a URI to a place to send to."""

from collections.abc import Collection

import pytest

from sipbridge.errors import LocalProtocolError
from sipbridge.sip.flow import ListeningPoint
from sipbridge.sip.locate import (
    MAX_SERVICES,
    Servers,
    Target,
    flow_to,
    is_address,
    is_open,
    point_for,
    servers,
    target_of,
    targets_of,
)
from sipbridge.sip.records import Answer, Naptr, Question, Srv
from sipbridge.uri import Uri

V4 = ListeningPoint("udp", ("192.0.2.1", 5060), "192.0.2.1", 5060)
LOOP = ListeningPoint("udp", ("127.0.0.1", 5062), "127.0.0.1", 5062)
V6 = ListeningPoint("udp", ("2001:db8::1", 5060), "2001:db8::1", 5060)
TCP = ListeningPoint("tcp", ("192.0.2.1", 5060), "192.0.2.1", 5060)
MEMORY = ListeningPoint("memory", ("agent", 5060), "agent", 5060)
POINTS = [V4, LOOP, V6, TCP, MEMORY]


@pytest.mark.parametrize(
    ("uri", "target"),
    [
        ("sip:bob@example.com", Target("udp", "example.com", 5060, by_default=True)),
        ("sip:192.0.2.7:5070", Target("udp", "192.0.2.7", 5070, by_default=True)),
        ("sip:b@example.com;transport=TCP", Target("tcp", "example.com", 5060)),
        ("sip:b@example.com;transport=udp", Target("udp", "example.com", 5060)),
        ("sip:b@[2001:db8::2]:5070", Target("udp", "2001:db8::2", 5070, by_default=True)),
        ("sip:b@example.com;maddr=192.0.2.9", Target("udp", "192.0.2.9", 5060, by_default=True)),
        ("sip:agent:5060;transport=memory", Target("memory", "agent", 5060)),
        ("sip:b@example.com;transport=tls", Target("tls", "example.com", 5061)),
        ("sips:b@example.com", Target("tls", "example.com", 5061)),
        ("sips:b@example.com:5070;transport=tcp", Target("tls", "example.com", 5070)),
        ("sip:b@example.com;transport=ws", Target("ws", "example.com", 80)),
        ("sips:b@example.com;transport=ws", Target("wss", "example.com", 443)),
        ("sip:b@example.com;transport=wss", Target("wss", "example.com", 443)),
    ],
)
def test_a_uri_says_transport_host_and_port(uri: str, target: Target) -> None:
    assert target_of(Uri.parse(uri)) == target
    assert targets_of([uri]) == [target]


@pytest.mark.parametrize(
    "uri",
    ["sips:b@h;transport=udp", "tel:+1555", "pres:bob@example.com", "sip:b@h;transport=sctp"],
)
def test_a_uri_we_cannot_follow_is_our_callers_fault(uri: str) -> None:
    with pytest.raises(LocalProtocolError):
        target_of(Uri.parse(uri))


def test_only_names_are_looked_up() -> None:
    assert Target("udp", "example.com", 5060).needs_lookup
    assert Target("tcp", "localhost", 5060).needs_lookup
    assert not Target("udp", "192.0.2.1", 5060).needs_lookup
    assert not Target("udp", "2001:db8::1", 5060).needs_lookup
    assert not Target("memory", "agent", 5060).needs_lookup


def test_a_name_that_begins_with_a_digit_is_still_a_name() -> None:
    assert not is_address("3com.example")
    assert is_address("3.4.5.6")


@pytest.mark.parametrize(
    ("protocol", "remote", "point"),
    [
        ("udp", "192.0.2.99", V4),
        ("udp", "127.0.0.9", LOOP),
        ("udp", "2001:db8::99", V6),
        ("udp", "::1", V6),
        ("tcp", "127.0.0.1", TCP),
        ("tcp", "2001:db8::99", None),
        ("memory", "agent", MEMORY),
        ("tls", "192.0.2.99", None),
    ],
)
def test_the_listener_fits_transport_family_and_loopback(
    protocol: str, remote: str, point: ListeningPoint | None
) -> None:
    assert point_for(POINTS, protocol, remote) == point


def test_a_flow_leaves_from_the_listener() -> None:
    flow = flow_to(V4, Target("udp", "example.com", 5070), "192.0.2.5")
    assert (flow.protocol, flow.local, flow.remote) == ("udp", V4.local, ("192.0.2.5", 5070))
    assert not flow.reliable


def test_targets_are_named_for_people() -> None:
    assert str(Target("udp", "2001:db8::1", 5060)) == "udp:[2001:db8::1]:5060"


def test_only_where_a_certificate_has_to_prove_it_the_name_goes_along() -> None:
    tls = ListeningPoint("tls", ("192.0.2.1", 5061), "192.0.2.1", 5061)
    target = target_of(Uri.parse("sips:pa.example.com"))
    assert flow_to(tls, target, "192.0.2.7").name == "pa.example.com"
    assert flow_to(TCP, Target("tcp", "pa.example.com", 5060), "192.0.2.7").name == ""


# --- DNS ----------------------------------------------------------------------------------------------

EVERYTHING = frozenset({"udp", "tcp", "tls", "ws", "wss"})


def rule(
    service: str, to: str, order: int = 10, preference: int = 10, flags: str = "s", regexp: str = ""
) -> Naptr:
    return Naptr(order, preference, flags, service, regexp, to)


def srv(*servers: tuple[int, str, int]) -> Answer:
    return Answer(srvs=tuple(Srv(priority, 0, port, host) for priority, host, port in servers))


RFC_3263 = {
    # The example of RFC 3263 §4.1: TLS is preferred to TCP, TCP to UDP.
    "NAPTR example.com": Answer(
        naptrs=(
            rule("SIPS+D2T", "_sips._tcp.example.com", 50, 50),
            rule("SIP+D2T", "_sip._tcp.example.com", 90, 50),
            rule("SIP+D2U", "_sip._udp.example.com", 100, 50),
        )
    ),
    "SRV _sips._tcp.example.com": srv((0, "server1.example.com", 5061)),
    "SRV _sip._tcp.example.com": srv(
        (0, "server1.example.com", 5060), (1, "server2.example.com", 5060)
    ),
    "SRV _sip._udp.example.com": srv((0, "server3.example.com", 5080)),
}

Dns = dict[str, Answer]


def ask(
    uri: str, dns: Dns, speaks: Collection[str] = EVERYTHING, large: bool = False
) -> tuple[Servers, list[str]]:
    """What it comes to, and all that was asked on the way; what `dns` does not have is not there."""
    known: dict[Question, Answer] = {}
    asked: list[str] = []
    while True:
        found = servers(Uri.parse(uri), speaks, known.get, lambda: 0.0, large=large)
        if not found.questions:
            return found, asked
        assert not found.targets
        for question in found.questions:
            words = f"{question.kind} {question.name}"
            asked.append(words)
            known[question] = dns.get(words, Answer())


def hosts(
    uri: str, dns: Dns, speaks: Collection[str] = EVERYTHING, large: bool = False
) -> list[str]:
    return [str(target) for target in ask(uri, dns, speaks, large)[0].targets]


@pytest.mark.parametrize(
    ("uri", "opened"),
    [
        ("sip:b@example.com", True),
        ("sip:b@example.com;transport=tcp", True),
        ("sips:b@example.com", True),
        ("sip:b@host.example;maddr=example.com", True),
        ("sip:b@example.com:5060", False),
        ("sips:b@example.com:5061", False),
        ("sip:b@192.0.2.1", False),
        ("sip:b@[2001:db8::1]", False),
        ("sip:b@example.com;maddr=192.0.2.1", False),
        ("sip:agent;transport=memory", False),
    ],
)
def test_records_count_for_names_without_port_only(uri: str, opened: bool) -> None:
    parsed = Uri.parse(uri)
    assert is_open(parsed, target_of(parsed)) is opened


@pytest.mark.parametrize(
    ("uri", "speaks", "found"),
    [
        # The lowest order we speak decides.
        ("sip:b@example.com", EVERYTHING, ["tls:server1.example.com:5061"]),
        ("sip:b@example.com", {"udp", "tcp"},
         ["tcp:server1.example.com:5060", "tcp:server2.example.com:5060"]),
        ("sip:b@example.com", {"udp"}, ["udp:server3.example.com:5080"]),
        ("sip:b@EXAMPLE.com.", {"udp"}, ["udp:server3.example.com:5080"]),
        ("sip:b@h.example;maddr=example.com", {"udp"}, ["udp:server3.example.com:5080"]),
        # Of a sips URI only SIPS counts; who speaks no TLS cannot help it.
        ("sips:b@example.com", EVERYTHING, ["tls:server1.example.com:5061"]),
        # A transport that is asked for goes past the rules, to its own SRV records.
        ("sip:b@example.com;transport=udp", EVERYTHING, ["udp:server3.example.com:5080"]),
        ("sip:b@example.com;transport=tls", EVERYTHING, ["tls:server1.example.com:5061"]),
        ("sips:b@example.com;transport=tcp", EVERYTHING, ["tls:server1.example.com:5061"]),
        ("sip:b@example.com;transport=ws", EVERYTHING, ["ws:example.com:80"]),
        # No records at all.
        ("sip:b@other.example", EVERYTHING, ["udp:other.example:5060"]),
        ("sips:b@other.example", EVERYTHING, ["tls:other.example:5061"]),
        ("sip:b@other.example;transport=tcp", EVERYTHING, ["tcp:other.example:5060"]),
    ],
)  # fmt: skip
def test_the_example_of_the_rfc(uri: str, speaks: Collection[str], found: list[str]) -> None:
    assert hosts(uri, RFC_3263, speaks) == found


@pytest.mark.parametrize(
    ("uri", "asked"),
    [
        ("sip:b@other.example",
         ["NAPTR other.example", "SRV _sip._udp.other.example", "SRV _sip._tcp.other.example"]),
        ("sips:b@other.example", ["NAPTR other.example", "SRV _sips._tcp.other.example"]),
        ("sip:b@other.example;transport=udp", ["SRV _sip._udp.other.example"]),
        ("sip:b@other.example;transport=tls", ["SRV _sips._tcp.other.example"]),
        ("sips:b@other.example;transport=tcp", ["SRV _sips._tcp.other.example"]),
        ("sip:b@other.example;transport=ws", ["SRV _sip._ws.other.example"]),
        ("sips:b@other.example;transport=ws", ["SRV _sips._ws.other.example"]),
        ("sip:b@example.com", ["NAPTR example.com", "SRV _sips._tcp.example.com"]),
    ],
)  # fmt: skip
def test_nothing_is_asked_that_does_not_matter(uri: str, asked: list[str]) -> None:
    assert ask(uri, RFC_3263)[1] == asked


UNUSABLE = (
    rule("SIP+D2S", "_sip._sctp.example.com"),
    rule("SIP+D2T", "_sip._tcp.example.com", flags="u"),
    rule("SIP+D2T", "_sip._tcp.example.com", regexp="!^.*$!sip:x@y!"),
    rule("SIP+D2T", ""),
    rule("E2U+sip", "_sip._tcp.example.com"),
)


def test_rules_we_cannot_use_are_no_rules_and_the_usual_names_are_asked() -> None:
    dns = {**RFC_3263, "NAPTR example.com": Answer(naptrs=UNUSABLE)}
    assert hosts("sip:b@example.com", dns) == [
        "udp:server3.example.com:5080",
        "tcp:server1.example.com:5060",
        "tcp:server2.example.com:5060",
    ]


def test_services_and_flags_are_read_in_any_case_and_lead_anywhere() -> None:
    dns = {
        "NAPTR example.com": Answer(naptrs=(rule("sip+d2t", "_sip._tcp.Host.Example", flags="S"),)),
        "SRV _sip._tcp.host.example": srv((0, "a.host.example", 5070)),
    }
    assert hosts("sip:b@example.com", dns) == ["tcp:a.host.example:5070"]


def test_a_domain_with_rules_without_end_causes_a_handful_of_questions() -> None:
    rules = tuple(rule("SIP+D2U", f"_{n}.victim.example") for n in range(1700))
    asked = ask("sip:b@example.com", {"NAPTR example.com": Answer(naptrs=rules)})[1]
    ours = [words for words in asked if "victim" in words]
    assert len(ours) == MAX_SERVICES


def test_within_an_order_the_preference_sorts_and_all_are_tried() -> None:
    rules = (
        rule("SIP+D2U", "_sip._udp.example.com", 10, 20),
        rule("SIP+D2T", "_sip._tcp.example.com", 10, 10),
        rule("SIPS+D2T", "_sips._tcp.example.com", 11, 0),
    )
    dns = {**RFC_3263, "NAPTR example.com": Answer(naptrs=rules)}
    assert hosts("sip:b@example.com", dns) == [
        "tcp:server1.example.com:5060",
        "tcp:server2.example.com:5060",
        "udp:server3.example.com:5080",
    ]


def test_rules_that_lead_nowhere_are_passed_over() -> None:
    dns = {
        "NAPTR example.com": Answer(naptrs=(rule("SIP+D2T", "_sip._tcp.gone.example"),)),
        "SRV _sip._udp.example.com": srv((0, "a.example", 5070)),
    }
    assert hosts("sip:b@example.com", dns) == ["udp:a.example:5070"]
    assert hosts("sip:b@example.com", {"NAPTR example.com": dns["NAPTR example.com"]}) == [
        "udp:example.com:5060"
    ]


def test_a_sips_uri_never_leaves_without_tls() -> None:
    dns = {
        "NAPTR example.com": Answer(naptrs=(rule("SIP+D2T", "_sip._tcp.example.com"),)),
        "SRV _sip._tcp.example.com": srv((0, "a.example", 5060)),
        "SRV _sip._udp.example.com": srv((0, "a.example", 5060)),
    }
    assert hosts("sips:b@example.com", dns) == ["tls:example.com:5061"]


def test_a_browser_may_be_told_by_rules_too() -> None:
    dns = {
        "NAPTR example.com": Answer(naptrs=(rule("SIPS+D2W", "_sips._ws.example.com"),)),
        "SRV _sips._ws.example.com": srv((0, "web.example", 8443)),
    }
    assert hosts("sip:b@example.com", dns) == ["wss:web.example:8443"]
    assert hosts("sip:b@example.com", dns, {"udp"}) == ["udp:example.com:5060"]


def test_a_service_that_is_expressly_not_there_is_not_looked_for_elsewhere() -> None:
    dns = {"SRV _sip._udp.example.com": srv((0, "", 0))}
    found, _ = ask("sip:b@example.com", dns)
    assert not found.targets and "no such service" in found.why
    dns["SRV _sip._tcp.example.com"] = srv((0, "a.example", 5060))
    assert hosts("sip:b@example.com", dns) == ["tcp:a.example:5060"]


def test_what_is_too_large_for_a_datagram_goes_where_there_is_another_transport_first() -> None:
    dns = {
        "SRV _sip._udp.example.com": srv((0, "u.example", 5060)),
        "SRV _sip._tcp.example.com": srv((0, "t.example", 5060)),
    }
    assert hosts("sip:b@example.com", dns) == ["udp:u.example:5060", "tcp:t.example:5060"]
    large = ask("sip:b@example.com", dns, large=True)[0].targets
    assert [str(t) for t in large] == ["tcp:t.example:5060", "udp:u.example:5060"]
    assert large[1].by_default, "nobody asked for UDP, so TCP may be tried there too"
    asked = ask("sip:b@example.com;transport=udp", dns, large=True)[0].targets
    assert [str(t) for t in asked] == ["udp:u.example:5060"] and not asked[0].by_default


def test_only_where_lots_are_drawn_the_order_is_not_settled() -> None:
    assert ask("sip:b@example.com", RFC_3263)[0].settled
    dns = {"SRV _sip._udp.example.com": srv((1, "a.example", 5060), (1, "b.example", 5060))}
    assert not ask("sip:b@example.com", dns)[0].settled


def test_no_domain_makes_us_try_for_ever() -> None:
    many = srv(*((n, f"s{n}.example", 5060) for n in range(100)))
    assert len(hosts("sip:b@example.com", {"SRV _sip._udp.example.com": many})) == 32


def test_the_certificate_has_to_prove_the_domain_and_not_the_server() -> None:
    (target,) = ask("sips:b@example.com", RFC_3263)[0].targets
    tls = ListeningPoint("tls", ("192.0.2.1", 5061), "192.0.2.1", 5061)
    assert flow_to(tls, target, "192.0.2.7").name == "example.com"
