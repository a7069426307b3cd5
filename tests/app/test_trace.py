"""One id follows a request: from X-Request-ID to the SIP message, the log line and the fault."""

import json
from pathlib import Path
from typing import Any

from tests.app.processes import served
from tests.app.rig import (
    application,
    attributes,
    configuration,
    document,
    presence_server,
    remote,
    site,
)

ALICE, BOB, CAROL = (f"sip:{name}@example.com" for name in ("alice", "bob", "carol"))


def lines(log: list[str], event: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in log]
    return [line for line in found if line["event"] == event]


async def test_the_request_id_is_in_the_sip_log_and_the_line_about_the_failure(
    tmp_path: Path,
) -> None:
    async with presence_server() as server:
        tree = configuration(
            presence_server=remote(server),
            log={"level": "info", "format": "json", "sip_trace": True},
        )
        async with served(tmp_path, tree) as there:
            alice = there.application("alice")
            body = {"presence": attributes(Activity="Meeting")}
            path = "/rest/presence/presence"
            await alice.ask("PUT", path, body, **{"X-Request-ID": "req-42"})
            assert alice.headers["X-Request-ID"] == "req-42"
            server.refuse["PUBLISH"] = 403
            status, answer = await alice.ask("PUT", path, body, **{"X-Request-ID": "req-43"})
            assert (status, answer["error"]["requestId"]) == (403, "req-43")
            assert await there.stop() == 0
            log = there.bridge.log
        sent = [m for m in lines(log, "sip.out") if m["message"].startswith("PUBLISH")]
        assert [m["trace"] for m in sent] == ["req-42", "req-43"]
        (failed,) = lines(log, "publication.failed")
        assert (failed["trace"], failed["status"]) == ("req-43", 403)


async def test_a_bad_datagram_has_an_id_of_its_own_in_the_log(tmp_path: Path) -> None:
    import socket

    tree = configuration(log={"level": "info", "format": "json", "sip_trace": True})
    async with served(tmp_path, tree) as there:
        host, port = there.sip.split(":")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"NOTIFY x SIP/2.0\r\nnonsense\r\n\r\n", (host, int(port)))
            await there.bridge.complaint("message.refused")
        assert await there.stop() == 0
        (refused,) = lines(there.bridge.log, "message.refused")
        (came,) = [m for m in lines(there.bridge.log, "sip.in") if "nonsense" in m["message"]]
        assert refused["trace"] == came["trace"] != ""


async def test_the_id_of_a_notify_is_that_of_its_notification() -> None:
    """A statusChanged in the log of notifications carries the id of the datagram that caused it."""
    async with presence_server() as server, site(presence_server=remote(server)) as here:
        bob = await here.application("bob").listen()
        await bob.subscribe(CAROL)
        asked = await server.subscription(CAROL)
        server.notify(asked, document("meeting"))
        await bob.told("notifySubscription")
        await bob.start(CAROL)
        server.notify(asked, document("travel"))
        await bob.told_status(Activity="Travel")
        assert here.graph is not None
        log = here.graph.store.read_after("app_bob", 0)
        prefix = here.graph.gateway_driver.trace_prefix
        by_kind = {entry.notification.kind: entry.notification.trace for entry in log}
        assert by_kind["statusChanged"].startswith(prefix)
        assert by_kind["notifySubscription"].startswith(prefix)


async def test_the_id_of_a_decision_is_that_of_its_notification() -> None:
    async with site() as here:
        alice, bob = here.application("alice"), here.application("bob")
        await bob.subscribe(ALICE)
        decision = {"presenceAttribute": "Activity", "decision": True}
        body = {"watcher": BOB, "decisions": [decision]}
        path = "/rest/presence/subscription"
        status, _ = await alice.ask("PUT", path, body, **{"X-Request-ID": "decided-by-alice"})
        assert status == 204
        assert here.graph is not None
        (entry,) = here.graph.store.read_after("app_bob", 0)
        assert entry.notification.trace == "decided-by-alice"


async def test_an_id_that_is_none_is_replaced() -> None:
    async with site() as here:
        bob = here.application("bob")
        for bad in ("with space", "x" * 200, "ümlaut"):
            status, answer = await bob.ask(
                "DELETE", "/rest/presence/notification/none", None, **{"X-Request-ID": bad}
            )
            assert status == 400
            given = answer["error"]["requestId"]
            assert given == bob.headers["X-Request-ID"]
            assert given != bad and given.isalnum()


async def test_whether_credentials_are_missing_or_wrong_is_in_the_log(tmp_path: Path) -> None:
    """And the application is told no more than that the bridge is not believed."""
    async with presence_server() as server:
        server.challenge = 'Digest realm="ims.example", nonce="n1", algorithm=MD5, qop="auth"'
        server.nonce = "n0"
        applications = [application("alice", sip_password="pw-alice"), application("bob")]
        tree = configuration(
            presence_server=remote(server),
            log={"level": "info", "format": "json"},
            applications=applications,
        )
        async with served(tmp_path, tree) as there:
            body = {"presence": attributes(Activity="Meeting")}
            for name in ("alice", "bob"):
                asked = there.application(name)
                status, answer = await asked.ask("PUT", "/rest/presence/presence", body)
                assert (status, answer["error"]["variables"]) == (502, ["401"])
                assert "wants other credentials" in answer["error"]["detail"]
                assert "ims.example" not in str(answer)
            assert await there.stop() == 0
            log = there.bridge.log
        (refused,) = lines(log, "credentials.refused")
        assert (refused["identity"], refused["user"]) == (ALICE, "alice")
        (missing,) = lines(log, "credentials.missing")
        assert missing["identity"] == BOB and "user" not in missing
        assert refused["realm"] == missing["realm"] == "'ims.example'"
        assert not [line for line in log if "pw-alice" in line]
