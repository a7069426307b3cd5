"""The operations and notifications as a client sees them: `sipbridge serve`, embedded, over real HTTP.

One bridge for the whole module. Alice and Bob live through a story in which every operation and every
notification occurs, byte for byte as the interface describes them; Carol and Dave make every mistake.
"""

import asyncio
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from tests.app.processes import served, written
from tests.app.rig import Application, application, configuration, until
from tests.interop.runner import all_cases, play

NAMES = ("alice", "bob", "carol", "dave", "erin", "frank")
ALICE, BOB, CAROL, DAVE, ERIN, FRANK = (f"sip:{name}@example.com" for name in NAMES)
REST = "/rest/presence"
Json = Any


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a bridge that serves as long as this module runs."""
    folder = tmp_path_factory.mktemp("served")
    tree = configuration(
        applications=[application(name) for name in NAMES],
        store={"url": f"sqlite:///{folder}/state.db"},
    )
    command = [sys.executable, "-m", "sipbridge", "serve", "-c", str(written(folder, tree))]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        try:
            yield str(json.loads(process.stdout.readline())["http"])
            process.send_signal(signal.SIGTERM)
            assert process.wait(15) == 0
        finally:
            process.kill()


class Client(Application):
    """An application that looks at whole answers."""

    async def say(
        self, method: str, path: str, body: Json = None, **headers: str
    ) -> tuple[int, Json]:
        """Status and JSON of a request below the presence root."""
        return await self.ask(method, REST + path, body, **headers)

    async def raw(self, method: str, path: str, body: bytes, kind: str) -> tuple[int, Json]:
        given = {"Content-Type": kind}
        url = self.base + REST + path
        async with self.http.request(method, url, data=io.BytesIO(body), headers=given) as answer:
            return answer.status, await answer.json()

    async def ask_until(
        self, path: str, holds: Callable[[tuple[int, Json]], bool]
    ) -> tuple[int, Json]:
        """The answer to GET, asked again until it is as wanted."""
        return await until(lambda: self.say("GET", path), holds)

    async def next(self) -> Json:
        """The next notification, whole."""
        return await asyncio.wait_for(self.inbox.get(), 8.0)


@contextlib.asynccontextmanager
async def clients(base: str, *names: str) -> AsyncIterator[list[Client]]:
    made = [Client(base, name) for name in names]
    try:
        yield made
    finally:
        for one in made:
            await one.close()


def query(**members: Json) -> str:
    return "/presence?query=" + quote(json.dumps(members, separators=(",", ":")), safe="")


def meeting(at: str = "2025-03-04T05:06:07.000Z") -> Json:
    value = {"unionElement": "Activity", "activity": "Meeting"}
    return {"lastChange": at, "typeAndValue": value, "note": "back at noon"}


def start(client: Client, presentity: str, correlator: str = "w", **more: Json) -> Json:
    return {
        "presentity": presentity,
        "reference": client.reference(correlator),
        "frequency": {"metric": "Second", "units": 0},
        "checkImmediate": True,
        **more,
    }


def ask_for(client: Client, presentity: str, *attributes: str) -> Json:
    found: Json = {
        "application": "Front desk",
        "presentity": presentity,
        "reference": client.reference("asked"),
    }
    return {**found, "attributes": list(attributes)} if attributes else found


async def test_the_whole_story(base: str) -> None:
    async with clients(base, "alice", "bob") as (alice, bob):
        await bob.listen()
        await ask_and_decide(alice, bob)
        await publish_and_read(alice, bob)
        await watch_and_end(alice, bob)
        await block_and_admit(alice, bob)


async def ask_and_decide(alice: Client, bob: Client) -> None:
    asked = ask_for(bob, ALICE, "Activity", "Sphere")
    assert await bob.say("POST", "/subscription", asked) == (204, None)
    # Nothing is seen before it is granted.
    status, answer = await bob.say("GET", query(presentity=ALICE))
    assert (status, answer["error"]["messageId"]) == (403, "POL0002")
    assert await alice.say("GET", "/subscription?filter=watcher") == (200, {"result": []})
    waiting = {"application": "Front desk", "attributes": ["Activity", "Sphere"], "watcher": BOB}
    assert await alice.say("GET", "/subscription?status=open") == (200, {"result": [waiting]})
    assert await alice.say("GET", "/subscriptions?status=open") == (200, {"result": [waiting]})

    decisions = [
        {"decision": True, "presenceAttribute": "Activity"},
        {"decision": False, "presenceAttribute": "Sphere"},
    ]
    given = {"decisions": decisions, "watcher": BOB}
    assert await alice.say("PUT", "/subscription", given) == (204, None)
    assert await bob.next() == {"notifySubscription": {"presentity": ALICE, "decisions": decisions}}
    assert await alice.say("GET", "/subscription?status=open") == (200, {"result": []})
    assert await alice.say("GET", "/subscription?filter=watcher") == (200, {"result": [BOB]})


async def publish_and_read(alice: Client, bob: Client) -> None:
    published = [
        meeting(),
        {"typeAndValue": {"unionElement": "Sphere", "sphere": "SphereWork"}},
        {"typeAndValue": {"unionElement": "Other", "other": {"name": "Desk", "value": "7"}}},
    ]
    assert await alice.say("PUT", "/presence", {"presence": published}) == (204, None)
    seen = (200, {"result": [meeting()]})
    # The notification of the presence agent is on its way.
    nothing: Json = (200, {"result": []})
    assert await bob.ask_until(query(presentity=ALICE), lambda answer: answer != nothing) == seen
    assert await bob.say("GET", query(presentity=ALICE, attributes=["Activity"])) == seen
    # Neither what was denied nor what was not asked for.
    for kind in ("Sphere", "Other"):
        answer = await bob.say("GET", query(presentity=ALICE, attributes=[kind]))
        assert answer == (200, {"result": []})
    # The spelling of the guides, with quotes round the object.
    quoted = '/presence?query="' + quote(json.dumps({"presentity": ALICE})) + '"'
    assert await bob.say("GET", quoted) == seen


async def watch_and_end(alice: Client, bob: Client) -> None:
    wanted = start(bob, ALICE, "w-1", attributes=["Activity"], count=2)
    wanted["duration"] = {"metric": "Hour", "units": 1}
    assert await bob.say("PUT", "/notification", wanted) == (201, {"result": []})
    assert bob.headers["Location"] == bob.base + "/rest/presence/notifications"
    changed = {"changedAttributes": [meeting()], "correlator": "w-1", "presentity": ALICE}
    assert await bob.next() == {"statusChanged": changed}
    status, answer = await bob.say("PUT", "/notification", wanted)
    assert (status, answer["error"]["messageId"]) == (409, "SVC0005")
    assert answer["error"]["variables"] == ["w-1", "reference.correlator"]

    await alice.publish(Activity="Travel")
    told = (await bob.next())["statusChanged"]
    (attribute,) = told["changedAttributes"]
    assert attribute["typeAndValue"] == {"unionElement": "Activity", "activity": "Travel"}
    assert attribute["lastChange"].endswith("Z")
    assert await bob.next() == {"statusEnd": {"correlator": "w-1"}}

    # The correlator is free again; a deliberate end says nothing.
    hourly = {"metric": "Hour", "units": 1}
    unlimited = start(bob, ALICE, "w-1", checkImmediate=False, frequency=hourly)
    assert await bob.say("POST", "/notification", unlimited) == (201, {"result": []})
    assert await bob.say("DELETE", "/notification/w-1") == (204, None)
    status, answer = await bob.say("DELETE", "/notification/w-1")
    assert (status, answer["error"]["messageId"]) == (400, "SVC0002")
    assert answer["error"]["type"] == "org.csapi.schema.parlayx.common.v2_1.ServiceException"
    assert answer["error"]["variables"] == ["correlator", "w-1"]
    # Whom one is not subscribed to is a result, not a fault.
    stranger = start(bob, "sip:stranger@example.com", "w-2")
    answered = await bob.say("PUT", "/notification", stranger)
    assert answered == (201, {"result": ["sip:stranger@example.com"]})


async def block_and_admit(alice: Client, bob: Client) -> None:
    assert await bob.say("PUT", "/notification", start(bob, ALICE, "w-3")) == (201, {"result": []})
    assert "statusChanged" in await bob.next()
    assert await alice.say("DELETE", "/subscription/" + quote(BOB, safe="")) == (204, None)
    ended = {"subscriptionEnded": {"presentity": ALICE, "reason": "Blocked"}}
    assert await bob.next() == ended
    status, answer = await bob.say("GET", query(presentity=ALICE))
    assert (status, answer["error"]["messageId"]) == (400, "SVC0002")
    status, _ = await bob.say("DELETE", "/notification/w-3")
    assert status == 400  # it ended with the subscription
    assert await bob.say("POST", "/subscription", ask_for(bob, ALICE)) == (204, None)
    assert await bob.next() == ended

    admit = [{"decision": True, "presenceAttribute": "Activity"}]
    given = {"watcher": BOB, "decisions": admit}
    assert await alice.say("PUT", "/subscription", given) == (204, None)
    assert await bob.say("POST", "/subscription", ask_for(bob, ALICE, "Activity")) == (204, None)
    assert await bob.next() == {"notifySubscription": {"presentity": ALICE, "decisions": admit}}
    leaving = "/subscription?presentity=" + quote(ALICE, safe="")
    assert await bob.say("DELETE", leaving) == (204, None)
    await until(alice.watchers, lambda found: found == [])  # the network hears of it too
    assert bob.inbox.empty()


async def test_a_publication_is_removed_by_an_empty_list(base: str) -> None:
    async with clients(base, "erin", "frank") as (erin, frank):
        await frank.listen()
        await frank.say("POST", "/subscription", ask_for(frank, ERIN))
        await erin.grant_all(FRANK)
        await frank.next()
        await erin.publish(Activity="Meeting", Place="Office")
        await frank.say("PUT", "/notification", start(frank, ERIN, attributes=["Place"]))
        told = await frank.told_status(Place="Office")
        assert told["Place"] == "Office"
        assert await erin.say("PUT", "/presence", {"presence": []}) == (204, None)
        await frank.ask_until(query(presentity=ERIN), lambda answer: "Office" not in str(answer))


async def test_the_examples_of_the_interface_word_for_word() -> None:
    """The case that is played at a real presence server, with none."""
    (case,) = [case for case in all_cases() if case.name == "23-nine-operations-at-kamailio"]
    embedded = replace(case, kamailio=None, bridge={"mode": "embedded"})
    verdict = await play(embedded, {"transport": "udp"})
    assert verdict.verdict == "pass", verdict.seen


async def test_a_subscription_that_nobody_uses_ends_with_timeout(tmp_path: Path) -> None:
    tree = configuration(gateway={"subscription_idle": 0.5})
    async with served(tmp_path, tree) as there:
        alice, bob = there.application("alice"), there.application("bob")
        await bob.subscribe(ALICE)
        assert BOB in await alice.open_subscriptions()
        await until(alice.open_subscriptions, lambda found: found == {})
        await bob.listen()  # only now: who is connected uses what he has
        ended = {"presentity": ALICE, "reason": "Timeout"}
        assert await bob.told("subscriptionEnded") == ended
        assert (await bob.presence(ALICE))[0] == 400


# --- mistakes


def subscribing(**wrong: Json) -> Json:
    reference = {"correlator": "c", "endpoint": "/bayeux/app_carol/presence"}
    return {"application": "Desk", "presentity": DAVE, "reference": reference, **wrong}


def starting(**wrong: Json) -> Json:
    reference = {"correlator": "c", "endpoint": "/bayeux/app_carol/presence"}
    return {
        "presentity": DAVE,
        "reference": reference,
        "frequency": {"metric": "Second", "units": 1},
        "checkImmediate": True,
        **wrong,
    }


def publishing(*values: Json) -> Json:
    return {"presence": [{"typeAndValue": value} for value in values]}


MEANS = {"contact": "sip:carol@example.com", "priority": 0.5, "type": "Phone"}


def with_means(**wrong: Json) -> Json:
    means = [{**MEANS, **wrong}]
    return publishing({"unionElement": "Communication", "communication": {"means": means}})


METRICS = "Millisecond, Second, Minute, Hour, Day, Week, Month, Year"
KINDS = "Activity, Place, Privacy, Sphere, Communication, Other"
DECIDING = {"presenceAttribute": "Place", "decision": True}
LONG = "x" * 5000

FAULTS: list[tuple[str, str, Json, int, str, list[str]]] = [
    # wrong types
    ("POST", "/subscription", subscribing(application={}), 400, "SVC0002", ["application"]),
    ("POST", "/subscription", subscribing(presentity={}), 400, "SVC0002", ["presentity"]),
    ("POST", "/subscription", subscribing(reference="c"), 400, "SVC0002", ["reference"]),
    ("POST", "/subscription", subscribing(attributes={}), 400, "SVC0002", ["attributes"]),
    ("PUT", "/subscription", {"watcher": DAVE, "decisions": 1}, 400, "SVC0002", ["decisions"]),
    ("PUT", "/subscription", {"watcher": DAVE}, 400, "SVC0002", ["decisions"]),
    ("PUT", "/subscription", {"watcher": DAVE, "decisions": []}, 400, "SVC0002", ["decisions"]),
    ("PUT", "/subscription", {"decisions": [DECIDING]}, 400, "SVC0002", ["watcher"]),
    ("PUT", "/notification", starting(frequency=1), 400, "SVC0002", ["frequency"]),
    ("PUT", "/notification", starting(count="many"), 400, "SVC0002", ["count"]),
    ("PUT", "/notification", starting(count=1.5), 400, "SVC0002", ["count"]),
    ("PUT", "/presence", {"presence": "Meeting"}, 400, "SVC0002", ["presence"]),
    ("PUT", "/presence", {}, 400, "SVC0002", ["presence"]),
    ("PUT", "/presence", {"presence": [1]}, 400, "SVC0002", ["presence[0]"]),
    ("PUT", "/presence", [], 400, "SVC0002", ["body"]),
    # words nobody knows
    (
        "POST",
        "/subscription",
        subscribing(attributes=["Mood"]),
        400,
        "SVC0003",
        ["attributes[0]", KINDS],
    ),
    (
        "PUT",
        "/notification",
        starting(frequency={"metric": "Fortnight", "units": 1}),
        400,
        "SVC0003",
        ["frequency.metric", METRICS],
    ),
    (
        "PUT",
        "/notification",
        starting(checkImmediate="maybe"),
        400,
        "SVC0003",
        ["checkImmediate", "true, false"],
    ),
    (
        "PUT",
        "/notification",
        starting(criteria="Gone"),
        400,
        "SVC0003",
        ["criteria", "Reachable, UnReachable, Busy"],
    ),
    (
        "PUT",
        "/presence",
        publishing(
            {"unionElement": "Activity", "activity": "Meeting"},
            {"unionElement": "Privacy", "privacy": "Secret"},
        ),
        400,
        "SVC0003",
        [
            "presence[1].typeAndValue.privacy",
            "PrivacyNone, PrivacyPublic, PrivacyPrivate, PrivacyQuiet, PrivacyOther",
        ],
    ),
    (
        "PUT",
        "/presence",
        publishing({"unionElement": "Mood"}),
        400,
        "SVC0003",
        ["presence[0].typeAndValue.unionElement", KINDS],
    ),
    (
        "PUT",
        "/presence",
        publishing({"unionElement": "Other", "place": "Home"}),
        400,
        "SVC0002",
        ["presence[0].typeAndValue.other"],
    ),
    # values that make no sense
    (
        "PUT",
        "/presence",
        with_means(priority=1.5),
        400,
        "SVC0002",
        ["presence[0].typeAndValue.communication.means[0].priority"],
    ),
    ("PUT", "/notification", starting(count=0), 400, "SVC0002", ["count"]),
    (
        "PUT",
        "/notification",
        starting(duration={"metric": "Day", "units": -1}),
        400,
        "SVC0002",
        ["duration.units"],
    ),
    (
        "PUT",
        "/notification",
        starting(frequency={"metric": "Year", "units": 2**40}),
        400,
        "SVC0002",
        ["frequency.units"],
    ),
    # URIs
    ("POST", "/subscription", subscribing(presentity="dave"), 400, "SVC0002", ["presentity"]),
    ("POST", "/subscription", subscribing(presentity="sip:"), 400, "SVC0002", ["presentity"]),
    (
        "POST",
        "/subscription",
        subscribing(presentity="sip:dave@elsewhere.example"),
        400,
        "SVC0004",
        ["presentity"],
    ),
    ("DELETE", "/subscription/nonsense", None, 400, "SVC0002", ["watcher"]),
    ("DELETE", "/subscription/" + quote(DAVE, safe=""), None, 400, "SVC0002", ["watcher"]),
    ("GET", query(presentity="dave"), None, 400, "SVC0002", ["presentity"]),
    ("GET", query(presentity=DAVE), None, 400, "SVC0002", ["presentity"]),
    ("GET", "/presence?query=dave", None, 400, "SVC0002", ["query"]),
    ("GET", "/presence", None, 400, "SVC0002", ["query"]),
    ("GET", "/subscription", None, 400, "SVC0003", ["query", "status=open, filter=watcher"]),
    (
        "GET",
        "/subscription?status=closed",
        None,
        400,
        "SVC0003",
        ["status", "status=open, filter=watcher"],
    ),
    # somebody else's channel
    (
        "POST",
        "/subscription",
        subscribing(reference={"correlator": "c", "endpoint": "/bayeux/app_dave/presence"}),
        400,
        "SVC0002",
        ["endpoint"],
    ),
    (
        "PUT",
        "/notification",
        starting(reference={"correlator": "c", "endpoint": "/meta/connect"}),
        400,
        "SVC0002",
        ["endpoint"],
    ),
    # absurd sizes
    ("POST", "/subscription", subscribing(application=LONG), 400, "SVC0002", ["application"]),
    (
        "POST",
        "/subscription",
        subscribing(presentity=f"sip:{LONG}@example.com"),
        400,
        "SVC0002",
        ["presentity"],
    ),
    (
        "POST",
        "/subscription",
        subscribing(attributes=["Activity"] * 1000),
        400,
        "SVC0002",
        ["attributes"],
    ),
    (
        "PUT",
        "/notification",
        starting(reference={"correlator": LONG, "endpoint": "/bayeux/app_carol/x"}),
        400,
        "SVC0002",
        ["reference.correlator"],
    ),
    (
        "PUT",
        "/presence",
        {"presence": [meeting()] * 5_000},
        400,
        "SVC0002",
        ["presence"],
    ),
    # nothing there
    ("PATCH", "/presence", None, 405, "SVC0002", ["method"]),
    ("GET", "/presence/x", None, 404, "SVC0002", ["Request-URI"]),
    ("DELETE", "/notification/unheard-of", None, 400, "SVC0002", ["correlator", "unheard-of"]),
    ("DELETE", "/notification", None, 400, "SVC0002", ["correlator"]),
]


async def test_every_mistake_has_its_fault(base: str) -> None:
    async with clients(base, "carol") as (carol,):
        wrong = []
        for method, path, body, status, ident, variables in FAULTS:
            got, answer = await carol.say(method, path, body)
            said = answer["error"] if answer else {}
            found = (got, said.get("messageId"), said.get("variables"))
            if found != (status, ident, variables):
                wrong.append((method, path, str(body)[:200], found))
                continue
            assert said["detail"] and said["requestId"] == carol.headers["X-Request-ID"]
            assert "Traceback" not in str(answer)
        assert wrong == []


@pytest.mark.parametrize(
    ("body", "kind", "status", "part"),
    [
        (b"", "application/json", 400, "body"),
        (b"{", "application/json", 400, "body"),
        (b'{"presence": [}', "application/json", 400, "body"),
        (b"\xff\xfe", "application/json", 400, "body"),
        (b"NaN", "application/json", 400, "body"),
        (b'{"presence": ' + b"[" * 100_000, "application/json", 400, "body"),
        (b"<presence/>", "application/xml", 415, "Content-Type"),
        (b" " * (2 << 20), "application/json", 413, "body"),
    ],
)
async def test_what_is_no_json_is_refused(
    base: str, body: bytes, kind: str, status: int, part: str
) -> None:
    async with clients(base, "dave") as (dave,):
        try:
            got, answer = await dave.raw("PUT", "/presence", body, kind)
        except aiohttp.ClientOSError:
            assert status == 413  # the connection was closed under the body
            return
        assert (got, answer["error"]["variables"]) == (status, [part])


async def test_bytes_that_are_no_request_get_a_fault_too(base: str) -> None:
    host, _, port = base.removeprefix("http://").partition(":")
    for line in (b"GARBAGE\r\n\r\n", b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n"):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(line)
        answer = await asyncio.wait_for(reader.read(), 5.0)
        writer.close()
        await writer.wait_closed()
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
        assert json.loads(body)["error"]["messageId"] == "SVC0002"


async def test_nobody_gets_in_without_credentials(base: str) -> None:
    paths = ["/presence", "/subscription?status=open", "/notification/x", "/events"]
    async with aiohttp.ClientSession() as nobody:
        for path in paths:
            async with nobody.get(base + REST + path) as answer:
                assert answer.status == 401
                assert answer.headers["WWW-Authenticate"].startswith("Basic ")
        for path in ("/docs", "/openapi.json", "/metrics", "/health/ready"):
            async with nobody.get(base + path) as answer:
                assert answer.status == 200


async def test_pages_of_other_origins_are_kept_out_of_every_route(base: str) -> None:
    headers = {"Origin": "https://evil.example"}
    async with clients(base, "dave") as (dave,):
        for path in (
            REST + "/subscription?status=open",
            REST + "/events",
            REST + "/notifications",
            "/bayeux",
            "/admin/applications",
            "/health/ready",
            "/openapi.json",
        ):
            for method in ("GET", "OPTIONS", "POST"):
                async with dave.http.request(method, dave.base + path, headers=headers) as answer:
                    assert answer.status == 403, (method, path)
                    assert "Access-Control-Allow-Origin" not in answer.headers
        for path in (REST + "/notifications", "/bayeux"):
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await dave.http.ws_connect(dave.base + path, headers=headers)


async def test_only_bayeux_speaks_websocket(base: str) -> None:
    async with clients(base, "dave") as (dave,):
        for path in (REST + "/events", "/admin/applications", REST + "/presence", "/nowhere"):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await dave.http.ws_connect(dave.base + path)
            assert refused.value.status == 403
