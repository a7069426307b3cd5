"""What a bridge makes of a state in which it fell: between two commits, before and after any answer."""

import asyncio
import contextlib
import json
import shutil
import sqlite3
from pathlib import Path

from sipbridge.app.sip_client import SipClient
from sipbridge.events.budget import RATE
from sipbridge.events.subscriber import Notified
from sipbridge.uri import Uri
from tests.app.rig import Application, kept, presence_server, remote, settings, site
from tests.harness.ports import free_port
from tests.interop.wire import Message

ALICE, BOB, CAROL = (f"sip:{name}@example.com" for name in ("alice", "bob", "carol"))


async def test_a_publication_that_was_never_acknowledged_is_taken_back_from_a_remote_server(
    tmp_path: Path,
) -> None:
    """We fell after the server's answer, before the attributes were kept: nobody would refresh it."""
    async with presence_server() as server:
        wanted = settings(store=kept(tmp_path), presence_server=remote(server))
        async with site(wanted) as there:
            await there.application("alice").publish(Activity="Meeting")
        forget(tmp_path, "published")
        async with site(wanted) as there:
            removal = await server.request("PUBLISH", 1)
            assert (removal.get("expires"), removal.get("sip-if-match")) == ("0", "e1")
            await there.application("alice").publish(Activity="Travel")
        assert server.requests("PUBLISH")[2].get("sip-if-match") == ""


async def test_our_own_agent_is_told_again_what_is_published_before_it_tells_anybody(
    tmp_path: Path,
) -> None:
    port = free_port()
    wanted = settings(
        store=kept(tmp_path),
        sip={"listen": [f"udp:127.0.0.1:{port}"], "domain": "example.com"},
        agent={"sub_handling": "allow"},
    )
    carol = SipClient(Uri.parse(CAROL), f"127.0.0.1:{port}")
    await carol.open()
    try:
        async with site(wanted) as there:
            await there.application("alice").publish(Activity="Meeting")
            assert there.graph is not None
            assert not await there.graph.store.load_agent()  # nothing that lives and dies with us
            carol.subscribe(Uri.parse(ALICE))
            await carol.wait_for(lambda s: isinstance(s, Notified) and b"meeting" in s.body, 5.0)
        async with site(wanted):
            said = await carol.wait_for(lambda s: isinstance(s, Notified), 5.0)
            assert isinstance(said, Notified) and b"meeting" in said.body
    finally:
        await carol.close()


async def test_what_was_decided_and_not_yet_told_is_told_after_the_restart(tmp_path: Path) -> None:
    """We fell between the commit of a decision and its notification; the second one is a block."""
    wanted = settings(store=kept(tmp_path))
    async with site(wanted) as there:
        alice, bob = there.application("alice"), there.application("bob")
        await bob.subscribe(ALICE)
        await alice.decide(BOB, Activity=True, Place=False)
        assert await bob.start(ALICE) == []
    undo(tmp_path, "subscriptions", told=[], state="pending")
    forget(tmp_path, "pages")
    async with site(wanted) as there:
        assert await there.application("alice").watchers() == [BOB]
        bob = await there.application("bob").listen()
        told = await bob.told("notifySubscription")
        assert [d["decision"] for d in told["decisions"]] == [True, False]
        await bob.hush()
    copy = shutil.copytree(tmp_path, tmp_path / "before")
    async with site(wanted) as there:
        await there.application("alice").block(BOB)
    for table in ("subscriptions", "contracts", "states", "pages"):
        restore(tmp_path, copy, table)
    async with site(wanted) as there:
        assert await there.application("alice").watchers() == []
        bob = await there.application("bob").listen()
        assert (await bob.told("subscriptionEnded"))["reason"] == "Blocked"


async def test_a_remote_server_is_not_asked_for_everything_at_once(tmp_path: Path) -> None:
    many = 30
    async with presence_server() as server:
        wanted = settings(store=kept(tmp_path), presence_server=remote(server))
        async with site(wanted) as there:
            bob = there.application("bob")
            for number in range(many):
                await bob.subscribe(f"sip:p{number}@example.com", correlator=f"s{number}")
        before = len(server.requests("SUBSCRIBE"))
        times: list[float] = []
        answer = server.answer

        def noting(request: Message, sender: tuple[str, int]) -> None:
            if request.get("event") == "presence":
                times.append(asyncio.get_running_loop().time())
            answer(request, sender)

        server.answer = noting  # type: ignore[method-assign]
        async with site(wanted):
            await server.request("SUBSCRIBE", before + many - 1)
        assert times[-1] - times[0] > 0.5 * (many - 5) / RATE


async def test_a_state_file_of_the_first_version_goes_on(tmp_path: Path) -> None:
    async with presence_server() as phone:  # Carol's, at the address that she had given
        script = (Path(__file__).parents[1] / "store" / "version1.sql").read_text()
        with contextlib.closing(sqlite3.connect(tmp_path / "state.db")) as old:
            old.executescript(script.replace("127.0.0.1:54036", f"127.0.0.1:{phone.port}"))
        async with site(store=kept(tmp_path)) as there:
            alice, bob = there.application("alice"), await there.application("bob").listen()
            notify = await phone.request("NOTIFY")
            assert notify.get("call-id") == "2c246c6aa7d9921ccda5f34040f1c81a"
            assert int(notify.get("cseq").split()[0]) > 1
            assert notify.get("subscription-state").startswith("pending")
            assert await alice.watchers() == [BOB]
            assert CAROL in await alice.open_subscriptions()
            await bob.told("notifySubscription")  # neither had been fetched
            await bob.told_correlated("w-1", Activity="Meeting")
            await alice.publish(Activity="Travel")
            await bob.told_correlated("w-1", Activity="Travel")
            assert there.graph is not None and there.graph.agent is not None
            # The publication that the agent had stored was modified, not doubled.
            assert len(there.graph.agent.compositor.by_etag) == 2
            for value in ("Meal", "Busy", "Meeting"):
                await alice.publish(Activity=value)
                if value != "Meeting":
                    await bob.told_correlated("w-1", Activity=value)
            assert (await bob.told("statusEnd")) == {"correlator": "w-1"}


def forget(folder: Path, table: str) -> None:
    """As if these records had not reached the disk."""
    with contextlib.closing(sqlite3.connect(folder / "state.db")) as db, db:
        db.execute(f"DELETE FROM {table}")


def undo(folder: Path, table: str, **before: object) -> None:
    """Change fields of every record."""
    with contextlib.closing(sqlite3.connect(folder / "state.db")) as db, db:
        for row, text in db.execute(f"SELECT rowid, record FROM {table}").fetchall():
            record = json.dumps(json.loads(text) | before)
            db.execute(f"UPDATE {table} SET record = ? WHERE rowid = ?", (record, row))


def restore(folder: Path, copy: Path, table: str) -> None:
    """The rows of a table as they were in the copy."""
    with contextlib.closing(sqlite3.connect(folder / "state.db")) as db, db:
        db.execute("ATTACH ? AS before", (str(copy / "state.db"),))
        db.execute(f"DELETE FROM main.{table}")
        db.execute(f"INSERT INTO main.{table} SELECT * FROM before.{table}")


async def test_sessions_end_with_us_and_what_was_asked_for_does_not(tmp_path: Path) -> None:
    wanted = settings(store=kept(tmp_path), ocsg={"sessions": True})
    path = "/rest/presence/subscription?status=open"
    async with site(wanted) as there:
        bob = there.application("bob")
        session = await opened(bob)
        body = {
            "application": "Desk app",
            "presentity": ALICE,
            "reference": bob.reference("s-1"),
        }
        path_to = "/rest/presence/subscription"
        assert (await bob.ask("POST", path_to, body, **session))[0] == 204
    async with site(wanted) as there:
        alice = there.application("alice")
        status, answer = await there.application("bob").ask("GET", path, **session)
        assert (status, answer["error"]["type"]) == (403, "GeneralException")
        status, answer = await alice.ask("GET", path, **await opened(alice))
        assert (status, [o["watcher"] for o in answer["result"]]) == (200, [BOB])


async def opened(application: Application) -> dict[str, str]:
    _, answer = await application.ask("POST", "/rest/session_manager/sessions")
    return {"X-Session-ID": answer["getSessionReturn"]}
