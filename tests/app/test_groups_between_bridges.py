"""A group whose members live at another bridge: one subscription between the two, made and broken."""

from pathlib import Path

import pytest

from sipbridge.events.publisher import Published
from sipbridge.uri import Uri
from tests.app.rig import PATIENCE, Application, Site, document, remote, site, values

TEAM = "sip:team@example.com"
DAVE, ERIN = "sip:dave@example.com", "sip:erin@example.com"
GROUPS = [{"uri": TEAM, "members": [DAVE, ERIN]}]
OPEN = {"sub_handling": "allow"}


async def publish(there: Site, who: str, activity: str) -> None:
    phone = await there.phone(who.removeprefix("sip:").partition("@")[0])
    phone.publish(document(activity, who), entity=Uri.parse(who))
    said = await phone.wait_for(lambda s: isinstance(s, Published), PATIENCE)
    assert isinstance(said, Published)


def watched(there: Site) -> list[str]:
    """Whom the subscriptions at a bridge's agent are to."""
    graph = there.bridge.graph
    assert graph is not None and graph.agent is not None
    living = graph.agent.notifier.subscriptions.values()
    return sorted(str(s.resource) for s in living if s.package.name == "presence")


async def status(by: Application) -> tuple[str, object]:
    """Of whom the next statusChanged tells which activity."""
    told = await by.told("statusChanged")
    return told["presentity"], values(told["changedAttributes"])["Activity"]


def profile(folder: Path, groups: str) -> str:
    path = folder / f"{groups}.toml"
    path.write_text(f'groups = "{groups}"\n')
    return str(path)


@pytest.mark.parametrize(("groups", "subscriptions"), [("each", 2), ("uri", 1), ("body", 1)])
async def test_members_are_seen_whichever_way_the_group_goes(
    tmp_path: Path, groups: str, subscriptions: int
) -> None:
    served = GROUPS if groups == "uri" else []
    async with site(agent=OPEN, groups=served) as there:
        wanted = {**remote(f"sip:{there.sip};transport=udp"), "profile": profile(tmp_path, groups)}
        async with site(presence_server=wanted, groups=GROUPS) as here:
            await publish(there, DAVE, "busy")
            bob = await here.application("bob").listen()
            await bob.subscribe(TEAM)
            assert len(watched(there)) == subscriptions
            for _ in range(2):
                assert (await bob.told("notifySubscription"))["presentity"] in (DAVE, ERIN)
            assert await bob.start(TEAM) == []
            assert await status(bob) == (DAVE, "Busy")
            await publish(there, ERIN, "away")
            assert await status(bob) == (ERIN, "Away")


async def test_a_server_without_the_list_is_asked_for_each_member(tmp_path: Path) -> None:
    async with site(agent=OPEN) as there:
        wanted = {**remote(f"sip:{there.sip};transport=udp"), "profile": profile(tmp_path, "uri")}
        async with site(presence_server=wanted, groups=GROUPS) as here:
            bob = await here.application("bob").listen()
            await bob.subscribe(TEAM)
            for _ in range(2):
                await bob.told("notifySubscription")
            await bob.start(TEAM)
            await publish(there, DAVE, "busy")
            assert await status(bob) == (DAVE, "Busy")
            assert watched(there) == [DAVE, ERIN]


async def test_blocked_members_stay_hidden_and_the_others_are_seen(tmp_path: Path) -> None:
    block = {"presentity": DAVE, "watcher": "sip:bob@example.com", "sub_handling": "block"}
    async with site(agent={**OPEN, "policies": [block]}) as there:
        wanted = {**remote(f"sip:{there.sip};transport=udp"), "profile": profile(tmp_path, "body")}
        await publish(there, ERIN, "busy")
        async with site(presence_server=wanted, groups=GROUPS) as here:
            bob = await here.application("bob").listen()
            await bob.subscribe(TEAM)
            ended = await bob.told("subscriptionEnded")
            assert (ended["presentity"], ended["reason"]) == (DAVE, "Blocked")
            assert (await bob.told("notifySubscription"))["presentity"] == ERIN
            await bob.start(TEAM)
            assert await status(bob) == (ERIN, "Busy")
