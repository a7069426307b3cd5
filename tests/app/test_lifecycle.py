"""Starting, stopping, and what a bridge still knows when it comes back."""

import asyncio
import logging
import os
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from sipbridge.app.lifecycle import Bridge, Listening, running
from sipbridge.app.settings import Settings
from sipbridge.errors import ConfigurationError, SipBridgeError, StoreUnavailable
from tests.app.rig import (
    attributes,
    kept,
    presence_server,
    remote,
    settings,
    site,
    until,
)
from tests.app.test_admin import ADMIN
from tests.harness.ports import free_port

ALICE, BOB, CAROL = (f"sip:{name}@example.com" for name in ("alice", "bob", "carol"))


def open_files() -> Counter[str]:
    """Sockets and files of this process, by kind; two sockets of one kind count two."""
    found: Counter[str] = Counter()
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{descriptor}")
        except OSError:
            continue
        found[target.partition(":")[0] if target.startswith("socket") else target] += 1
    return found


async def refused(wanted: Settings, *, but: str = "/") -> SipBridgeError:
    """Why a bridge does not start; whatever it had opened (`but` this file) is closed again."""
    before, tasks = open_files(), asyncio.all_tasks()
    with pytest.raises(SipBridgeError) as caught:
        await Bridge(wanted).start()
    await asyncio.sleep(0)
    assert open_files() - Counter({but: 1}) == before
    assert but != "/" or asyncio.all_tasks() <= tasks
    return caught.value


# --- start and stop


@pytest.mark.parametrize("mode", ["embedded", "remote", "both"])
async def test_a_bridge_leaves_nothing_open(mode: str, tmp_path: Path) -> None:
    there = remote("sip:127.0.0.1:9;transport=udp")
    sections: dict[str, Any] = {"store": kept(tmp_path)}
    if mode == "remote":
        sections["presence_server"] = there
    if mode == "both":
        sections["presence_servers"] = [{"domain": "partner.example", **there}]
    before, tasks = open_files(), asyncio.all_tasks()
    async with site(**sections) as running_site:
        assert open_files() != before
        await running_site.application("alice").watchers()
    await asyncio.sleep(0)
    assert open_files() == before
    assert asyncio.all_tasks() <= tasks


async def test_ports_are_free_again_after_the_end() -> None:
    port = free_port()
    for _ in range(3):
        async with running(settings(http={"port": port})) as bridge:
            assert bridge.ready.http == f"http://127.0.0.1:{port}"


async def test_the_ready_line_names_the_listeners_as_they_are() -> None:
    async with running(settings()) as bridge:
        ready = bridge.ready.as_json()
        assert list(ready) == ["ready", "http", "sip"]
        assert ready["ready"] is True
        udp, tcp = bridge.ready.sip
        assert udp.startswith("udp:127.0.0.1:") and tcp.startswith("tcp:127.0.0.1:")
        assert not udp.endswith(":0") and not tcp.endswith(":0")
        with socket.create_connection(("127.0.0.1", int(tcp.rpartition(":")[2]))):
            pass


@pytest.mark.parametrize(
    ("sections", "said"),
    [({"applications": []}, True), ({}, False), ({"applications": [], "admin": ADMIN}, False)],
)
async def test_a_bridge_that_nobody_can_call_says_so(
    sections: dict[str, object], said: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `serve` without a configuration does."""
    log = {"level": "info", "format": "text"}
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    async with running(settings(log=log, **sections)):
        pass
    root.handlers[:] = handlers
    root.setLevel(level)
    written = capsys.readouterr().err
    assert "ready" in written and ("add [[applications]]" in written) is said


def test_before_the_start_nothing_listens() -> None:
    assert Bridge(settings()).ready == Listening()


async def test_stopping_what_never_started_is_no_fault() -> None:
    await Bridge(settings()).stop()


async def test_a_held_connect_is_answered_when_the_bridge_stops() -> None:
    async with running(settings()) as bridge:
        from tests.app.rig import Application

        bob = await Application(bridge.ready.http, "bob").listen()
        try:
            assert bridge.graph is not None
            # The connect is there as soon as a later request of the same client was served.
            await bob.watchers()
            polling = bob.polling
            assert polling is not None and not polling.done()
            await bridge.stop()
            await asyncio.wait_for(polling, 5.0)
        finally:
            await bob.close()


# --- what keeps it from starting


async def test_an_http_port_in_use_is_named_with_its_remedy(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        fault = await refused(settings(http={"port": port}, store=kept(tmp_path)))
    assert isinstance(fault, ConfigurationError)
    assert fault.key == "http.port"
    assert f"127.0.0.1:{port}" in str(fault)
    assert "choose another port" in str(fault)
    assert "\n" not in str(fault)


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
async def test_a_sip_port_in_use_is_named_with_its_remedy(protocol: str, tmp_path: Path) -> None:
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind(("127.0.0.1", 0))
        if protocol == "tcp":
            other.listen()
        taken = f"{protocol}:127.0.0.1:{other.getsockname()[1]}"
        listen = ["udp:127.0.0.1:0", "tcp:127.0.0.1:0", taken]
        fault = await refused(settings(sip={"listen": listen}, store=kept(tmp_path)))
    assert isinstance(fault, ConfigurationError)
    assert fault.key == "sip.listen"
    assert taken in str(fault)
    assert "another port" in str(fault)
    assert "\n" not in str(fault)


async def test_a_store_in_use_keeps_a_second_bridge_from_starting(tmp_path: Path) -> None:
    async with running(settings(store=kept(tmp_path))):
        # SQLite keeps a file open as long as the same process has locks on it.
        fault = await refused(settings(store=kept(tmp_path)), but=str(tmp_path / "state.db"))
    assert isinstance(fault, StoreUnavailable)
    assert "in use" in str(fault)


async def test_a_store_that_cannot_be_read_keeps_the_bridge_from_starting(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"this is no database, it is a letter to a friend" * 100)
    fault = await refused(settings(store=kept(tmp_path)))
    assert isinstance(fault, StoreUnavailable)


async def test_a_certificate_that_is_none_keeps_the_bridge_from_starting(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("no certificate")
    (tmp_path / "key.pem").write_text("no key")
    http = {
        "port": 0,
        "tls_cert": str(tmp_path / "cert.pem"),
        "tls_key": str(tmp_path / "key.pem"),
    }
    fault = await refused(settings(http=http, store=kept(tmp_path)))
    assert isinstance(fault, ConfigurationError)
    assert fault.key == "http.tls_cert"


# --- coming back


async def test_rules_survive(tmp_path: Path) -> None:
    wanted = settings(store=kept(tmp_path))
    async with site(wanted) as there:
        alice, bob = there.application("alice"), there.application("bob")
        await bob.subscribe(ALICE)
        await alice.decide(BOB, Activity=True, Place=False)
        assert await alice.watchers() == [BOB]
    async with site(wanted) as there:
        alice, bob = there.application("alice"), there.application("bob")
        await alice.publish(Activity="Meeting", Place="Office")
        status, answer = await until(
            lambda: bob.presence(ALICE), lambda a: a[0] == 200 and a[1]["result"]
        )
        kinds = {a["typeAndValue"]["unionElement"] for a in answer["result"]}
        assert kinds <= {"Activity", "Other"} and "Activity" in kinds
        entry = (await alice.open_subscriptions())[BOB]
        assert "Place" not in entry["attributes"]  # decided: it is not open any more


async def test_a_publication_is_modified_and_not_doubled(tmp_path: Path) -> None:
    wanted = settings(store=kept(tmp_path))
    async with site(wanted) as there:
        await there.application("alice").publish(Activity="Meeting", Place="Office")
        assert there.graph is not None and there.graph.agent is not None
        assert len(there.graph.agent.compositor.by_etag) == 1
    async with site(wanted) as there:
        alice = there.application("alice")
        await alice.publish(Activity="Travel")
        assert there.graph is not None and there.graph.agent is not None
        compositor = there.graph.agent.compositor
        assert len(compositor.by_etag) == 1
        (publication,) = compositor.by_etag.values()
        assert b"travel" in publication.body
        assert b"meeting" not in publication.body
        assert b"office" in publication.body  # the kind that was not named stays


async def test_a_publication_at_a_remote_server_is_modified_with_its_entity_tag(
    tmp_path: Path,
) -> None:
    async with presence_server() as server:
        wanted = settings(store=kept(tmp_path), presence_server=remote(server))
        async with site(wanted) as there:
            await there.application("alice").publish(Activity="Meeting")
        async with site(wanted) as there:
            await server.request("PUBLISH", 1)
            await there.application("alice").publish(Activity="Travel")
        conditions = [m.get("sip-if-match") for m in server.requests("PUBLISH")]
        assert conditions[0] == ""
        assert conditions[1:] == [f"e{n}" for n in range(1, len(conditions))]


async def test_a_removed_publication_does_not_come_back(tmp_path: Path) -> None:
    async with presence_server() as server:
        wanted = settings(store=kept(tmp_path), presence_server=remote(server))
        async with site(wanted) as there:
            alice = there.application("alice")
            await alice.publish(Activity="Meeting")
            await alice.rest("PUT", "/presence", {"presence": []})
        count = len(server.requests("PUBLISH"))
        async with site(wanted) as there:
            await server.subscription(ALICE, "presence.winfo", 1)
            await server.subscription(BOB, "presence.winfo", 1)
        assert len(server.requests("PUBLISH")) == count


async def test_a_subscription_and_its_contract_go_on(tmp_path: Path) -> None:
    wanted = settings(store=kept(tmp_path))
    async with site(wanted) as there:
        alice, bob = there.application("alice"), there.application("bob")
        await bob.subscribe(ALICE)
        await alice.grant_all(BOB)
        await alice.publish(Activity="Meeting")
        assert await bob.start(ALICE) == []
    async with site(wanted) as there:
        alice, bob = there.application("alice"), await there.application("bob").listen()
        await alice.publish(Activity="Travel")
        await bob.told("notifySubscription")
        await bob.told_correlated("w-1", Activity="Travel")
        status, answer = await bob.ask(
            "PUT",
            "/rest/presence/notification",
            {
                "presentity": ALICE,
                "reference": bob.reference("w-1"),
                "frequency": {"metric": "Second", "units": 0},
                "checkImmediate": True,
            },
        )
        assert (status, answer["error"]["messageId"]) == (409, "SVC0005")
        await bob.rest("DELETE", "/notification/w-1")


async def test_a_contract_that_ran_out_meanwhile_ends_with_one_status_end(tmp_path: Path) -> None:
    wanted = settings(store=kept(tmp_path))
    async with site(wanted) as there:
        alice, bob = there.application("alice"), there.application("bob")
        await bob.subscribe(ALICE)
        await alice.grant_all(BOB)
        duration = {"metric": "Millisecond", "units": 300}
        assert await bob.start(ALICE, duration=duration) == []
    async with site(wanted) as there:
        bob = await there.application("bob").listen()
        kinds = []
        while "statusEnd" not in kinds:
            message = await asyncio.wait_for(bob.inbox.get(), 8.0)
            kinds += list(message)
            if "statusEnd" in message:
                assert message["statusEnd"] == {"correlator": "w-1"}
        assert kinds.count("statusEnd") == 1
        assert await bob.start(ALICE) in ([], [ALICE])  # the correlator is free again


async def test_an_embedded_agents_sip_watchers_are_notified_after_the_restart(
    tmp_path: Path,
) -> None:
    port = free_port()
    wanted = settings(
        store=kept(tmp_path), sip={"listen": [f"udp:127.0.0.1:{port}"], "domain": "example.com"}
    )
    from sipbridge.app.sip_client import SipClient
    from sipbridge.events.subscriber import Notified
    from sipbridge.uri import Uri

    carol = SipClient(Uri.parse(CAROL), f"127.0.0.1:{port}")
    await carol.open()
    try:
        async with site(wanted) as there:
            alice = there.application("alice")
            await alice.publish(Activity="Meeting")
            carol.subscribe(Uri.parse(ALICE))
            await carol.wait_for(lambda s: isinstance(s, Notified), 5.0)
            await until(alice.open_subscriptions, lambda found: CAROL in found)
            await alice.grant_all(CAROL)
            await carol.wait_for(lambda s: isinstance(s, Notified) and b"meeting" in s.body, 5.0)
        async with site(wanted) as there:
            await there.application("alice").publish(Activity="Travel")
            said = await carol.wait_for(
                lambda s: isinstance(s, Notified) and b"travel" in s.body, 8.0
            )
            assert isinstance(said, Notified)
            assert said.state == "active"
    finally:
        await carol.close()


async def test_what_nobody_fetched_is_delivered_after_the_restart(tmp_path: Path) -> None:
    wanted = settings(store=kept(tmp_path))
    async with site(wanted) as there:
        alice, bob = there.application("alice"), there.application("bob")
        await bob.subscribe(ALICE)
        await alice.decide(BOB, Activity=True)
        await alice.decide(BOB, Place=False)
    async with site(wanted) as there:
        bob = await there.application("bob").listen()
        first = await bob.told("notifySubscription")
        second = await bob.told("notifySubscription")
        assert [d["presenceAttribute"] for d in first["decisions"]] == ["Activity"]
        assert [d["presenceAttribute"] for d in second["decisions"]] == ["Activity", "Place"]


async def test_what_was_delivered_is_not_delivered_again(tmp_path: Path) -> None:
    wanted = settings(store=kept(tmp_path))
    async with site(wanted) as there:
        alice, bob = there.application("alice"), await there.application("bob").listen()
        await bob.subscribe(ALICE)
        await alice.decide(BOB, Activity=True)
        await bob.told("notifySubscription")
        await bob.hush()
    async with site(wanted) as there:
        alice, bob = there.application("alice"), await there.application("bob").listen()
        await alice.decide(BOB, Sphere=False)
        told = await bob.told("notifySubscription")
        assert [d["presenceAttribute"] for d in told["decisions"]] == ["Activity", "Sphere"]


async def test_what_a_session_had_not_fetched_is_delivered_after_the_restart(
    tmp_path: Path,
) -> None:
    """Bob has a session and does not poll: what is queued for him there is not delivered."""
    wanted = settings(store=kept(tmp_path))
    async with site(wanted) as there:
        alice, bob = there.application("alice"), await there.application("bob").listen()
        await bob.subscribe(ALICE)
        await bob.hush()
        await alice.decide(BOB, Activity=True)
        assert bob.inbox.empty()
    async with site(wanted) as there:
        told = await (await there.application("bob").listen()).told("notifySubscription")
        assert [d["presenceAttribute"] for d in told["decisions"]] == ["Activity"]


async def test_an_application_that_is_not_configured_any_more_is_left_alone(tmp_path: Path) -> None:
    from tests.app.rig import application

    async with presence_server() as server:
        there_is: dict[str, Any] = {
            "store": kept(tmp_path),
            "presence_server": remote(server),
        }
        async with site(**there_is) as there:
            await there.application("bob").publish(Activity="Meeting")
        count = len(server.requests("PUBLISH"))
        async with site(**there_is, applications=[application("alice")]) as there:
            await server.subscription(ALICE, "presence.winfo", 1)
            await there.application("alice").rest(
                "PUT", "/presence", {"presence": attributes(Activity="Meeting")}
            )
        assert [m.start for m in server.requests("PUBLISH")[count:]] == [
            "PUBLISH sip:alice@example.com SIP/2.0"
        ]


async def test_a_remote_server_that_is_down_at_the_start_is_asked_again(tmp_path: Path) -> None:
    """What applications had is not forgotten because the server came up after us."""
    async with presence_server() as server:
        wanted = settings(store=kept(tmp_path), presence_server=remote(server))
        async with site(wanted) as there:
            bob = there.application("bob")
            await bob.subscribe(CAROL)
            server.notify(await server.subscription(CAROL))
            await bob.publish(Activity="Meeting")
        server.refuse = {"SUBSCRIBE": 503, "PUBLISH": 503}
        async with site(wanted) as there:
            await server.subscription(CAROL, index=1)
            server.refuse.clear()
            await server.subscription(CAROL, index=2)
            server.notify(await server.subscription(CAROL, index=2))
