"""Names and destinations as one core knows them; what requests make of it is in `test_failover.py`."""

import pytest

from sipbridge.errors import LocalProtocolError, ParseError
from sipbridge.sip import destinations
from sipbridge.sip.destinations import Destinations, Lead, Locating, read, read_again
from sipbridge.sip.flow import Flow, ListeningPoint
from sipbridge.sip.locate import MAX_SERVERS, Target
from sipbridge.sip.records import Answer, Kind, Question, Srv

HERE = ("192.0.2.1", 5060)
POINTS = [ListeningPoint(protocol, HERE, *HERE) for protocol in ("udp", "tcp")]
NAPTR = Question(Kind.NAPTR, "example.com")
UDP = Question(Kind.SRV, "_sip._udp.example.com")
TCP = Question(Kind.SRV, "_sip._tcp.example.com")
ADDRESS = Question(Kind.ADDRESS, "pa.example.com")
URI = "sip:bob@example.com"


def udp(host: str, port: int = 5060) -> Flow:
    return Flow("udp", HERE, (host, port))


class Known:
    """Destinations that have learnt something at second 0, and whether requests are large."""

    def __init__(self, locating: Locating | None = None, fraction: float = 0.0) -> None:
        self.places = Destinations(POINTS, locating or Locating(), lambda: fraction)
        self.large = False
        self.asked = 0

    def learn(self, answers: dict[Question, Answer], now: float = 0.0) -> "Known":
        for question, answer in answers.items():
            self.places.receive(question, answer, now)
        return self

    def is_large(self) -> bool:
        self.asked += 1
        return self.large

    def lead(self, uri: str = URI, now: float = 1.0) -> Lead:
        return self.places.lead(uri, self.is_large, now, now)


def usual(ttl: float = 60.0) -> dict[Question, Answer]:
    return {
        NAPTR: Answer(ttl=ttl),
        UDP: Answer(srvs=(Srv(1, 0, 5070, "pa.example.com"),), ttl=ttl),
        TCP: Answer(ttl=ttl),
        ADDRESS: Answer(addresses=("192.0.2.7", "192.0.2.8"), ttl=ttl),
    }


def test_servers_with_addresses_without_end_make_a_bounded_lead() -> None:
    names = [f"pa{n}.example.com" for n in range(MAX_SERVERS)]
    known = Known().learn(usual())
    known.learn({UDP: Answer(srvs=tuple(Srv(1, 0, 5060, name) for name in names), ttl=60)})
    many = tuple(f"192.0.2.{n}" for n in range(10, 10 + MAX_SERVERS))
    known.learn({Question(Kind.ADDRESS, name): Answer(addresses=many, ttl=60) for name in names})
    assert len(known.lead().ways) == MAX_SERVERS


def test_a_lead_that_is_known_is_the_same_object_again_until_an_answer_behind_it_ends() -> None:
    known = Known().learn(usual()).learn({ADDRESS: Answer(addresses=("192.0.2.7",), ttl=20)})
    lead = known.lead(now=1.0)
    assert lead.ways == (udp("192.0.2.7", 5070),)
    assert known.lead(now=19.9) is lead
    again = known.lead(now=20.0)
    assert again.ways == (Target("udp", "pa.example.com", 5070, True, "example.com"),)
    known.learn({ADDRESS: Answer(addresses=("192.0.2.9",), ttl=20)}, now=20.0)
    assert known.lead(now=20.1).ways == (udp("192.0.2.9", 5070),)
    assert known.lead(now=60.0).questions == (NAPTR,)


def test_servers_whose_address_nobody_needed_yet_stay_names() -> None:
    answers = usual() | {
        UDP: Answer(
            srvs=(Srv(1, 0, 5070, "pa.example.com"), Srv(2, 0, 5071, "pb.example.com")), ttl=60
        )
    }
    ways = Known().learn(answers).lead().ways
    assert [str(way) for way in ways if isinstance(way, Target)] == ["udp:pb.example.com:5071"]
    assert ways[:2] == (udp("192.0.2.7", 5070), udp("192.0.2.8", 5070))


def test_where_lots_are_drawn_nothing_is_kept() -> None:
    two = (Srv(1, 50, 1, "pa.example.com"), Srv(1, 50, 2, "pa.example.com"))
    answers = usual() | {UDP: Answer(srvs=two, ttl=60)}
    known = Known().learn(answers)
    first = known.lead().ways
    known.places.fraction = lambda: 0.99
    second = known.lead().ways
    assert first[0] == udp("192.0.2.7", 1) and second[0] == udp("192.0.2.7", 2)


def test_what_is_large_goes_its_own_way_and_only_then_the_size_matters() -> None:
    known = Known()
    small = known.lead("sip:192.0.2.7")
    known.large = True
    assert [way.protocol for way in known.lead("sip:192.0.2.7").ways] == ["tcp", "udp"]
    known.large = False
    assert known.lead("sip:192.0.2.7") is small
    known.asked = 0
    for _ in range(2):
        assert known.lead("sip:192.0.2.7;transport=udp").ways == (udp("192.0.2.7"),)
    assert not known.asked, "printing a request to measure it is not for nothing"


@pytest.mark.parametrize(("ttl", "until"), [(0.0, 1.0), (7.0, 7.0), (1e9, destinations.MAX_TTL)])
def test_answers_hold_neither_too_short_nor_too_long(ttl: float, until: float) -> None:
    places = Known().learn({ADDRESS: Answer(addresses=("192.0.2.7",), ttl=ttl)}).places
    target = Target("udp", "PA.example.com.", 5060)
    assert places.addresses(target, until - 0.01, until) == ("192.0.2.7",)
    assert places.addresses(target, until, until) is None


def test_that_there_is_nothing_is_known_too() -> None:
    known = Known().learn(usual() | {ADDRESS: Answer(ttl=60)})
    (target,) = known.lead().ways
    assert isinstance(target, Target)
    assert known.places.addresses(target, 1.0, 1.0) == ()
    assert known.places.failure(target) == "pa.example.com has no address"


def test_a_failure_is_soon_asked_again_and_does_not_replace_what_was_known() -> None:
    known = Known().learn({ADDRESS: Answer(failure="no answer from DNS in 3 s", ttl=3600)})
    target = Target("udp", "pa.example.com", 5060)
    assert known.places.addresses(target, 14.9, 14.9) == ()
    assert known.places.failure(target) == "no answer from DNS in 3 s"
    assert known.places.addresses(target, 15.0, 15.0) is None
    known.learn({ADDRESS: Answer(addresses=("192.0.2.7",), ttl=10)}, now=15.0)
    known.learn({ADDRESS: Answer(failure="no answer")}, now=30.0)
    assert known.places.addresses(target, 59.9, 59.9) == ("192.0.2.7",)
    assert known.places.addresses(target, 60.0, 60.0) is None


def test_nothing_grows_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(destinations, "MAX_ANSWERS", 10)
    known = Known()
    for n in range(100):
        known.learn({Question(Kind.ADDRESS, f"h{n}.example"): Answer(ttl=60)})
        known.lead(f"sip:192.0.2.{n}")
        known.places.refused(Flow("tcp", HERE, (f"192.0.2.{n}", 5060)), 0.0)
    places = known.places
    assert len(places.answers) == 10 and len(places.kept) <= 10 and len(places.refusals) == 100
    assert known.lead("sip:192.0.2.99").ways == (udp("192.0.2.99"),)


def test_a_uri_that_somebody_has_padded_leads_there_too_and_is_not_remembered() -> None:
    known, padded = Known(), f"sip:192.0.2.9;x={'y' * 4000}"
    remembered = read_again.cache_info().currsize
    assert known.lead(padded).ways == known.lead(padded).ways == (udp("192.0.2.9"),)
    assert known.places.kept == {} and read_again.cache_info().currsize == remembered
    assert known.lead("sip:192.0.2.9").ways == (udp("192.0.2.9"),)
    assert list(known.places.kept) == ["sip:192.0.2.9"]


@pytest.mark.parametrize(
    ("uri", "error"), [("sip:", ParseError), ("tel:+1", LocalProtocolError), ("x", ParseError)]
)
def test_a_uri_that_leads_nowhere_is_said_to(uri: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        read(uri)


def test_what_failed_is_avoided_for_a_while_and_what_answers_is_not() -> None:
    places = Known(Locating(avoid=30.0)).places
    flow, other = udp("192.0.2.7"), udp("192.0.2.8")
    assert places.avoids(flow, 0.0) is None
    places.failed(flow, "no answer", 0.0)
    places.failed(other, "no answer", 0.0)
    avoided = places.avoids(flow, 29.9)
    assert avoided is not None and (avoided.held, avoided.why) == (False, "no answer")
    places.answered(other)
    assert places.avoids(other, 1.0) is None
    assert places.avoids(flow, 30.0) is None and not places.avoided


def test_connections_and_memory_are_never_avoided_and_names_fail_apart() -> None:
    places = Known().places
    for flow in (
        Flow("tcp", HERE, ("192.0.2.7", 40000), 5),
        Flow("memory", ("gateway", 1), ("agent", 1)),
    ):
        places.failed(flow, "closed", 0.0)
        places.hold(flow, 60, 0.0)
        assert places.avoids(flow, 1.0) is None
    one = Flow("tls", HERE, ("192.0.2.7", 5061), 0, "a.example")
    two = Flow("tls", HERE, ("192.0.2.7", 5061), 0, "b.example")
    places.failed(one, "certificate", 0.0)
    assert places.avoids(one, 1.0) and not places.avoids(two, 1.0)
