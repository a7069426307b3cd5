"""Groups that a presence server keeps (RFC 4662), on a whole bridge in front of a server made by hand."""

from pathlib import Path

from tests.app.lists import KIND, row, told
from tests.app.rig import (
    Application,
    PresenceServer,
    document,
    kept,
    presence_server,
    remote,
    settings,
    site,
    values,
)

FRIENDS, OTHERS = "sip:friends@example.com", "sip:others@example.com"
DAVE, ERIN = "sip:dave@example.com", "sip:erin@example.com"
GROUPS = [{"uri": FRIENDS}]


async def subscribed(bob: Application, server: PresenceServer) -> None:
    """Bob hears of Dave; of Erin nothing is known."""
    await bob.subscribe(FRIENDS)
    request = await server.subscription(FRIENDS)
    assert request.get("supported") == "eventlist"
    rows = (row(DAVE, "active", "d@x"), row(ERIN))
    server.notify(request, told(1, True, *rows, d=document("busy", DAVE)), kind=KIND)
    assert (await bob.told("notifySubscription"))["presentity"] == DAVE


async def test_members_of_a_list_are_told_under_their_own_names() -> None:
    async with presence_server() as server:
        server.lists = {FRIENDS}
        async with site(presence_server=remote(server), groups=GROUPS) as here:
            bob = await here.application("bob").listen()
            await subscribed(bob, server)
            assert await bob.start(FRIENDS) == [ERIN]
            first = await bob.told("statusChanged")
            assert (first["presentity"], first["correlator"]) == (DAVE, "w-1")
            assert values(first["changedAttributes"])["Activity"] == "Busy"
            request = await server.subscription(FRIENDS)
            part = told(2, False, row(ERIN, "active", "e@x"), e=document("away", ERIN))
            server.notify(request, part, kind=KIND)
            assert (await bob.told("notifySubscription"))["presentity"] == ERIN
            second = await bob.told("statusChanged")
            assert (second["presentity"], second["correlator"]) == (ERIN, "w-1")
            assert values(second["changedAttributes"])["Activity"] == "Away"
            assert [r.get("to") for r in server.requests("SUBSCRIBE")].count(f"<{FRIENDS}>") == 1


async def test_a_version_that_is_missing_is_asked_for() -> None:
    async with presence_server() as server:
        server.lists = {FRIENDS}
        async with site(presence_server=remote(server), groups=GROUPS) as here:
            bob = await here.application("bob").listen()
            await subscribed(bob, server)
            request = await server.subscription(FRIENDS)
            server.notify(request, told(3, False, row(ERIN, "pending")), kind=KIND)
            refresh = await server.subscription(FRIENDS, index=1)
            assert refresh.get("call-id") == request.get("call-id")
            assert ";tag=" in refresh.get("to")


async def test_what_is_no_list_is_said_so() -> None:
    groups = [*GROUPS, {"uri": OTHERS}]
    async with (
        presence_server() as server,
        site(presence_server=remote(server), groups=groups) as here,
    ):
        bob = here.application("bob")
        wanted = {
            "application": "Desk app",
            "presentity": FRIENDS,
            "reference": bob.reference("s-1"),
        }
        status, answer = await bob.ask("POST", "/rest/presence/subscription", wanted)
        assert (status, answer["error"]["messageId"]) == (400, "SVC0006")
        assert answer["error"]["variables"] == [FRIENDS, "presentity"]
        server.refuse["SUBSCRIBE"] = 489
        wanted["presentity"] = OTHERS
        status, answer = await bob.ask("POST", "/rest/presence/subscription", wanted)
        assert (status, answer["error"]["messageId"]) == (403, "POL0006")


async def test_after_a_restart_the_list_is_watched_again_and_nothing_is_said_twice(
    tmp_path: Path,
) -> None:
    async with presence_server() as server:
        server.lists = {FRIENDS}
        wanted = settings(store=kept(tmp_path), presence_server=remote(server), groups=GROUPS)
        async with site(wanted) as here:
            bob = await here.application("bob").listen()
            await subscribed(bob, server)
            assert await bob.start(FRIENDS) == [ERIN]
            await bob.told_status(Activity="Busy")
        asked = len(server.requests("SUBSCRIBE"))
        async with site(wanted) as here:
            bob = await here.application("bob").listen()
            again = await server.until(
                lambda: [
                    r for r in server.requests("SUBSCRIBE")[asked:] if f"<{FRIENDS}>" in r.get("to")
                ]
            )
            assert again.get("supported") == "eventlist"
            rows = (row(DAVE, "active", "d@x"), row(ERIN, "active", "e@x"))
            bodies = {"d": document("busy", DAVE), "e": document("meal", ERIN)}
            server.notify(again, b"", kind=KIND)  # more than may go to an unproven address
            server.notify(again, told(1, True, *rows, **bodies), kind=KIND)
            assert (await bob.told("notifySubscription"))["presentity"] == ERIN
            changed = await bob.told("statusChanged")
            assert changed["presentity"] == ERIN
            to = [r.get("to") for r in server.requests("SUBSCRIBE")[asked:]]
            assert not [uri for uri in to if DAVE in uri or ERIN in uri]
