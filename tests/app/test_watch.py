"""The Webex-style interfaces over real HTTP: every rule and example of the documentation they follow."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import argon2
import pytest

from sipbridge.events.subscriber import Notified, Terminated
from sipbridge.uri import Uri
from tests.app.rig import (
    PATIENCE,
    Application,
    Site,
    application,
    attributes,
    presence_server,
    remote,
    site,
    until,
)
from tests.app.webex import (
    APHELEIA,
    PRESENCES,
    Updates,
    events,
    milliseconds,
    pidf,
    socket,
    stop,
    watch,
)

ALICE, BOB, CAROL = (f"sip:{n}@example.com" for n in ("alice", "bob", "carol"))
PEOPLE = [
    {"uri": ALICE, "aliases": ["tel:+15550100", "mailto:asmith@example.com", "webex:Y2lz"]},
    {"uri": "sip:desk@example.com", "aliases": ["webex:ZGVzaw"], "bot": True},
]
OPEN = {"sub_handling": "allow"}


def presence(contact: str, status: str, **more: object) -> dict[str, object]:
    """A Presence object."""
    empty = {"customStatus": "", "lastActiveTime": None, "expiresTime": None}
    return {"contactId": contact, "status": status, **empty, **more}


@pytest.fixture
async def there() -> AsyncIterator[Site]:
    """Alice, Bob, and somebody known by many names."""
    async with site(identities=PEOPLE) as made:
        yield made


@pytest.fixture
async def open_house() -> AsyncIterator[Site]:
    """The same where everybody may see everybody."""
    async with site(identities=PEOPLE, agent=OPEN) as made:
        yield made


# --- the watch API -----------------------------------------------------------------------------------------


async def test_the_documented_exchange(there: Site) -> None:
    """Start, updates, stop: the messages of the documentation, with the times of today."""
    alice, bob = there.application("alice"), there.application("bob")
    status, answer = await bob.ask("POST", f"{PRESENCES}/watch", {"contactIds": [ALICE, "bad id"]})
    assert status == 200
    assert answer == {
        "presenceHandles": [
            {"handle": 1, "contactId": ALICE, "isValid": True},
            {"handle": 2, "contactId": "bad id", "isValid": False},
        ]
    }
    async with events(bob) as updates:
        assert await updates.next() == {"handle": 1, "presence": presence(ALICE, "Pending")}
        await alice.grant_all(BOB)
        now = datetime.now(UTC).replace(microsecond=0)
        active, end = now - timedelta(minutes=5), now + timedelta(hours=1)
        phone = await there.phone("alice")
        phone.publish(
            pidf(
                "busy",
                "x:do-not-disturb",
                until=end.isoformat(),
                note="focus time",
                user_input="active",
                last_input=active.isoformat(),
            )
        )
        told = await updates.until(status="Dnd")
        assert told == {
            "handle": 1,
            "presence": {
                "contactId": ALICE,
                "status": "Dnd",
                "customStatus": "focus time",
                "lastActiveTime": milliseconds(active),
                "expiresTime": milliseconds(end),
            },
        }
        status, answer = await bob.ask("POST", f"{PRESENCES}/stop", {"presenceHandles": [1]})
        assert (status, answer) == (204, None)
        phone.publish(pidf("meeting"))
        await alice.publish(Activity="Busy")
        assert await updates.silence()


async def test_one_handle_for_each_contact_in_their_order_and_a_new_one_each_time(
    there: Site,
) -> None:
    bob = there.application("bob")
    contacts = {
        ALICE: True,
        "sips:alice@example.com": True,
        "pres:alice@example.com": True,
        "tel:+1-555-0100": True,
        "mailto:asmith@example.com": True,
        "asmith@example.com": True,
        "alice@example.com": True,
        "Y2lz": True,
        ALICE.upper(): False,  # the user part counts, and nobody is ALICE
        "sip:desk@example.com": False,
        "ZGVzaw": False,
        "sip:nobody@example.com": False,
        "unknown id": False,
        "": False,
        "a" * 5000: False,
        "sip:dave@elsewhere.example": True,
    }
    first, second = await watch(bob, *contacts), await watch(bob, *contacts)
    assert [(h["contactId"], h["isValid"]) for h in first] == list(contacts.items())
    numbers = [h["handle"] for h in first + second]
    assert len(set(numbers)) == len(numbers)
    async with events(bob) as updates:
        told = await updates.take(2 * sum(contacts.values()))
    assert {h["handle"]: h["contactId"] for h in first + second if h["isValid"]} == {
        n: p["contactId"] for n, p in told.items()
    }
    statuses = {p["status"] for p in told.values()}
    assert statuses == {"Pending", "Unknown"}
    strangers = [p["status"] for p in told.values() if "elsewhere" in p["contactId"]]
    assert strangers == ["Unknown", "Unknown"]


async def test_stopping_one_handle_leaves_the_others_of_the_same_contact(open_house: Site) -> None:
    alice, bob = open_house.application("alice"), open_house.application("bob")
    one, two, three = await watch(bob, ALICE, ALICE, ALICE)
    async with events(bob) as updates:
        await updates.take(3)
        await stop(bob, one, two["handle"], two["handle"], 4711)
        await stop(bob, {"handle": one["handle"]})
        await alice.publish(Activity="Meeting")
        told = await updates.next()
        assert told == {"handle": three["handle"], "presence": presence(ALICE, "Meeting")}
        assert await updates.silence()
        await stop(bob, three)
        await alice.publish(Activity="Busy")
        assert await updates.silence()


async def test_somebody_who_publishes_over_sip_can_be_watched(open_house: Site) -> None:
    bob = open_house.application("bob")
    phone = await open_house.phone("dave")
    (handle,) = await watch(bob, "sip:dave@example.com")
    assert not handle["isValid"]
    phone.publish(pidf("meeting", entity="sip:dave@example.com"))

    async def look() -> dict[str, Any]:
        return (await watch(bob, "sip:dave@example.com"))[0]

    handle = await until(look, lambda h: h["isValid"])
    async with events(bob) as updates:
        told = await updates.until(status="Meeting")
        assert told["handle"] == handle["handle"]


async def test_a_status_that_expires_is_followed_by_the_next_one(open_house: Site) -> None:
    alice, bob = open_house.application("alice"), open_house.application("bob")
    await watch(bob, ALICE)
    async with events(bob) as updates:
        event = {"subject": ALICE, "eventType": "dnd", "ttl": 1}
        status, _ = await alice.ask("POST", f"{APHELEIA}/events", event)
        assert status == 200
        told = await updates.until(status="Dnd")
        assert 0 < told["presence"]["expiresTime"] - milliseconds(datetime.now(UTC)) <= 1000
        told = await updates.next()
        assert told["presence"] == presence(ALICE, "Active")


# What stands in a document, the status, the word of the People API, the word of the service.
ROWS = [
    (pidf(), "Active", "active", "active"),
    (pidf("away"), "Inactive", "inactive", "inactive"),
    (pidf("meal"), "Inactive", "inactive", "inactive"),
    (pidf("in-transit"), "Inactive", "inactive", "inactive"),
    (pidf("sleeping"), "Quiet", "DoNotDisturb", "dnd"),
    (pidf("travel"), "Inactive", "inactive", "inactive"),
    (pidf("steering"), "Busy", "active", "active"),
    (pidf("busy"), "Busy", "active", "active"),
    (pidf("busy", user_input="idle"), "Busy", "inactive", "inactive"),
    (pidf("busy", "x:do-not-disturb"), "Dnd", "DoNotDisturb", "dnd"),
    (pidf("on-the-phone"), "Call", "call", "call"),
    (pidf("meeting"), "Meeting", "meeting", "meeting"),
    (pidf("presentation"), "Presenting", "presenting", "presenting"),
    (pidf("appointment"), "CalendarItem", "active", "calendarItem"),
    (pidf("vacation"), "OutOfOffice", "OutOfOffice", "ooo"),
    (pidf("holiday"), "OutOfOffice", "OutOfOffice", "ooo"),
    (pidf("permanent-absence", basic="closed"), "OutOfOffice", "OutOfOffice", "ooo"),
    (pidf("away", "x:out-of-office"), "OutOfOffice", "OutOfOffice", "ooo"),
    (pidf("away", "x:quiet"), "Quiet", "DoNotDisturb", "dnd"),
    (pidf("unknown"), "Active", "active", "active"),
    (pidf(user_input="idle"), "Inactive", "inactive", "inactive"),
    (pidf(basic="closed"), "Inactive", "inactive", "inactive"),
    (pidf(basic=""), "Unknown", "unknown", "unknown"),
    # Where somebody is says nothing about what they want.
    (pidf(place="quiet"), "Active", "active", "active"),
    # Several at once, the strongest first.
    (pidf("vacation", "x:do-not-disturb"), "OutOfOffice", "OutOfOffice", "ooo"),
    (pidf("x:do-not-disturb", "sleeping"), "Dnd", "DoNotDisturb", "dnd"),
    (pidf("sleeping", "presentation"), "Quiet", "DoNotDisturb", "dnd"),
    (pidf("presentation", "meeting"), "Presenting", "presenting", "presenting"),
    (pidf("meeting", "on-the-phone"), "Meeting", "meeting", "meeting"),
    (pidf("on-the-phone", "busy"), "Call", "call", "call"),
    (pidf("busy", "appointment"), "Busy", "active", "active"),
    (pidf("appointment", "away"), "CalendarItem", "active", "calendarItem"),
]


async def test_every_status_in_all_three_vocabularies(open_house: Site) -> None:
    bob, phone = open_house.application("bob"), await open_house.phone("alice")
    # A note makes each row news, also beside a neighbour of the same status.
    publication = phone.publish(pidf(person_note="begin"))
    await watch(bob, ALICE)
    reached = set()
    async with events(bob) as updates:
        await updates.until(customStatus="begin")
        for number, (document, status, rest, service) in enumerate(ROWS):
            note = f"<dm:note>row {number}</dm:note></dm:person>".encode()
            phone.modify(publication, document.replace(b"</dm:person>", note))
            told = await updates.until(customStatus=f"row {number}")
            assert told["presence"]["status"] == status, document
            reached.add(status)
            _, person = await bob.ask("GET", "/webex/v1/people/Y2lz")
            _, composed = await bob.ask("GET", f"{APHELEIA}/compositions?userId=Y2lz")
            assert (person["status"], composed["status"]) == (rest, service), document
    assert len(reached) == 11  # all but Pending, which nobody publishes


async def test_the_document_of_many_views(open_house: Site) -> None:
    """A scheduled lunch, away and idle: CalendarItem until it is over, then Inactive."""
    bob, phone = open_house.application("bob"), await open_house.phone("alice")
    now = datetime.now(UTC).replace(microsecond=0)
    last, end = now - timedelta(minutes=15), now + timedelta(seconds=2)
    phone.publish(
        pidf(
            "lunch",
            "away",
            until=end.isoformat(),
            note="team lunch",
            user_input="idle",
            last_input=last.isoformat(),
        )
    )
    await until(lambda: watch(bob, ALICE), lambda handles: handles[0]["isValid"])
    async with events(bob) as updates:
        told = await updates.until(status="CalendarItem")
        last_active = milliseconds(last)
        assert told["presence"] == presence(
            ALICE,
            "CalendarItem",
            customStatus="team lunch",
            lastActiveTime=last_active,
            expiresTime=milliseconds(end),
        )
        told = await updates.until(status="Inactive")
        assert told["presence"] == presence(ALICE, "Inactive", lastActiveTime=last_active)
        assert datetime.now(UTC) >= end


async def test_blocked_is_unknown_and_a_grant_shows_again(there: Site) -> None:
    alice, bob = there.application("alice"), there.application("bob")
    await alice.publish(Activity="Meeting")
    await watch(bob, ALICE)
    assert (await alice.open_subscriptions())[BOB]["application"] == "Webex"
    async with events(bob) as updates:
        assert (await updates.next())["presence"]["status"] == "Pending"
        await alice.decide(BOB, Activity=True)
        await updates.until(status="Meeting")
        await alice.block(BOB)
        assert (await updates.next())["presence"] == presence(ALICE, "Unknown")
        _, person = await bob.ask("GET", "/webex/v1/people/Y2lz")
        assert "status" not in person
        await alice.grant_all(BOB)
        await updates.until(status="Meeting")


# --- streams -----------------------------------------------------------------------------------------------


async def test_a_websocket_says_the_same_as_the_events(open_house: Site) -> None:
    alice, bob = open_house.application("alice"), open_house.application("bob")
    await watch(bob, ALICE, ALICE)
    async with events(bob) as one, socket(bob) as other:
        for activity, status in (("Meeting", "Meeting"), ("Busy", "Busy"), ("Away", "Inactive")):
            await alice.publish(Activity=activity)
            for updates in (one, other):
                await updates.until(status=status)
                told = await updates.until(status=status)
                assert told["presence"] == presence(ALICE, status)
    assert one.names == set()


async def test_who_comes_back_is_told_what_changed_and_nothing_twice(open_house: Site) -> None:
    alice, bob = open_house.application("alice"), open_house.application("bob")
    await watch(bob, ALICE, BOB)
    async with events(bob) as updates:
        await alice.publish(Activity="Meeting")
        await updates.until(status="Meeting")
        seen = updates.last_id
    async with events(bob, Last_Event_ID=seen) as updates:
        assert await updates.silence()
        await alice.publish(Activity="Busy")
        assert (await updates.next())["presence"]["status"] == "Busy"
    await alice.publish(Activity="Away")
    await alice.publish(Activity="OnThePhone")
    path = f"{PRESENCES}/events?lastEventId={seen}"
    async with events(bob, path) as updates:
        assert (await updates.next())["presence"]["status"] == "Call"
        assert await updates.silence()
    for wrong in ("0000-7", f"{seen}0", "x", "-1"):
        async with events(bob, Last_Event_ID=wrong) as updates:
            told = await updates.take(2)
            assert sorted(p["contactId"] for p in told.values()) == [ALICE, BOB]


async def test_pages_open_streams_with_tickets(open_house: Site) -> None:
    bob = open_house.application("bob")
    await watch(bob, ALICE)
    async with aiohttp.ClientSession() as page:
        for kind in ("events", "stream"):
            _, given = await bob.ask("POST", "/auth/tickets")
            url = f"{open_house.base}{PRESENCES}/{kind}?ticket={given['ticket']}"
            if kind == "events":
                async with page.get(url) as got:
                    assert got.status == 200
                    updates = Updates()
                    reading = asyncio.get_running_loop().create_task(updates.read(got.content))
                    assert (await updates.next())["handle"] == 1
                    reading.cancel()
                async with page.get(url) as got:
                    assert got.status == 401
            else:
                async with page.ws_connect(url) as opened:
                    assert (await opened.receive_json(timeout=PATIENCE))["handle"] == 1
                with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                    await page.ws_connect(url)
                assert caught.value.status == 403


async def test_streams_of_foreign_pages_are_refused(open_house: Site) -> None:
    bob = open_house.application("bob")
    headers = {"Origin": "https://evil.example"}
    async with bob.http.get(f"{open_house.base}{PRESENCES}/events", headers=headers) as got:
        assert got.status == 403
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await bob.http.ws_connect(f"{open_house.base}{PRESENCES}/stream", headers=headers)
    assert caught.value.status == 403


async def test_one_person_does_not_see_the_handles_of_another(open_house: Site) -> None:
    portal = application("portal", acts_for=["sip:*@example.com"])
    async with site(agent=OPEN, applications=[portal, application("alice")]) as there:
        made = there.application("portal")
        named = {"X-Presence-Identity": CAROL}
        body = {"contactIds": [ALICE]}
        status, answer = await made.ask("POST", f"{PRESENCES}/watch", body, **named)
        assert (status, answer["presenceHandles"][0]["isValid"]) == (200, True)
        async with events(made) as own, events(made, X_Presence_Identity=CAROL) as carols:
            assert (await carols.next())["handle"] == 1
            assert await own.silence()
            await stop(made, 1)  # in its own name: nobody's handle
            await there.application("alice").publish(Activity="Busy")
            await carols.until(status="Busy")


async def test_a_bridge_that_stops_ends_the_streams() -> None:
    async with site(agent=OPEN) as there:
        bob = there.application("bob")
        await watch(bob, ALICE)
        opened = await bob.http.ws_connect(f"{there.base}{PRESENCES}/stream")
        assert (await opened.receive_json(timeout=PATIENCE))["handle"] == 1
        got = await bob.http.get(f"{there.base}{PRESENCES}/events")
        await there.bridge.stop()
        async with asyncio.timeout(PATIENCE):
            async for _ in opened:  # what was told before, and then the end
                pass
        assert opened.closed
        assert b"handle" in await asyncio.wait_for(got.read(), PATIENCE)
        await opened.close()


# --- other servers, other names ----------------------------------------------------------------------------


async def test_what_a_presence_server_says_is_what_the_handle_shows() -> None:
    """404 is Unknown and no other handle; pending, active and rejected as everywhere."""
    dora = "sip:dora@remote.example"
    async with (
        presence_server() as server,
        site(presence_server=remote(server)) as there,
    ):
        bob = there.application("bob")
        server.refuse["SUBSCRIBE"] = 404
        (gone,) = await watch(bob, dora)
        assert gone["isValid"]
        async with events(bob) as updates:
            assert (await updates.until(status="Unknown"))["handle"] == gone["handle"]
            del server.refuse["SUBSCRIBE"]
            eve = "sip:eve@remote.example"
            (handle,) = await watch(bob, eve)
            assert (await updates.next())["presence"] == presence(eve, "Pending")
            asked = await server.subscription(eve)
            server.notify(asked, state="pending;expires=600")
            server.notify(asked, pidf("meeting", note="round table", entity=eve))
            told = await updates.until(contactId=eve, status="Meeting")
            assert told["presence"]["customStatus"] == "round table"
            server.notify(asked, pidf("busy", entity=eve))
            told = await updates.next()
            assert told == {"handle": handle["handle"], "presence": presence(eve, "Busy")}
            server.notify(asked, state="terminated;reason=rejected")
            assert (await updates.next())["presence"] == presence(eve, "Unknown")


async def test_names_of_one_person_are_one_person_over_sip_too() -> None:
    people = [{"uri": ALICE, "aliases": ["sip:asmith@example.com"]}]
    async with site(identities=people) as there:
        alice, bob = there.application("alice"), there.application("bob")
        phone, watcher = await there.phone("asmith"), await there.phone("bob")
        await watch(bob, ALICE)
        await alice.grant_all(BOB)
        async with events(bob) as updates:
            # Her phone publishes under her other name, his asks for her under it.
            phone.publish(pidf("on-the-phone", entity="sip:asmith@example.com"))
            assert (await updates.until(status="Call"))["presence"]["contactId"] == ALICE
            watcher.subscribe(Uri.parse("sip:asmith@example.com"))
            said = await watcher.wait_for(lambda one: isinstance(one, Notified), PATIENCE)
            assert isinstance(said, Notified)
            assert said.state == "active" and b"on-the-phone" in said.body
            await alice.block(BOB)
            await updates.until(status="Unknown")
            ended = await watcher.wait_for(lambda one: isinstance(one, Terminated), PATIENCE)
            assert isinstance(ended, Terminated) and ended.reason == "rejected"


async def test_an_application_that_is_removed_takes_its_handles_along() -> None:
    hasher = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    async with site(agent=OPEN, admin={"password_hash": hasher.hash("let me in")}) as there:
        assert there.graph is not None
        operator = there.application("admin")
        token = base64.b64encode(b"admin:let me in").decode()
        operator.http.headers["Authorization"] = f"Basic {token}"
        carol = {"id": "app_carol", "uri": CAROL, "password": "secret-carol"}
        assert (await operator.ask("POST", "/admin/applications", carol))[0] == 201
        made = there.application("carol")
        await watch(made, ALICE)
        metrics = await made.text("/metrics")
        assert 'sipbridge_webex_wishes{kind="handles"} 1.0' in metrics
        async with events(made) as updates:
            await updates.next()
            assert (await operator.ask("DELETE", "/admin/applications/app_carol"))[0] == 204
        watching = there.graph.watching
        assert watching.contacts == {} and not there.graph.gateway.observations.of_pair
        assert await there.graph.store.load_snapshots("webex-handle") == []
        assert (await made.ask("POST", f"{PRESENCES}/watch", {"contactIds": [ALICE]}))[0] == 401


# --- requests ----------------------------------------------------------------------------------------------


WRONG: list[tuple[str, object, str]] = [
    ("/people/presences/watch", {}, "contactIds"),
    ("/people/presences/watch", {"contactIds": ALICE}, "contactIds"),
    ("/people/presences/watch", {"contactIds": [ALICE, 5]}, "contactIds[1]"),
    ("/people/presences/watch", {"contactIds": [ALICE] * 10_001}, "contactIds"),
    ("/people/presences/watch", [], "body"),
    ("/people/presences/stop", {}, "presenceHandles"),
    ("/people/presences/stop", {"presenceHandles": ["1"]}, "presenceHandles[0]"),
    ("/people/presences/stop", {"presenceHandles": [{"handle": True}]}, "presenceHandles[0]"),
    ("/apheleia/compositions", {"subjects": ["a"] * 51}, "subjects"),
    ("/apheleia/subscriptions", {"subjects": ["a"], "subscriptionTtl": -1}, "subscriptionTtl"),
    ("/apheleia/subscriptions", {"subjects": ["a"] * 51}, "subjects"),
    ("/apheleia/events", {"subject": BOB, "eventType": "asleep"}, "eventType"),
    ("/apheleia/events", {"subject": BOB, "eventType": "inactive ", "ttl": 1}, "eventType"),
    ("/apheleia/events", {"subject": BOB, "eventType": "dnd", "ttl": "1"}, "ttl"),
    ("/apheleia/events", {"eventType": "dnd"}, "subject"),
]


async def test_what_makes_no_sense_names_the_part(quiet: Application) -> None:
    for path, body, part in WRONG:
        status, answer = await quiet.ask("POST", f"/webex{path}", body)
        assert status == 400, (path, body, answer)
        assert answer["error"]["variables"][0].startswith(part), (path, body, answer)


@pytest.fixture
async def quiet() -> AsyncIterator[Application]:
    """Bob, on a bridge whose other interface has sessions."""
    async with site(identities=PEOPLE, agent=OPEN, ocsg={"sessions": True}) as made:
        yield made.application("bob")


async def test_what_is_not_there_and_who_may_not(quiet: Application) -> None:
    assert (await quiet.ask("GET", "/webex"))[0] == 404
    assert (await quiet.ask("GET", "/webex/people/presences"))[0] == 404
    assert (await quiet.ask("GET", f"{PRESENCES}/watch"))[0] == 405
    assert (await quiet.ask("POST", f"{PRESENCES}/events", {}))[0] == 405
    assert (await quiet.ask("DELETE", f"{APHELEIA}/compositions"))[0] == 405
    assert quiet.headers["Allow"] == "GET, POST"
    assert (await quiet.ask("GET", "/webex/v1/people/nobody"))[0] == 404
    assert (await quiet.ask("GET", f"{APHELEIA}/compositions?userId=nobody"))[0] == 404
    assert (await quiet.ask("GET", f"{APHELEIA}/compositions"))[0] == 400
    for query in ("", "?displayName=alice", "?id=a&email=b@c", f"?id={'a,' * 101}"):
        assert (await quiet.ask("GET", f"/webex/v1/people{query}"))[0] == 400
    event = {"subject": ALICE, "eventType": "dnd"}
    assert (await quiet.ask("POST", f"{APHELEIA}/events", event))[0] == 403
    async with aiohttp.ClientSession() as nobody:
        for path in ("/people/presences/events", "/v1/people/me", "/apheleia/events"):
            async with nobody.get(f"{quiet.base}/webex{path}") as got:
                assert got.status == 401


async def test_too_many_handles_are_refused() -> None:
    async with site(agent=OPEN, limits={"max_subscriptions": 2}) as there:
        bob = there.application("bob")
        assert len(await watch(bob, ALICE, ALICE)) == 2
        status, answer = await bob.ask("POST", f"{PRESENCES}/watch", {"contactIds": [ALICE]})
        assert (status, answer["error"]["variables"]) == (429, ["handles"])
        await stop(bob, 1)
        assert len(await watch(bob, ALICE)) == 1


# --- the People API ----------------------------------------------------------------------------------------


async def test_people_by_id_by_mail_and_oneself(open_house: Site) -> None:
    alice, bob = open_house.application("alice"), open_house.application("bob")
    phone = await open_house.phone("alice")
    stamp = datetime(2015, 10, 18, 14, 26, 16, 28000, UTC)
    phone.publish(pidf(user_input="active", last_input=stamp.isoformat()))
    person = {
        "id": "Y2lz",
        "type": "person",
        "displayName": "alice",
        "emails": ["asmith@example.com"],
        "status": "active",
        "lastActivity": "2015-10-18T14:26:16.028Z",
    }

    async def shown() -> tuple[int, Any]:
        return await bob.ask("GET", "/webex/v1/people/Y2lz")

    assert await until(shown, lambda got: got[1].get("status") == "active") == (200, person)
    assert (await alice.ask("GET", "/webex/v1/people/me"))[1] == person
    for query in ("id=Y2lz", "email=asmith@example.com", "id=sip:alice@example.com"):
        assert (await bob.ask("GET", f"/webex/v1/people?{query}"))[1] == {"items": [person]}
    _, answer = await bob.ask("GET", "/webex/v1/people?id=Y2lz,bm9ib2R5")
    assert answer == {"items": [person], "notFoundIds": ["bm9ib2R5"]}
    assert (await bob.ask("GET", "/webex/v1/people?email=nobody@example.com"))[1] == {"items": []}


async def test_who_has_not_decided_is_pending_and_nothing_is_observed(there: Site) -> None:
    alice, bob = there.application("alice"), there.application("bob")
    await alice.publish(Activity="Meeting")
    _, person = await bob.ask("GET", "/webex/v1/people/Y2lz")
    assert person["status"] == "pending"
    assert there.graph is not None
    assert not there.graph.gateway.observations.of_pair


# --- the service of the browser plugin ---------------------------------------------------------------------


async def test_the_plugins_calls(open_house: Site) -> None:
    alice, bob = open_house.application("alice"), open_house.application("bob")
    # setStatus: the label is missing for dnd only.
    event = {"subject": "Y2lz", "eventType": "active", "label": "Y2lz", "ttl": 600}
    assert await alice.ask("POST", f"{APHELEIA}/events", event) == (200, event)
    event = {"subject": "Y2lz", "eventType": "dnd", "ttl": 3600}
    assert await alice.ask("POST", f"{APHELEIA}/events", event) == (200, event)
    # get
    _, shown = await bob.ask("GET", f"{APHELEIA}/compositions?userId=Y2lz")
    assert (shown["subject"], shown["status"], shown["expiresTTL"] // 10) in (
        ("Y2lz", "dnd", 359),
        ("Y2lz", "dnd", 360),
    )
    end = datetime.fromisoformat(shown["expiresTime"])
    assert abs((end - datetime.now(UTC)).total_seconds() - 3600) < 10
    assert shown["url"].endswith("/webex/apheleia/compositions?userId=Y2lz")
    assert (shown["vectorCounters"], shown["suppressNotifications"]) == ({}, False)
    # list
    _, listed = await bob.ask("POST", f"{APHELEIA}/compositions", {"subjects": ["Y2lz", BOB, "x"]})
    assert [(s["subject"], s["status"]) for s in listed["statusList"]] == [
        ("Y2lz", "dnd"),
        (BOB, "unknown"),
    ]
    # subscribe
    wanted = {"subjects": ["Y2lz", "x"], "subscriptionTtl": 600, "includeStatus": True}
    status, answer = await bob.ask("POST", f"{APHELEIA}/subscriptions", wanted)
    assert status == 200
    one, other = answer["responses"]
    assert (one["subject"], one["responseCode"], one["subscriptionTtl"]) == ("Y2lz", 200, 600)
    assert one["status"]["status"] == "dnd"
    assert other == {"subject": "x", "responseCode": 404, "subscriptionTtl": 0}
    # updates, both ways
    async with (
        events(bob, f"{APHELEIA}/events") as one_way,
        socket(bob, f"{APHELEIA}/events") as other_way,
    ):
        assert (await one_way.next())["status"] == "dnd"
        assert (await other_way.next())["data"]["status"] == "dnd"
        await alice.ask("POST", f"{APHELEIA}/events", {"subject": ALICE, "eventType": "clear"})
        told = await one_way.next()
        assert (told["subject"], told["status"], told["expiresTTL"]) == ("Y2lz", "active", -1)
        assert "expiresTime" not in told
        enveloped = (await other_way.next())["data"]
        assert enveloped.pop("eventType") == "apheleia.subscription_update"
        assert enveloped == told
        assert one_way.names == {"event:apheleia.subscription_update"}
        # unsubscribe
        wanted = {"subjects": ["Y2lz"], "subscriptionTtl": 0}
        status, answer = await bob.ask("POST", f"{APHELEIA}/subscriptions", wanted)
        assert answer["responses"] == [
            {"subject": "Y2lz", "responseCode": 200, "subscriptionTtl": 0}
        ]
        await alice.publish(Activity="Busy")
        await bob.ask("POST", f"{APHELEIA}/subscriptions", {"subjects": [BOB]})
        assert (await one_way.next())["subject"] == BOB
        await bob.ask(
            "POST", f"{APHELEIA}/subscriptions", {"subjects": [BOB], "subscriptionTtl": 0}
        )
    assert open_house.graph is not None
    assert not open_house.graph.gateway.observations.of_pair


WORDS = {
    "active": "Active",
    "inactive": "Inactive",
    "dnd": "Dnd",
    "ooo": "OutOfOffice",
    "call": "Call",
    "meeting": "Meeting",
    "presenting": "Presenting",
    "calendarItem": "CalendarItem",
    "clear": "Active",
}


async def test_a_status_set_by_a_word_is_seen_as_what_it_means(quiet: Application) -> None:
    await watch(quiet, BOB)
    async with events(quiet) as updates:
        for word, status in WORDS.items():
            event = {"subject": BOB, "eventType": word}
            assert await quiet.ask("POST", f"{APHELEIA}/events", event) == (
                200,
                {**event, "ttl": 0},
            )
            await updates.until(status=status)


async def test_json_is_as_documented_to_the_letter(quiet: Application) -> None:
    """No member more or less, integers as integers."""
    (handle,) = await watch(quiet, BOB)
    assert list(handle) == ["handle", "contactId", "isValid"]
    async with events(quiet) as updates:
        while (told := await updates.next())["handle"] != handle["handle"]:
            pass
    assert list(told) == ["handle", "presence"]
    wanted = ["contactId", "status", "customStatus", "lastActiveTime", "expiresTime"]
    assert list(told["presence"]) == wanted
    assert json.loads(json.dumps(told)) == told
    await stop(quiet, handle)
    publication = {"presence": attributes(Activity="Busy")}
    # The other interface of this bridge has sessions, and still asks for one.
    assert (await quiet.ask("PUT", "/rest/presence/presence", publication))[0] == 403
