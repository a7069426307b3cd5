"""BEMS messaging as a client sees it: `sipbridge serve` over real HTTP, one bridge for the whole module."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.app.processes import written
from tests.app.rig import Application, application, attributes, configuration
from tests.rest.devices import call, device, token_of

NAMES = ("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy")
ALICE, BOB, CAROL, DAVE = (f"sip:{name}@example.com" for name in NAMES[:4])
Json = Any


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a bridge that serves as long as this module runs."""
    folder = tmp_path_factory.mktemp("bems")
    tree = configuration(
        applications=[application(name, auth_tokens=[token_of(name)]) for name in NAMES],
        store={"url": f"sqlite:///{folder}/state.db"},
        bems={"queue_length": 20},
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


async def grant(base: str, presentity: str, watcher: str, *kinds: str) -> None:
    """Somebody with an application lets a watcher see."""
    one = Application(base, presentity)
    decisions = [{"presenceAttribute": k, "decision": True} for k in kinds or ("Activity",)]
    body = {"watcher": f"sip:{watcher}@example.com", "decisions": decisions}
    await one.rest("PUT", "/subscription", body)
    await one.close()


async def publish(base: str, name: str, note: str = "", **values: object) -> None:
    one = Application(base, name)
    news = attributes(**values)
    if note:
        news[0]["note"] = note
    await one.rest("PUT", "/presence", {"presence": news})
    await one.close()


async def seen_by_rest(base: str, watcher: str, presentity: str) -> list[Json]:
    """What Get User Presence shows."""
    one = Application(base, watcher)
    query = json.dumps({"presentity": f"sip:{presentity}@example.com"})
    answer = await one.rest("GET", f"/presence?query={query}")
    await one.close()
    found: list[Json] = answer["result"]
    return found


# --- the worked examples ------------------------------------------------------------------------------


def processing(id: str, method: str, **more: object) -> Json:
    data = {"method": method, "state": "PROCESSING", **more}
    return {
        "id": id,
        "error": None,
        "result": {"data": data},
        "jsonrpc": "2.0",
        "background": False,
    }


def complete(id: str, sequence: int, method: str, **more: object) -> Json:
    data = {"method": method, "state": "COMPLETE", **more}
    return {"id": id, "sequence": sequence, "result": {"data": data}, "jsonrpc": "2.0"}


async def test_the_examples_of_registering_are_answered_as_they_print(base: str) -> None:
    async with device(base) as phone:
        await phone.begin()
        example = b"""{"method": "RegisterTempRemotePresence",
            "params": {"contactId": "sip:alice@example.com"}, "id": "c58", "jsonrpc": "2.0"}"""
        status, answer = await phone.post(example)
        assert (status, answer) == (200, processing("c58", "RegisterTempRemotePresence"))
        told = await phone.answer_to("c58")
        assert told == complete("c58", told["sequence"], "RegisterTempRemotePresence")

        await grant(base, "alice", "bob")
        await publish(base, "alice", Activity="Busy")
        told = await phone.message()
        while told["result"]["data"]["contacts"][0]["presence"] != "busy":
            told = await phone.message()
        data = {"method": "ContactStateChanged", "contacts": [busy(ALICE)]}
        assert told == {"sequence": told["sequence"], "result": {"data": data}, "jsonrpc": "2.0"}

        example = b"""{"method": "UnRegisterTempRemotePresence",
            "params": {"contactId": "sip:alice@example.com"}, "id": "c59", "jsonrpc": "2.0"}"""
        assert (await phone.post(example))[1] == processing("c59", "UnRegisterTempRemotePresence")
        told = await phone.answer_to("c59")
        method = "UnRegisterTempRemotePresence"
        assert told == complete("c59", told["sequence"], method, message="")


def busy(contact: str, message: str = "") -> Json:
    return {
        "contactId": contact,
        "presence": "busy",
        "personalMessage": message,
        "availability": 6000,
    }


async def test_the_other_examples_are_answered_as_they_print(base: str) -> None:
    async with device(base) as phone:
        await phone.begin()
        example = b"""{"method": "SetPresence",
            "params": {"presence": "busy", "personalMessage": "I am in meeting"},
            "id": "c7", "jsonrpc": "2.0"}"""
        assert (await phone.post(example))[1] == processing("c7", "SetPresence")
        told = await phone.answer_to("c7")
        assert told == complete("c7", told["sequence"], "SetPresence")

        example = b"""{"method": "GetContactsState", "params":
            {"contactIds": ["sip:bob@example.com", "sip:bob@example.com"]},
            "id": "c12", "jsonrpc": "2.0"}"""
        assert (await phone.post(example))[1] == processing("c12", "GetContactsState")
        told = await phone.answer_to("c12")
        data = {"userId": BOB, "contacts": [busy(BOB, "I am in meeting")] * 2}
        assert told == complete("c12", told["sequence"], "GetContactsState", **data)

        status, answer = await phone.post(
            b'{"method":"Ping","params":{},"id":"c5","jsonrpc":"2.0"}'
        )
        assert answer == processing("c5", "Ping", sessionTimeout=86400)
        told = await phone.answer_to("c5")
        assert told == complete("c5", told["sequence"], "Ping", sessionTimeout=86400)

        answer = await phone.say("c99", "TerminateSession")
        assert answer["result"]["data"] == {"method": "TerminateSession", "state": "COMPLETE"}
        told = await phone.answer_to("c99")
        assert told == complete("c99", told["sequence"], "TerminateSession")
        assert await phone.refused("c100", "Ping") == 1017

        numbers = [message["sequence"] for message in phone.seen]
        assert numbers == sorted(set(numbers))
        assert all(10**15 <= n < 2**53 for n in numbers)


async def test_the_other_spelling_and_the_list_of_unregistering(base: str) -> None:
    async with device(base) as phone:
        await phone.begin()
        await phone.register("sip:carol@example.com")
        name = "UnRegisterTempRemotePresenceSubscription"
        contacts = ["carol@example.com", "nobody@example.com"]
        answer = await phone.say("c60", name, contactIds=contacts, state="true")
        assert answer == processing("c60", name)
        assert await phone.completed("c60") == {"method": name, "state": "COMPLETE", "message": ""}
        await publish(base, "carol", Activity="Busy")
        assert (await phone.poll(phone.after, 0))[1]["notifications"] == []


BROKEN = (
    b'{"method": "StartChat", "params": {"contactId": "sip:user1@example.com",}, "id": "c12"}',
    b'{"jsonrpc": "2.0", "id": "c12", "method": "Ping", "params": {},}',
    b'{"id": "c58", "error": null, "jsonrpc": "2.0", "background";false}',
    b'{"method": "UnRegister", "params": {"contactIds":{["user33@example.com"]}}, "id": "c59"}',
    b'{"method": "UnRegister", "params": {"contactIds": {"user33@example.com"}}, "id": "c59"}',
    b"{'jsonrpc': '2.0'}",
    b'[{"jsonrpc": "2.0", "id": "c1", "method": "Ping"}',
    b'{"jsonrpc": "2.0", "id": "c1", "method": "Ping", "params": {"x": NaN}}',
    b'\xff{"jsonrpc": "2.0"}',
    b"",
    b"[" * 100_000,
)


async def test_broken_json_of_the_vendor_s_pages_is_refused_and_the_connection_lives_on(
    base: str,
) -> None:
    parse_error = {
        "id": None,
        "error": {"code": -32700, "message": "PARSE_ERROR"},
        "result": None,
        "jsonrpc": "2.0",
        "background": False,
    }
    host, port = base.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))

    async def post(body: bytes, *headers: str) -> Json:
        lines = [f"POST /bems/jsonrpc HTTP/1.1\r\nHost: {host}", "Content-Type: application/json"]
        lines += [*headers, f"Content-Length: {len(body)}", "", ""]
        writer.write("\r\n".join(lines).encode() + body)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        assert head.startswith("HTTP/1.1 200"), head
        length = next(
            int(line.split(":")[1])
            for line in head.splitlines()
            if line.lower().startswith("content-length")
        )
        return json.loads(await reader.readexactly(length))

    try:
        for body in BROKEN:
            assert await post(body) == parse_error, body
        good = call("c1", "BeginSession", gdAuthToken=token_of("bob"))
        assert await post(json.dumps(good).encode()) == processing("c1", "BeginSession")
    finally:
        writer.close()
        await writer.wait_closed()


# --- requests -----------------------------------------------------------------------------------------

NO_REQUESTS: tuple[Json, ...] = (
    5,
    "Ping",
    None,
    {},
    [],
    {"jsonrpc": "2.0", "method": "Ping", "params": {}},
    {"jsonrpc": "2.0", "id": None, "method": "Ping"},
    {"jsonrpc": "2.0", "id": True, "method": "Ping"},
    {"jsonrpc": "2.0", "id": 1.5, "method": "Ping"},
    {"jsonrpc": "2.0", "id": "", "method": "Ping"},
    {"jsonrpc": "2.0", "id": {"a": 1}, "method": "Ping"},
    {"jsonrpc": "1.0", "id": "c1", "method": "Ping"},
    {"id": "c1", "method": "Ping"},
    {"jsonrpc": "2.0", "id": "c1"},
    {"jsonrpc": "2.0", "id": "c1", "method": 7},
    [{"jsonrpc": "2.0", "id": f"c{n}", "method": "Ping"} for n in range(101)],
)


async def test_what_is_no_request_is_invalid(base: str) -> None:
    async with device(base) as phone:
        await phone.begin()
        for body in NO_REQUESTS:
            status, answer = await phone.post(body)
            assert (status, answer["error"]["code"]) == (200, -32600), body
            assert answer["error"]["message"] == "INVALID_REQUEST"
        status, answers = await phone.post([1, call("c1", "Ping")])
        assert [a["error"] and a["error"]["code"] for a in answers] == [-32600, None]


WRONG: tuple[tuple[int, str, Json], ...] = (
    (-32601, "METHOD_NOT_FOUND", ("FlyToTheMoon", {})),
    (-32601, "METHOD_NOT_FOUND", ("ping", {})),
    (1026, "NOT_SUPPORTED_BY_SERVER", ("AcceptChat", {"chatId": "1"})),
    (1026, "NOT_SUPPORTED_BY_SERVER", ("SendMessage", {})),
    (1026, "NOT_SUPPORTED_BY_SERVER", ("GetContactPhotos", {})),
    (-32602, "INVALID_PARAMS", ("Ping", [])),
    (-32602, "INVALID_PARAMS", ("Ping", "x")),
    (-32602, "INVALID_PARAMS", ("Ping", {"dependencies": ["c1"]})),
    (-32602, "INVALID_PARAMS", ("Ping", {"reconnect": True})),
    (-32602, "INVALID_PARAMS", ("RegisterTempRemotePresence", {"contactId": 5})),
    (-32602, "INVALID_PARAMS", ("RegisterTempRemotePresence", {"contactId": ["a@b"]})),
    (-32602, "INVALID_PARAMS", ("SetPresence", {"presence": "buzy"})),
    (-32602, "INVALID_PARAMS", ("SetPresence", {"presence": "unknown"})),
    (-32602, "INVALID_PARAMS", ("SetPresence", {"presence": "busy", "personalMessage": 1})),
    (-32602, "INVALID_PARAMS", ("GetContactsState", {"contactIds": "sip:alice@example.com"})),
    (1011, "NULL_ARGUMENT", ("RegisterTempRemotePresence", {})),
    (1011, "NULL_ARGUMENT", ("RegisterTempRemotePresence", {"contactId": None})),
    (1011, "NULL_ARGUMENT", ("RegisterTempRemotePresence", {"contactId": " "})),
    (1011, "NULL_ARGUMENT", ("UnRegisterTempRemotePresence", {})),
    (1011, "NULL_ARGUMENT", ("UnRegisterTempRemotePresence", {"contactIds": []})),
    (1011, "NULL_ARGUMENT", ("SetPresence", {})),
    (1011, "NULL_ARGUMENT", ("SetPresence", {"presence": ""})),
    (1011, "NULL_ARGUMENT", ("GetContactsState", {})),
    (1011, "NULL_ARGUMENT", ("GetContactsState", {"contactIds": [""]})),
    (1012, "INVALID_ARGUMENT", ("RegisterTempRemotePresence", {"contactId": "http://x/"})),
    (1012, "INVALID_ARGUMENT", ("RegisterTempRemotePresence", {"contactId": "sip:"})),
    (1012, "INVALID_ARGUMENT", ("UnRegisterTempRemotePresence", {"contactId": "<>"})),
    (1012, "INVALID_ARGUMENT", ("GetContactsState", {"contactIds": ["a@b"] * 1001})),
    (1012, "INVALID_ARGUMENT", ("BeginSession", {"deviceToken": "a b"})),
)


async def test_every_mistake_has_its_code(base: str) -> None:
    async with device(base, basic=True) as phone:
        await phone.begin()
        for number, (code, text, (method, params)) in enumerate(WRONG):
            body = {"jsonrpc": "2.0", "id": f"e{number}", "method": method, "params": params}
            status, answer = await phone.post(body)
            problem = {"code": code, "message": text}
            assert (status, answer["id"], answer["error"]) == (200, f"e{number}", problem), body
        assert (await phone.poll(phone.after, 0))[1]["notifications"] == []


async def test_words_are_read_without_case_and_numbers_may_be_ids(base: str) -> None:
    async with device(base) as phone:
        await phone.begin()
        answer = await phone.say(7, "SetPresence", presence="Do Not-Disturb")
        assert answer["id"] == 7
        await phone.completed(7)
        await phone.say(8, "GetContactsState", contactIds=["BOB@example.com", "bob@EXAMPLE.com"])
        contacts = (await phone.completed(8))["contacts"]
        assert [c["contactId"] for c in contacts] == ["BOB@example.com", "bob@EXAMPLE.com"]
        assert contacts[1]["availability"] == 9000
        assert contacts[1]["presence"] == "donotdisturb"


async def test_a_contact_that_is_not_served_is_refused_by_the_sip_side(base: str) -> None:
    async with device(base) as phone:
        await phone.begin()
        await phone.say("c1", "RegisterTempRemotePresence", contactId="sip:x@elsewhere.example")
        told = await phone.answer_to("c1")
        assert told == {
            "id": "c1",
            "sequence": told["sequence"],
            "error": {"code": 1020, "message": "PUBLISH_SUBSCRIBE_EXCPT"},
            "jsonrpc": "2.0",
        }
        await phone.say("c2", "GetContactsState", contactIds=["sip:x@elsewhere.example"])
        (contact,) = (await phone.completed("c2"))["contacts"]
        assert (contact["presence"], contact["availability"]) == ("unknown", -1)


# --- batches ------------------------------------------------------------------------------------------


async def test_a_batch_answers_in_its_order_and_waits_for_dependencies(base: str) -> None:
    async with device(base, "carol") as phone:
        batch = [
            call("c3", "GetContactsState", contactIds=["carol@example.com"], dependencies="c1, c2"),
            call("c2", "SetPresence", presence="away", dependencies="c1"),
            call("c1", "BeginSession", gdAuthToken=token_of("carol"), presence="busy"),
        ]
        status, answers = await phone.post(batch)
        assert [a["id"] for a in answers] == ["c3", "c2", "c1"]
        assert all(a["error"] is None for a in answers)
        (contact,) = (await phone.completed("c3"))["contacts"]
        assert contact["presence"] == "away"
        assert [m["id"] for m in phone.seen] == ["c1", "c2", "c3"]


async def test_every_error_of_dependencies(base: str) -> None:
    async with device(base) as phone:
        await phone.begin()
        batch = [
            call("a", "Ping", dependencies="a"),
            call("b", "Ping", dependencies="c"),
            call("c", "Ping", dependencies="d"),
            call("d", "Ping", dependencies="b"),
            call("e", "Ping", dependencies="nowhere"),
            call("f", "Ping", dependencies="e"),
            call("g", "Nonsense"),
            call("h", "Ping", dependencies="g"),
            call("i", "RegisterTempRemotePresence", contactId="sip:x@elsewhere.example"),
            call("j", "SetPresence", presence="busy", dependencies="i"),
            call("k", "Ping", dependencies="j,l"),
            call("l", "Ping"),
            call("l", "Ping"),
            call("m", "Ping", dependencies=""),
        ]
        status, answers = await phone.post(batch)
        found = [(a["id"], a["error"]["code"] if a["error"] else 0) for a in answers]
        assert found == [
            *(("a", 1023), ("b", 1023), ("c", 1023), ("d", 1023)),
            *(("e", 1024), ("f", 1021), ("g", -32601), ("h", 1021)),
            *(("i", 0), ("j", 0), ("k", 0), ("l", 0), ("l", 1025), ("m", 0)),
        ]
        for id, code in (("i", 1020), ("j", 1021), ("k", 1021)):
            assert (await phone.answer_to(id))["error"]["code"] == code
        await phone.completed("l")
        await phone.completed("m")
        assert await phone.refused("z", "Ping", dependencies="l") == 1024


# --- sessions -----------------------------------------------------------------------------------------


async def test_without_a_token_that_verifies_there_is_no_session(base: str) -> None:
    async with device(base) as phone:
        assert await phone.refused("c1", "BeginSession", gdAuthToken="nonsense") == 1008
        assert await phone.refused("c1", "BeginSession", gdToken="nonsense") == 1007
        assert await phone.refused("c1", "BeginSession") == 1008
        assert (await phone.post(call("c2", "Ping")))[0] == 401
        assert (await phone.poll())[0] == 401
        status, answer = await phone.post(
            call("c2", "Ping"), Cookie="deviceToken=unheard-of-0123456"
        )
        assert (status, answer["error"]["code"]) == (200, 1017)
        wrong = "Basic " + "YXBwX2JvYjp3cm9uZw=="
        status, _ = await phone.post(call("c1", "BeginSession"), Authorization=wrong)
        assert status == 401
    async with device(base, basic=True) as phone:
        assert await phone.refused("c2", "Ping") == 1017
        answer = await phone.say("c1", "BeginSession", gdAuthToken="not checked: Basic is there")
        assert answer["error"] is None
    async with device(base) as phone:
        status, answer = await phone.post(
            call("c1", "BeginSession"), **{"X-Good-GD-AuthToken": token_of("bob")}
        )
        assert answer["error"] is None


async def test_the_device_token_is_a_cookie_a_header_or_the_client_s_own(base: str) -> None:
    async with device(base) as phone:
        await phone.begin()
        (cookie,) = [c for c in phone.http.cookie_jar if c.key == "deviceToken"]
        assert len(cookie.value) == 36 and cookie["httponly"] and cookie["path"] == "/bems"
    async with device(base) as phone:
        status, answer = await phone.post(call("c1", "Ping"), deviceToken=cookie.value)
        assert answer["error"] is None
    async with device(base) as phone:
        await phone.begin(deviceToken="a-device-of-my-own-choice")
    async with device(base) as phone:
        given = {"Cookie": "deviceToken=a-device-of-my-own-choice"}
        assert (await phone.post(call("c1", "Ping"), **given))[1]["error"] is None


async def test_a_device_token_that_could_be_guessed_proves_nobody(base: str) -> None:
    async with device(base, basic=True) as phone:
        answer = await phone.say("c1", "BeginSession", deviceToken="d1")
        assert answer["error"] is None
        assert (await phone.say("c2", "Ping"))["error"] is None
    given = {"Cookie": "deviceToken=d1"}
    async with device(base) as phone:
        assert (await phone.post(call("c3", "Ping"), **given))[0] == 401
    async with device(base, "alice", basic=True) as phone:
        assert (await phone.post(call("c3", "Ping"), **given))[1]["error"]["code"] == 1017
        assert await phone.refused("c4", "BeginSession", deviceToken="d1") == 1013


async def test_reconnect_keeps_session_registrations_and_queue(base: str) -> None:
    async with device(base, "erin") as phone:
        await phone.begin(deviceToken="erin-s-own-device-1")
        await phone.register("sip:frank@example.com")
        await grant(base, "frank", "erin")
        await publish(base, "frank", Activity="Busy")
        first = await phone.contact("sip:frank@example.com", "busy")
        seen = phone.after
    async with device(base, "erin") as phone:
        answer = await phone.say(
            "c1",
            "BeginSession",
            gdAuthToken=token_of("erin"),
            deviceToken="erin-s-own-device-1",
            reconnect="true",
        )
        assert answer["error"] is None
        status, answer = await phone.poll()
        again = [c for m in answer["notifications"] for c in contacts_of(m)]
        assert first in again, "what was not acknowledged comes again"
        phone.after = seen
        await phone.completed("c1")
        await publish(base, "frank", Activity="Available")
        await phone.contact("sip:frank@example.com", "available")
        await phone.say("c2", "Ping", reconnect="1")
        await phone.completed("c2")

        await phone.begin(deviceToken="erin-s-own-device-1")
        await publish(base, "frank", Activity="Busy")
        status, answer = await phone.poll(phone.after, 0)
        assert answer["notifications"] == [], "a session that begins anew has no registrations"


def contacts_of(message: Json) -> list[Json]:
    found: list[Json] = message.get("result", {}).get("data", {}).get("contacts", [])
    return found


# --- messages -----------------------------------------------------------------------------------------


async def test_nothing_goes_before_it_is_acknowledged(base: str) -> None:
    async with device(base) as phone:
        await phone.begin()
        for number in range(3):
            await phone.say(f"p{number}", "Ping")
        status, first = await phone.poll(phone.after)
        while len(first["notifications"]) < 3:
            status, first = await phone.poll(phone.after)
        status, again = await phone.poll(phone.after)
        assert first == again
        assert (await phone.poll())[1] == first
        middle = first["notifications"][1]["sequence"]
        status, rest = await phone.poll(middle)
        assert [m["id"] for m in rest["notifications"]] == ["p2"]
        status, rest = await phone.poll()
        assert [m["id"] for m in rest["notifications"]] == ["p2"], "acknowledged ones are gone"
        status, rest = await phone.poll(2**53 - 1)
        assert [m["id"] for m in rest["notifications"]] == ["p2"], "nobody was given that number"
        for wrong in ("x", "-1", "1.5", "9" * 17):
            assert (await phone.poll(wrong))[0] == 400


async def test_a_poll_is_held_until_there_is_something(base: str) -> None:
    async with device(base) as phone, device(base) as other:
        await phone.begin()
        held = asyncio.create_task(phone.poll(phone.after))
        await asyncio.sleep(0)
        cookie = next(iter(phone.http.cookie_jar))
        await other.post(call("late", "Ping"), deviceToken=cookie.value)
        status, answer = await held
        assert [m["id"] for m in answer["notifications"]] == ["late"]
        assert answer["sequence"] == answer["notifications"][-1]["sequence"]
        status, answer = await phone.poll(answer["sequence"], 0)
        assert answer["notifications"] == []


async def test_a_queue_that_nobody_empties_says_what_is_missing(base: str) -> None:
    async with device(base, "grace") as phone:
        await phone.begin()
        await phone.register("sip:heidi@example.com")
        await grant(base, "heidi", "grace")
        await publish(base, "heidi", Activity="Busy")
        await phone.contact("sip:heidi@example.com", "busy")
        for number in range(30):  # ten more than the queue takes
            await phone.say(f"p{number}", "Ping")
        before = phone.after
        lost = await phone.message()
        assert lost["result"]["data"]["method"] == "NotificationsLost"
        assert lost["result"]["data"]["missing"] >= 10
        assert lost["sequence"] > before
        while (await phone.message()).get("id") != "p29":
            pass
        told = await phone.contact("sip:heidi@example.com", "busy")
        assert told["availability"] == 6000, "the state of everybody is told anew"
        numbers = [message["sequence"] for message in phone.seen]
        assert numbers == sorted(set(numbers))
        status, answer = await phone.poll(phone.after, 0)
        assert answer["notifications"] == []


async def test_the_same_messages_are_a_stream_of_events(base: str) -> None:
    async with device(base) as phone, device(base) as reader:
        await phone.begin()
        cookie = next(iter(phone.http.cookie_jar))
        given = {"deviceToken": cookie.value}
        await phone.say("p1", "Ping")
        async with reader.events(**given) as events:
            ids = []
            while "p1" not in ids:
                number, message = await events.next()
                assert number == message["sequence"]
                ids.append(message["id"])
            await phone.say("p2", "Ping")
            second, message = await events.next()
            assert message["id"] == "p2"
            await phone.say("p3", "Ping", reconnect="true")
            numbers = [(await events.next())[0] for _ in range(3)]
            assert number in numbers, "who reconnects is sent what is not acknowledged"
        async with reader.events(**given, **{"Last-Event-ID": str(second)}) as events:
            third, message = await events.next()
            assert message["id"] == "p3" and third > second
            await phone.say("end", "TerminateSession")
            assert (await events.next())[1]["id"] == "end"
            assert await events.ended()
        assert (await phone.poll(second))[1]["notifications"][0]["id"] == "p3"
    async with device(base) as reader:
        async with reader.http.get(reader.base + "/bems/events") as answer:
            assert answer.status == 401
        given = {"deviceToken": "no-such-session-anywhere"}
        async with reader.http.get(reader.base + "/bems/events", headers=given) as answer:
            assert answer.status == 404
            assert (await answer.json())["error"]["code"] == 1017


# --- one presence for all -----------------------------------------------------------------------------


WORDS = (
    ("available", 3500, "Available"),
    ("busy", 6000, "Busy"),
    ("donotdisturb", 9000, "DoNotDisturb"),
    ("berightback", 12000, "Away"),
    ("away", 15500, "Away"),
    ("offline", 18000, "ActivityNone"),
)


async def test_a_status_set_here_is_seen_at_the_other_front(base: str) -> None:
    async with device(base, "ivan") as ivan, device(base, "judy") as judy:
        await ivan.begin()
        await judy.begin()
        await judy.register("sip:ivan@example.com")
        app, ivans = Application(base, "judy"), Application(base, "ivan")
        _, asked = await ivans.ask("GET", "/rest/presence/subscription?status=open")
        (entry,) = asked["result"]
        assert (entry["application"], entry["watcher"]) == ("BEMS", "sip:judy@example.com")
        await app.subscribe("sip:ivan@example.com")
        await grant(base, "ivan", "judy", "Activity", "Other")

        for word, code, kind in WORDS:
            await ivan.say(word, "SetPresence", presence=word, personalMessage=f"I am {word}")
            await ivan.completed(word)
            told = await judy.contact("sip:ivan@example.com", word)
            assert (told["availability"], told["personalMessage"]) == (code, f"I am {word}")
            found = await seen_by_rest(base, "judy", "ivan")
            activity = next(a for a in found if a["typeAndValue"]["unionElement"] == "Activity")
            assert activity["typeAndValue"]["activity"] == kind
            assert activity["note"] == f"I am {word}"

        await publish(base, "ivan", "at lunch", Activity="Meal")
        told = await judy.contact("sip:ivan@example.com", "berightback")
        assert told["personalMessage"] == "at lunch"
        await app.close()
        await ivans.close()


async def test_a_message_stays_until_it_is_replaced(base: str) -> None:
    async with device(base, "ivan") as ivan:
        await ivan.begin(presence="available", personalMessage="here")
        for number, (params, message) in enumerate(
            (
                ({"presence": "busy"}, "here"),
                ({"presence": "away", "personalMessage": "gone"}, "gone"),
                ({"presence": "berightback"}, "gone"),
                ({"presence": "busy", "personalMessage": ""}, ""),
                ({"presence": "away"}, ""),
            )
        ):
            await ivan.say(f"s{number}", "SetPresence", **params)
            await ivan.say(f"g{number}", "Ping")
            await ivan.completed(f"s{number}")
            await ivan.say(f"q{number}", "GetContactsState", contactIds=["ivan@example.com"])
            (contact,) = (await ivan.completed(f"q{number}"))["contacts"]
            assert contact["presence"] == params["presence"]
            assert contact["personalMessage"] == message


async def test_blocked_at_one_front_is_blocked_at_all(base: str) -> None:
    async with device(base, "carol") as carol, device(base, "dave") as dave:
        await carol.begin(presence="busy")
        await dave.begin()
        await dave.register(CAROL)
        await grant(base, "carol", "dave")
        await dave.contact(CAROL, "busy")
        carols = Application(base, "carol")
        blocked = f"/rest/presence/subscription/{DAVE}"
        assert (await carols.ask("DELETE", blocked))[0] == 204
        told = await dave.contact(CAROL, "unknown")
        assert told["availability"] == -1 and told["personalMessage"] == ""
        await carol.say("m", "SetPresence", presence="away")
        await carol.completed("m")
        await dave.say("n", "GetContactsState", contactIds=[CAROL])
        (contact,) = (await dave.completed("n"))["contacts"]
        assert contact["availability"] == -1
        await grant(base, "carol", "dave")
        await dave.contact(CAROL, "away")
        await carols.close()
