"""Server-sent events over a real socket, on a real log and bus."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
import uvicorn

from sipbridge.gateway.ports import Notification
from sipbridge.rest import BasicAuthenticator, streams
from sipbridge.rest.streams import EventStreams, last_event_id
from sipbridge.store.memory import MemoryStore
from sipbridge.store.memory_bus import MemoryBus
from tests.rest.conftest import ALICE, BOB, accounts

AT = datetime(2024, 5, 6, tzinfo=UTC)


class Reader:
    """Reads events off one response."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.content = answer.content
        self.place: list[str] = []
        """What the stream said at its start of where it is."""

    async def block(self) -> list[str]:
        """The lines up to the next empty one."""
        return (await self.content.readuntil(b"\n\n")).decode().splitlines()[:-1]

    async def event(self) -> tuple[str, str, str]:
        """Id, kind and data of the next event; comments and `retry` are passed over."""
        while True:
            fields = dict(line.split(": ", 1) for line in await self.block() if ": " in line)
            if "event" in fields:
                return fields.get("id", ""), fields["event"], fields["data"]


class Site:
    def __init__(self, ping: float) -> None:
        self.log, self.bus = MemoryStore(), MemoryBus()
        self.state: list[Notification] = []
        self.app = EventStreams(
            self.log,
            self.bus,
            BasicAuthenticator(accounts()),
            lambda application: f"n/{application}",
            allowed_origins=("https://pages.example",),
            ping=ping,
            restate=lambda application: self.state,
        )
        self.url = ""
        self.http = aiohttp.ClientSession(headers=ALICE)

    def tell(self, number: int, supersedes: str = "", application: str = "app_alice") -> None:
        data = b'{"n":%d}' % number
        kind = "statusChanged" if supersedes else "statusEnd"
        note = Notification(application, "/bayeux/x", kind, data, supersedes)
        self.bus.publish(f"n/{application}", self.log.append(note, AT))

    @asynccontextmanager
    async def reading(self, last: str | None = None, query: str = "") -> AsyncIterator[Reader]:
        headers = {} if last is None else {"Last-Event-ID": last}
        async with self.http.get(self.url + query, headers=headers) as answer:
            assert answer.status == 200
            assert answer.content_type == "text/event-stream"
            reader = Reader(answer)
            *reader.place, retry = await reader.block()
            assert retry == "retry: 2000"
            yield reader


@asynccontextmanager
async def running(ping: float = 15.0) -> AsyncIterator[Site]:
    site = Site(ping)
    config = uvicorn.Config(site.app, lifespan="off", log_level="warning")
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    listener = socket.create_server(("127.0.0.1", 0))
    await server.startup([listener])
    site.url = f"http://127.0.0.1:{listener.getsockname()[1]}/rest/presence/events"
    try:
        yield site
    finally:
        site.app.stop()
        await site.http.close()
        await server.shutdown([listener])
        assert site.app.streams == {}
        assert site.bus.listeners == {}


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with running() as found:
        yield found


async def test_a_stream_begins_with_what_comes_next(site: Site) -> None:
    site.tell(1)
    async with site.reading() as reader:
        site.tell(2)
        site.tell(3, "c", application="app_bob")
        site.tell(4, "c")
        assert await reader.event() == ("2", "statusEnd", '{"n":2}')
        assert await reader.event() == ("3", "statusChanged", '{"n":4}')


@pytest.mark.parametrize("place", ["header", "query"])
async def test_what_was_missed_is_replayed_exactly(site: Site, place: str) -> None:
    for number in range(1, 6):
        site.tell(number, "c")
    last, query = ("2", "") if place == "header" else (None, "?lastEventId=2")
    async with site.reading(last, query) as reader:
        assert [(await reader.event())[0] for _ in range(3)] == ["3", "4", "5"]
        site.tell(6)
        assert (await reader.event())[0] == "6"


async def test_a_stream_says_where_it_begins(site: Site) -> None:
    """Who is cut off before the first event goes on from there, and gets it."""
    site.tell(1)
    async with site.reading() as reader:
        assert reader.place == ["id: 1"]
    site.tell(2)
    async with site.reading(last="1") as reader:
        assert (await reader.event())[0] == "2"
    async with site.reading(last="99") as reader:
        assert reader.place == []  # never given out: the reset's last event says where it is


STATE = Notification("app_alice", "/bayeux/x", "statusChanged", b'{"n":"all"}', "a")


@pytest.mark.parametrize("last", ["1", "99", "no-number"])
async def test_beyond_the_log_there_is_a_reset_and_then_the_state(site: Site, last: str) -> None:
    """Differences are left out, the state says more; only the last event has an id."""
    site.state = [STATE, STATE]
    for number, supersedes in enumerate(["a", "a", "a", "b", "", "a", "b"], 1):
        site.tell(number, supersedes)
    site.log.trim("app_alice", 5, AT - timedelta(1))
    async with site.reading(last) as reader:
        assert await reader.event() == ("", "reset", "{}")
        assert await reader.event() == ("", "statusEnd", '{"n":5}')
        assert await reader.event() == ("", "statusChanged", '{"n":"all"}')
        assert await reader.event() == ("7", "statusChanged", '{"n":"all"}')
        site.tell(8)
        assert await reader.event() == ("8", "statusEnd", '{"n":8}')


async def test_a_reset_alone_has_the_id(site: Site) -> None:
    site.tell(1, "a")
    async with site.reading("99") as reader:
        assert await reader.event() == ("1", "reset", "{}")


async def test_the_state_too_is_what_may_be_seen(site: Site) -> None:
    site.state = [STATE]
    site.app.recheck = lambda notification: None
    site.tell(1)
    async with site.reading("99") as reader:
        assert await reader.event() == ("1", "reset", "{}")


async def test_who_has_seen_the_newest_missed_nothing_although_the_log_is_empty(site: Site) -> None:
    for number in (1, 2, 3):
        site.tell(number)
    site.log.trim("app_alice", 0, AT)
    async with site.reading("3") as reader:
        site.tell(4)
        assert (await reader.event())[0] == "4"
    async with site.reading("2") as reader:
        assert await reader.event() == ("", "reset", "{}")
        assert await reader.event() == ("4", "statusEnd", '{"n":4}')


async def test_an_empty_log_knows_no_id_but_zero(site: Site) -> None:
    async with site.reading("0") as reader:
        site.tell(1)
        assert (await reader.event())[0] == "1"
    async with site.reading("5") as reader:
        assert (await reader.event())[1] == "reset"


async def test_a_silent_stream_is_kept_alive() -> None:
    async with running(ping=0.02) as site, site.reading() as reader:
        assert await reader.block() == [":"]
        site.tell(1)
        assert (await reader.event())[0] == "1"


async def test_credentials_and_method_are_checked(site: Site) -> None:
    async with aiohttp.ClientSession() as stranger:
        async with stranger.get(site.url) as answer:
            assert answer.status == 401
            assert answer.headers["WWW-Authenticate"].startswith("Basic")
            assert (await answer.json())["error"]["messageId"] == "POL0001"
        async with stranger.post(site.url) as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "GET")
        foreign = {**BOB, "Origin": "https://evil.example"}
        async with stranger.get(site.url, headers=foreign) as answer:
            assert answer.status == 403
        listed = {**BOB, "Origin": "https://pages.example"}
        async with stranger.get(site.url, headers=listed) as answer:
            assert answer.headers["Access-Control-Allow-Origin"] == "https://pages.example"
        async with stranger.options(site.url, headers=listed) as answer:
            assert answer.status == 204


async def test_there_are_only_so_many_streams(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MAX_STREAMS", 1)
    async with site.reading(), site.http.get(site.url) as answer:
        assert answer.status == 503


async def test_a_revoked_application_loses_its_streams(site: Site) -> None:
    async with site.reading() as reader:
        site.app.revoke("app_alice")
        with pytest.raises(asyncio.IncompleteReadError):
            await reader.content.readexactly(1)


@pytest.mark.parametrize(
    ("headers", "query", "expected"),
    [
        ({}, {}, None),
        ({"last-event-id": "7"}, {"lastEventId": ["9"]}, 7),
        ({}, {"lastEventId": ["9"]}, 9),
        ({"last-event-id": ""}, {}, None),
        ({"last-event-id": "-1"}, {}, -1),
        ({"last-event-id": "9" * 40}, {}, -1),
    ],
)
def test_the_last_event_id(
    headers: dict[str, str], query: dict[str, list[str]], expected: int | None
) -> None:
    assert last_event_id(headers, query) == expected
