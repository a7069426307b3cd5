"""The order of servers, and what is asked of DNS."""

from collections import Counter

import pytest

from sipbridge.sip.identifiers import Identifiers
from sipbridge.sip.records import Answer, Kind, Question, Srv, drawn, in_order, plain_name


def server(priority: int, weight: int, target: str) -> Srv:
    return Srv(priority, weight, 5060, target)


def order(servers: list[Srv], fraction: float = 0.0) -> str:
    return "".join(one.target for one in in_order(servers, lambda: fraction))


def test_the_lowest_priority_comes_first() -> None:
    assert order([server(30, 9, "c"), server(10, 1, "a"), server(20, 0, "b")]) == "abc"
    assert order([]) == ""


@pytest.mark.parametrize(
    ("fraction", "place"),
    # RFC 2782: weights 0, 10, 20; a number from 0 to 30 picks the first whose running sum reaches it.
    [(0.0, 0), (1 / 31, 1), (10 / 31, 1), (11.01 / 31, 2), (0.999, 2)],
)
def test_a_weight_is_a_chance(fraction: float, place: int) -> None:
    assert drawn([0, 10, 20], fraction) == place


def test_a_seeded_source_gives_the_same_order_and_shares_by_weight() -> None:
    servers = [server(1, 60, "a"), server(1, 30, "b"), server(1, 10, "c"), server(2, 0, "z")]
    source = Identifiers.seeded("weights").fraction
    orders = ["".join(one.target for one in in_order(servers, source)) for _ in range(2000)]
    assert all(one.endswith("z") and set(one) == set("abcz") for one in orders)
    first = Counter(one[0] for one in orders)
    assert abs(first["a"] - 1200) < 90 and abs(first["b"] - 600) < 90 and abs(first["c"] - 200) < 60
    again = Identifiers.seeded("weights").fraction
    assert orders[:5] == ["".join(one.target for one in in_order(servers, again)) for _ in range(5)]


def test_weight_nothing_is_seldom_first_where_others_weigh() -> None:
    source = Identifiers.seeded("zero").fraction
    servers = [server(1, 99, "a"), server(1, 0, "b")]
    first = Counter(next(in_order(servers, source)).target for _ in range(2000))
    assert first["b"] < 60


def test_names_and_questions_read_well() -> None:
    assert plain_name("SIP.Example.COM.") == "sip.example.com" and plain_name(".") == ""
    assert str(Question(Kind.SRV, "_sip._udp.example.com")) == "SRV of _sip._udp.example.com"
    assert Answer(ttl=5).empty and not Answer(addresses=("192.0.2.1",)).empty
