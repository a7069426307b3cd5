"""What applications are promised: order, retries, bounds, signatures, and that a restart loses nothing."""

import asyncio
import base64
import contextlib
import hmac
import json
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from sipbridge.errors import InvalidValue
from sipbridge.gateway.ports import LogEntry, Notification
from sipbridge.webhooks.client import Client
from sipbridge.webhooks.delivery import Limits, Webhooks, delay
from sipbridge.webhooks.indications import Delivered, Dropped, Postponed
from tests.webhooks.receivers import (
    APPLICATION,
    KEY,
    PATIENCE,
    Clock,
    Got,
    Receiver,
    decided,
    receiver,
    status,
)

QUICK = Limits(first_delay=0.01, longest_delay=0.05)


class Post:
    """Webhooks over a log in memory, and everything they say."""

    def __init__(self, limits: Limits = QUICK, seconds: float = 5.0) -> None:
        self.clock = Clock()
        self.limits = limits
        self.seconds = seconds
        self.log: list[LogEntry] = []
        self.kept: dict[str, str | None] = {}
        self.said: list[object] = []
        self.state: list[Notification] = []
        self.revoked: set[str] = set()
        self.news = asyncio.Event()
        self.keys = {APPLICATION: KEY}
        self.webhooks = self.made()

    def made(self) -> Webhooks:
        def remember(application: str, text: str | None) -> None:
            self.kept[application] = text
            self.news.set()

        return Webhooks(
            self.keys,
            Client(allow_private=True, timeout=self.seconds, connections=8),
            self.clock,
            allow_private=True,
            limits=self.limits,
            current=self.current,
            recheck=self.recheck,
            remember=remember,
            tell=self.tell,
            settle_after=0.01,
            jitter=lambda: 0.0,
        )

    def current(self, application: str, endpoint: str) -> Iterable[Notification]:
        return [note for note in self.state if note.endpoint == endpoint]

    def recheck(self, notification: Notification) -> Notification | None:
        return None if notification.supersedes in self.revoked else notification

    def tell(self, said: object) -> None:
        self.said.append(said)
        self.news.set()

    def send(self, *notifications: Notification) -> None:
        for notification in notifications:
            entry = LogEntry(len(self.log) + 1, self.clock.at(), notification)
            self.log.append(entry)
            self.webhooks.receive(entry)

    async def until(self, holds: Callable[[], object], hint: str = "") -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                while not holds():
                    self.news.clear()
                    await self.news.wait()
        except TimeoutError:
            raise AssertionError(f"{hint}: {self.said}") from None

    def dropped(self) -> list[tuple[str, int]]:
        return [(said.reason, said.count) for said in self.said if isinstance(said, Dropped)]

    def delivered(self) -> list[str]:
        return [said.id for said in self.said if isinstance(said, Delivered)]

    def postponed(self) -> list[str]:
        return [said.reason for said in self.said if isinstance(said, Postponed)]

    async def restart(self, *, crash: bool = False) -> None:
        """The same log and places, another life. crash: what was not written down is lost."""
        kept = dict(self.kept)
        await self.webhooks.stop(0)
        if crash:
            self.kept = kept
        self.webhooks = self.made()
        self.webhooks.restore(APPLICATION, self.kept.get(APPLICATION), self.log)
        self.webhooks.start()


@contextlib.asynccontextmanager
async def post(limits: Limits = QUICK, seconds: float = 5.0) -> AsyncIterator[Post]:
    made = Post(limits, seconds)
    made.webhooks.start()
    try:
        yield made
    finally:
        await made.webhooks.stop(0)


def numbers(got: Iterable[Got]) -> list[Any]:
    """What each request was: the number of a statusChanged, or its kind."""
    found = []
    for one in got:
        (kind, body), *_ = one.json.items()
        found.append(body.get("n", kind))
    return found


def ids(got: Iterable[Got]) -> list[str]:
    return [one.id for one in got]


# --- what arrives


async def test_a_notification_arrives_signed() -> None:
    async with receiver() as there, post() as ours:
        note = status(there.url(), 1)
        ours.send(note)
        (got,) = await there.until(1)
    stamp = str(int(ours.clock.at().timestamp()))
    assert got.body == note.data
    assert (got.id, got.headers["webhook-timestamp"]) == ("app_bob-1", stamp)
    signed = f"app_bob-1.{stamp}.".encode() + got.body
    wanted = base64.b64encode(hmac.new(KEY, signed, "sha256").digest()).decode()
    assert got.headers["webhook-signature"] == f"v1,{wanted}"


async def test_notifications_arrive_in_order_one_at_a_time() -> None:
    async with receiver() as there, post() as ours:
        ours.send(*(status(there.url(), n) for n in range(50)))
        got = await there.until(50)
        assert numbers(got) == list(range(50))
        assert there.most_busy == 1


async def test_endpoints_do_not_wait_for_each_other() -> None:
    release = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        await release.wait()
        return web.Response()

    async with receiver(slow) as one, receiver() as other, post() as ours:
        ours.send(status(one.url(), 1))
        await one.until(1)
        ours.send(*(status(other.url(), n) for n in range(5)))
        await other.until(5)
        release.set()
        await ours.until(lambda: len(ours.delivered()) == 6)


async def test_channels_are_left_to_bayeux() -> None:
    async with receiver() as there, post() as ours:
        ours.send(status("/bayeux/app_bob/presence", 1), status(there.url(), 2))
        assert numbers(await there.until(1)) == [2]
        await ours.until(ours.delivered)
    assert not ours.dropped()


# --- failures


async def test_a_failure_is_tried_again_until_it_works_and_the_order_stays() -> None:
    async with receiver(500, 404, 302) as there, post() as ours:
        ours.send(status(there.url(), 1), status(there.url(), 2))
        got = await there.until(5)
        await ours.until(lambda: len(ours.delivered()) == 2)
    assert numbers(got) == [1, 1, 1, 1, 2]
    assert ids(got) == ["app_bob-1"] * 4 + ["app_bob-2"]
    assert ours.postponed() == ["500", "404", "302"]
    assert not ours.dropped()


async def test_each_attempt_is_signed_for_its_own_time() -> None:
    async with receiver(500) as there, post() as ours:
        ours.send(status(there.url(), 1))
        await ours.until(ours.postponed)
        ours.clock.pass_seconds(60)
        first, second = await there.until(2)
    assert int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) == 60
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]


def test_pauses_double_to_a_bound_and_are_spread() -> None:
    limits = Limits(first_delay=1.0, longest_delay=300.0)
    assert [delay(n, 0, limits, 1.0) for n in (1, 2, 3, 9, 10, 500)] == [1, 2, 4, 256, 300, 300]
    assert delay(3, 0, limits, 0.0) == 2.0


def test_a_receiver_may_ask_for_a_longer_pause_within_the_bound() -> None:
    limits = Limits(first_delay=1.0, longest_delay=300.0)
    assert delay(1, 60, limits, 0.5) == 60
    assert delay(1, 86400, limits, 0.5) == 300


async def test_a_receiver_that_hangs_is_tried_again() -> None:
    async def hang(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async with receiver(hang) as there, post(seconds=0.2) as ours:
        ours.send(status(there.url(), 1))
        await ours.until(ours.delivered)
        assert numbers(there.got) == [1, 1]
    assert ours.postponed() == ["timeout"]


# --- bounds


async def test_what_failed_too_often_is_given_up_and_the_receiver_told_of_it() -> None:
    async with receiver(500, 500, 500) as there, post(replace(QUICK, max_attempts=3)) as ours:
        url = there.url()
        ours.state = [status(url, 99)]
        ours.send(status(url, 1), decided(url))
        got = await there.until(6)
        await ours.until(lambda: len(ours.delivered()) == 3)
    assert numbers(got) == [1, 1, 1, "reset", 99, "notifySubscription"]
    assert ours.dropped() == [("attempts", 1)]


async def test_what_is_too_old_is_given_up_and_the_state_takes_its_place() -> None:
    """The receiver comes back after an hour: it hears that it missed something, and how things are now."""
    async with receiver(*[503] * 4) as there, post() as ours:
        url = there.url()
        ours.send(status(url, 1), decided(url), status(url, 2))
        await ours.until(lambda: len(ours.postponed()) == 2)
        ours.state = [status(url, 99), status("https://elsewhere.example.com/", 98, "w-2")]
        ours.clock.pass_seconds(3600)
        await ours.until(lambda: len(ours.delivered()) == 2)
        ours.send(status(url, 3))
        await ours.until(lambda: len(ours.delivered()) == 3)
    assert numbers(there.got)[-3:] == ["reset", 99, 3]
    assert sum(count for reason, count in ours.dropped() if reason == "age") == 3
    assert len(set(ids(there.got[-3:]))) == 3


async def test_a_gap_without_a_state_is_told_before_the_next_notification() -> None:
    async with receiver(500, 500) as there, post(replace(QUICK, max_attempts=2)) as ours:
        ours.send(decided(there.url()))
        await ours.until(ours.dropped)
        ours.send(decided(there.url()))
        got = await there.until(4)
    assert numbers(got) == ["notifySubscription"] * 2 + ["reset", "notifySubscription"]


async def test_the_reset_itself_is_tried_until_it_works_with_the_state_of_then() -> None:
    async with receiver(500, 500, 204, 500) as there, post(replace(QUICK, max_attempts=1)) as ours:
        url = there.url()
        ours.state = [status(url, 98)]
        ours.send(status(url, 1))
        await ours.until(lambda: len(ours.postponed()) == 2)
        ours.state = [status(url, 99)]
        await ours.until(lambda: len(ours.postponed()) == 3)
        ours.clock.pass_seconds(1)
        got = await there.until(6)
    # 1 fails and is given up; reset fails; reset, 99 fails; reset, 99.
    assert numbers(got) == [1, "reset", "reset", 99, "reset", 99]
    assert len({got[n].id for n in (3, 5)}) == 2, "another state needs another id"


async def test_too_many_that_wait_are_given_up() -> None:
    release = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        await release.wait()
        return web.Response()

    async with receiver(slow) as there, post(replace(QUICK, max_waiting=10)) as ours:
        url = there.url()
        ours.state = [status(url, 99)]
        ours.send(status(url, 0))
        await there.until(1)
        ours.send(*(status(url, n) for n in range(1, 20)), decided(url))
        release.set()
        await ours.until(lambda: len(ours.delivered()) == 4)
        assert numbers(there.got) == [0, "reset", 99, "notifySubscription"]
    assert [reason for reason, _ in ours.dropped()] == ["queue"]


async def test_no_more_requests_at_a_time_than_allowed() -> None:
    there_busy = asyncio.Event()
    release = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        if there.busy == 3:
            there_busy.set()
        await release.wait()
        return web.Response()

    limits = replace(QUICK, concurrency=5, per_application=3)
    async with receiver(*[slow] * 20) as there, post(limits) as ours:
        ours.send(*(status(there.url(f"/{n}"), n) for n in range(20)))
        async with asyncio.timeout(PATIENCE):
            await there_busy.wait()
        release.set()
        await there.until(20)
        assert there.most_busy == 3


# --- permission


async def test_what_was_revoked_while_it_waited_is_not_sent() -> None:
    async with receiver(500) as there, post() as ours:
        url = there.url()
        ours.send(status(url, 1, "secret"), status(url, 2))
        await ours.until(ours.postponed)
        ours.revoked.add("secret")
        await ours.until(lambda: len(ours.delivered()) == 1)
        assert numbers(there.got) == [1, 2]
    assert ours.dropped() == [("revoked", 1)]


async def test_only_who_may_have_webhooks_has_them() -> None:
    async with receiver() as there, post() as ours:
        ours.webhooks.check(APPLICATION, there.url())
        with pytest.raises(InvalidValue) as caught:
            ours.webhooks.check("app_alice", there.url())
        assert caught.value.part == "endpoint"
        with pytest.raises(InvalidValue):
            ours.webhooks.check(APPLICATION, "ftp://example.com/")


async def test_addresses_inside_are_refused_at_once_where_they_are_not_allowed() -> None:
    async with post() as ours:
        ours.webhooks.allow_private = False
        with pytest.raises(InvalidValue):
            ours.webhooks.check(APPLICATION, "http://127.0.0.1/")


async def test_webhooks_taken_away_at_run_time_end_at_once() -> None:
    async with receiver(500) as there, post() as ours:
        ours.send(status(there.url(), 1))
        await ours.until(ours.postponed)
        ours.keys.clear()
        ours.send(status(there.url(), 2))
        await ours.until(lambda: len(ours.dropped()) == 2)
        with pytest.raises(InvalidValue):
            ours.webhooks.check(APPLICATION, there.url())
        assert {reason for reason, _ in ours.dropped()} == {"forbidden"}


async def test_an_application_that_is_removed_is_forgotten() -> None:
    async with receiver(500) as there, post() as ours:
        ours.send(status(there.url(), 1), status(there.url(), 2))
        await ours.until(ours.postponed)
        (line,) = ours.webhooks.lines.values()
        ours.webhooks.forget(APPLICATION)
        assert line.task is not None
        await line.task
        assert not ours.webhooks.lines
        assert numbers(there.got) == [1]


async def test_a_new_key_signs_the_next_request() -> None:
    async with receiver(500) as there, post() as ours:
        ours.send(status(there.url(), 1))
        await ours.until(ours.postponed)
        ours.keys[APPLICATION] = KEY[::-1]
        first, second = await there.until(2)
    signed = f"{second.id}.{second.headers['webhook-timestamp']}.".encode() + second.body
    wanted = base64.b64encode(hmac.new(KEY[::-1], signed, "sha256").digest()).decode()
    assert second.headers["webhook-signature"] == f"v1,{wanted}"
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]


# --- restarts


async def delivered_then_down(there: Receiver, ours: Post) -> None:
    """Two are through, then the receiver fails and three more wait."""
    ours.send(status(there.url(), 1), status(there.url(), 2))
    await ours.until(lambda: len(ours.delivered()) == 2)
    there.answers = [503] * 1000
    ours.send(*(status(there.url(), n) for n in (3, 4, 5)))
    await ours.until(ours.postponed)


@pytest.mark.parametrize("crash", [False, True])
async def test_a_restart_goes_on_where_it_was(crash: bool) -> None:
    async with receiver() as there, post() as ours:
        await delivered_then_down(there, ours)
        await ours.until(lambda: ours.webhooks.settling is None)
        await ours.restart(crash=crash)
        there.answers.clear()
        before = len(there.got)
        await ours.until(lambda: len(ours.delivered()) >= 5)
        after = numbers(there.got[before:])
        assert after[-3:] == [3, 4, 5]
        assert not {1, 2} & set(after)
    assert not ours.dropped()


async def test_a_crash_right_after_the_first_notification_loses_nothing() -> None:
    async with receiver(503, 503, 503) as there, post() as ours:
        ours.send(status(there.url(), 1))
        await ours.restart(crash=True)
        await ours.until(ours.delivered)
        assert numbers(there.got)[-1] == 1


async def test_what_the_log_lost_meanwhile_is_a_gap() -> None:
    async with receiver() as there, post() as ours:
        await delivered_then_down(there, ours)
        await ours.until(lambda: ours.webhooks.settling is None)
        ours.state = [status(there.url(), 99)]
        del ours.log[:4]  # the entry that waits first is 3
        await ours.restart()
        there.answers.clear()
        await ours.until(lambda: len(ours.delivered()) == 4)
        assert numbers(there.got)[-2:] == ["reset", 99]
    assert ours.dropped() == [("log", 1)]


async def test_a_gap_is_remembered_over_a_restart() -> None:
    async with receiver(500) as there, post(replace(QUICK, max_attempts=1)) as ours:
        ours.send(decided(there.url()))
        await ours.until(ours.dropped)
        await ours.restart()
        ours.send(decided(there.url()))
        assert numbers(await there.until(3))[1:] == ["reset", "notifySubscription"]


async def test_an_application_without_webhooks_after_a_restart_gets_nothing() -> None:
    async with receiver(*[503] * 100) as there, post() as ours:
        ours.send(status(there.url(), 1))
        await ours.until(ours.postponed)
        ours.keys.clear()
        await ours.restart()
        assert ours.webhooks.lines == {}
        assert ours.dropped() == [("forbidden", 1)]


async def test_a_stop_waits_for_the_request_on_its_way() -> None:
    begun, release = asyncio.Event(), asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        begun.set()
        await release.wait()
        return web.Response()

    async with receiver(slow) as there, post() as ours:
        ours.send(status(there.url(), 1))
        await begun.wait()
        stopping = asyncio.create_task(ours.webhooks.stop())
        release.set()
        await stopping
        assert ours.delivered() == ["app_bob-1"]
        place = json.loads(ours.kept[APPLICATION] or "")
        assert place == {"seen": 1, "behind": {}, "gaps": {}}


# --- what is forgotten


async def test_a_line_that_has_nothing_to_do_is_forgotten() -> None:
    async with receiver() as there, post() as ours:
        ours.send(*(status(there.url(f"/{n}"), n) for n in range(30)))
        tasks = [line.task for line in ours.webhooks.lines.values() if line.task is not None]
        assert len(tasks) == 30
        await asyncio.gather(*tasks)
        assert not ours.webhooks.lines
        assert len(ours.delivered()) == 30
