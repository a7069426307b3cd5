"""SIP parse and print, PIDF parse, PIDF parse and map: in this process, one thread, CPU time.

Limits: for SIP the least any parser must do (decode, split into lines, split off names); for documents the
bare lxml parse of the same bytes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import cycle

from lxml import etree

from bench import documents
from bench.measure import Effort, Figure, figure, rate
from sipbridge.mapping.ocsg import Memory, to_attributes
from sipbridge.presence import pidf
from sipbridge.sip.message import Request
from sipbridge.sip.parser import parse_datagram
from sipbridge.uri import Uri

ENTITY = "sip:user@example.com"
DISTINCT = 1024
"""Different messages, in turn, so that nothing can be remembered from the last one."""
FIELDS = ("Via", "From", "To", "Call-ID", "CSeq", "Contact", "Event", "Subscription-State")


def split(data: bytes) -> dict[str, str]:
    head = data.partition(b"\r\n\r\n")[0].decode()
    found = {}
    for line in head.split("\r\n")[1:]:
        name, _, value = line.partition(":")
        found[name] = value.strip()
    return found


def joined(fields: Mapping[str, str], body: bytes) -> bytes:
    lines = [f"{name}: {value}" for name, value in fields.items()]
    return "\r\n".join(("NOTIFY sip:a@example.com SIP/2.0", *lines, "", "")).encode() + body


def parse(data: bytes) -> Request:
    """What a user agent reads of every request: the start line, all headers, those eight by their grammar."""
    message = parse_datagram(data)
    if not isinstance(message, Request):
        raise ValueError("not a request")
    message.top_via, message.from_, message.to, message.cseq, message.contact  # noqa: B018
    message.event, message.subscription_state, message.content_type  # noqa: B018
    return message


def row(
    name: str,
    unit: str,
    effort: Effort,
    ours: Callable[[], object],
    limit: tuple[str, Callable[[], object]],
    note: str = "",
) -> Figure:
    seconds = effort.count / 30_000
    mine, bare = [], []
    for _ in range(effort.runs):
        bare.append(rate(limit[1], seconds))
        mine.append(rate(ours, seconds))
    return figure(name, unit, mine, {limit[0]: bare}, note=note)


def over(work: Callable[[bytes], object], given: Sequence[bytes]) -> Callable[[], object]:
    turn = cycle(given)
    return lambda: work(next(turn))


def run(effort: Effort) -> Iterator[Figure]:
    """The rows of this benchmark."""
    notifies = [documents.notify(n) for n in range(DISTINCT)]
    size = f"{len(notifies[0])} bytes, {notifies[0].count(b': ', 0, 700)} headers"
    yield row(
        "SIP parse",
        "messages/CPU-s",
        effort,
        over(parse, notifies),
        ("split", over(split, notifies)),
        size,
    )
    parsed = cycle([parse(data) for data in notifies])
    fields = cycle([(split(data), data.partition(b"\r\n\r\n")[2]) for data in notifies])
    yield row(
        "SIP print",
        "messages/CPU-s",
        effort,
        lambda: bytes(next(parsed)),
        ("join", lambda: joined(*next(fields))),
    )
    yield from documents_run(effort)


def documents_run(effort: Effort) -> Iterator[Figure]:
    bodies = [documents.rich(ENTITY, n) for n in range(DISTINCT)]
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    bare = ("lxml", over(lambda body: etree.fromstring(body, parser), bodies))
    at, entity, memory = datetime(2026, 5, 4, 12, tzinfo=UTC), Uri.parse(ENTITY), Memory()

    def parse_and_map(body: bytes) -> object:
        return to_attributes(pidf.parse(body), at=at, presentity=entity, memory=memory)

    size = f"{len(bodies[0])} bytes"
    yield row("PIDF parse", "documents/CPU-s", effort, over(pidf.parse, bodies), bare, size)
    yield row("PIDF parse and map", "documents/CPU-s", effort, over(parse_and_map, bodies), bare)
