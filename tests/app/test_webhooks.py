"""Webhooks through a whole bridge: from a publication to a signed request, over restarts and kill -9."""

import base64
import hmac
import json
import re
import signal
from pathlib import Path
from typing import Any

from tests.app.processes import served
from tests.app.rig import (
    Application,
    Site,
    application,
    configuration,
    kept,
    settings,
    site,
    values,
)
from tests.app.test_admin import ADMIN, operator
from tests.webhooks.receivers import Got, Receiver, receiver

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
ALICE, BOB = "sip:alice@example.com", "sip:bob@example.com"
QUICK = {"allow_private": True, "first_delay": 0.02, "longest_delay": 0.1}


def hooked(**more: object) -> list[dict[str, object]]:
    bob = application("bob", webhooks=True, webhook_secret=SECRET, **more)
    return [application("alice"), bob]


def told(got: Got) -> tuple[str, dict[str, Any]]:
    """Kind and content of a request that is genuine."""
    signed = f"{got.id}.{got.headers['webhook-timestamp']}.".encode() + got.body
    wanted = base64.b64encode(hmac.new(KEY, signed, "sha256").digest()).decode()
    assert got.headers["webhook-signature"] == f"v1,{wanted}"
    ((kind, body),) = got.json.items()
    return kind, body


async def watch(alice: Application, watcher: Application, url: str) -> None:
    """The watcher is granted everything and wants to be told at the URL."""
    reference = {"correlator": "w-1", "endpoint": url}
    await watcher.rest(
        "POST",
        "/subscription",
        {"application": "Desk", "presentity": ALICE, "reference": reference},
    )
    await alice.grant_all(watcher.uri)
    assert await watcher.start(ALICE, reference=reference) == []


async def test_a_status_change_is_posted_signed() -> None:
    async with (
        receiver() as there,
        site(applications=hooked(), webhooks=QUICK) as here,
    ):
        alice, bob = here.application("alice"), here.application("bob")
        await watch(alice, bob, there.url("/presence?team=7"))
        await alice.publish(Activity="Meeting")
        decided, changed = (await there.until(2))[:2]
        assert decided.path == "/presence?team=7"
        kind, body = told(decided)
        assert kind == "notifySubscription"
        assert {"presenceAttribute": "Activity", "decision": True} in body["decisions"]
        kind, body = told(changed)
        assert (kind, body["correlator"], body["presentity"]) == ("statusChanged", "w-1", ALICE)
        assert values(body["changedAttributes"])["Activity"] == "Meeting"
        text = await bob.text("/metrics")
        assert re.search(r'sipbridge_webhooks_total\{outcome="delivered"\} [12]\.0', text)


async def refusal(here: Site, name: str, endpoint: str) -> dict[str, Any]:
    status, answer = await here.application(name).ask(
        "POST",
        "/rest/presence/subscription",
        {
            "application": "Desk",
            "presentity": ALICE,
            "reference": {"correlator": "s-1", "endpoint": endpoint},
        },
    )
    assert status == 400, answer
    found: dict[str, Any] = answer
    return found


async def test_who_may_not_have_webhooks_is_told_so_at_once() -> None:
    async with site(applications=hooked()) as here:
        for name, endpoint in [
            ("alice", "https://hooks.example.com/"),
            ("bob", "http://127.0.0.1:9/"),
            ("bob", "http://[::1]/"),
            ("bob", "ftp://hooks.example.com/"),
            ("bob", "https://user:word@hooks.example.com/"),
        ]:
            answer = json.dumps(await refusal(here, name, endpoint))
            assert "SVC0002" in answer and "endpoint" in answer


async def test_webhooks_and_channels_do_not_get_each_others_notifications() -> None:
    async with receiver() as there, site(applications=hooked(), webhooks=QUICK) as here:
        alice, bob = here.application("alice"), here.application("bob")
        await bob.listen()
        await watch(alice, bob, there.url())
        assert await bob.start(ALICE, correlator="w-2") == []
        await alice.publish(Activity="Busy")
        await bob.told_correlated("w-2", Activity="Busy")
        correlators = {told(got)[1].get("correlator") for got in await there.until(2)}
        assert correlators <= {None, "w-1"}
        assert bob.inbox.empty()


async def test_a_revoked_attribute_is_not_posted_later() -> None:
    """The receiver fails while alice shows where she is; then she takes that back."""
    async with receiver() as there, site(applications=hooked(), webhooks=QUICK) as here:
        alice, bob = here.application("alice"), here.application("bob")
        await watch(alice, bob, there.url())
        await there.until(1)
        there.answers = [503] * 100_000
        await alice.publish(Activity="Meeting", Place="Home")
        await until_failing(there)
        await alice.decide(BOB, Place=False)
        before = len(there.got)
        there.answers.clear()
        await alice.publish(Activity="Busy")
        while not any(b'"Busy"' in got.body for got in there.got):
            await there.until(len(there.got) + 1)
        after = b"".join(got.body for got in there.got[before:])
        assert b"Home" not in after
        assert b"Meeting" in after


async def until_failing(there: Receiver) -> None:
    while not there.got or b"Home" not in there.got[-1].body:
        await there.until(len(there.got) + 1)


def written(folder: Path) -> list[bytes]:
    return [file.read_bytes() for file in folder.iterdir()]


async def test_webhooks_are_given_and_taken_at_run_time(tmp_path: Path) -> None:
    """The secret comes in by the operator, is kept sealed, and signs after a restart, too."""
    wanted = settings(store=kept(tmp_path), admin=ADMIN, webhooks=QUICK)
    async with receiver() as there:
        async with site(wanted) as here:
            boss, alice = operator(here), here.application("alice")
            made = await boss.add("carol", webhook_secret=SECRET)
            assert made["webhooks"] is True and SECRET not in json.dumps(made)
            carol = here.application("carol")
            await watch(alice, carol, there.url())
            kind, _ = told((await there.until(1))[0])
            assert kind == "notifySubscription"
        assert SECRET.encode() not in b"".join(written(tmp_path))
        async with site(wanted) as here:
            boss, alice = operator(here), here.application("alice")
            await alice.publish(Activity="Meeting")
            while b'"Meeting"' not in there.got[-1].body:
                await there.until(len(there.got) + 1)
            told(there.got[-1])
            status, answer = await boss.ask(
                "PATCH", "/admin/applications/app_carol", {"webhook_secret": "too short"}
            )
            assert status == 400 and "too short" not in json.dumps(answer)
            assert (await boss.change("carol", webhook_secret=None))["webhooks"] is False
            await refusal(here, "carol", there.url())


async def test_a_restart_goes_on_where_it_was(tmp_path: Path) -> None:
    wanted = settings(store=kept(tmp_path), applications=hooked(), webhooks=QUICK)
    async with receiver() as there:
        async with site(wanted) as here:
            alice, bob = here.application("alice"), here.application("bob")
            await watch(alice, bob, there.url())
            await there.until(1)
            there.answers = [503] * 100_000
            await alice.publish(Activity="Meeting")
            await alice.publish(Activity="Busy")
            await there.until(len(there.got) + 1)
        there.answers.clear()
        before = len(there.got)
        async with site(wanted):
            while not any(b'"Busy"' in got.body for got in there.got[before:]):
                await there.until(len(there.got) + 1)
        said = [got for got in there.got[before:] if b'"statusChanged"' in got.body]
        sequences = [int(got.id.rpartition("-")[2]) for got in said]
        assert sequences == sorted(set(sequences)), "each once, in order"
        activities = [values(told(got)[1]["changedAttributes"]).get("Activity") for got in said]
        assert activities[-2:] == ["Meeting", "Busy"]


async def test_kill_9_loses_nothing(tmp_path: Path) -> None:
    """What was acknowledged as published is told, whenever the receiver and we are there again."""
    tree = configuration(
        store=kept(tmp_path), applications=hooked(), webhooks=QUICK, log={"level": "error"}
    )
    async with receiver() as there:
        async with served(tmp_path, tree) as here:
            alice, bob = here.application("alice"), here.application("bob")
            await watch(alice, bob, there.url())
            await there.until(1)
            there.answers = [503] * 100_000
            for activity in ("Meeting", "Busy", "Away"):
                await alice.publish(Activity=activity)
            await here.stop(signal.SIGKILL)
        there.answers.clear()
        before = len(there.got)
        async with served(tmp_path, tree):
            while not any(b'"Away"' in got.body for got in there.got[before:]):
                await there.until(len(there.got) + 1)
        once = {got.id: got for got in there.got[before:] if b'"statusChanged"' in got.body}
        order = [values(told(got)[1]["changedAttributes"]).get("Activity") for got in once.values()]
        assert order == [a for a in ("Meeting", "Busy", "Away") if a in order]
