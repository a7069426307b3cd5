"""What applications do at the same moment: nothing gets lost between two of them, or is refused for it."""

import asyncio
from pathlib import Path

from tests.app.rig import KINDS, application, kept, settings, site

ALICE = "sip:alice@example.com"
WATCHERS = [f"w{number}" for number in range(12)]


async def test_decisions_of_one_presentity_at_the_same_moment_all_count(tmp_path: Path) -> None:
    wanted = settings(
        store=kept(tmp_path), applications=[application(n) for n in ("alice", *WATCHERS)]
    )
    async with site(wanted) as there:
        alice = there.application("alice")
        for name in WATCHERS:
            await there.application(name).subscribe(ALICE)
        admitted = [f"sip:{name}@example.com" for name in WATCHERS[:8]]
        blocked = [f"sip:{name}@example.com" for name in WATCHERS[8:]]
        await asyncio.gather(
            *(alice.grant_all(watcher) for watcher in admitted),
            *(alice.block(watcher) for watcher in blocked),
        )
        assert sorted(await alice.watchers()) == admitted
        assert await alice.open_subscriptions() == {}
    async with site(wanted) as there:
        assert sorted(await there.application("alice").watchers()) == admitted


async def test_decisions_about_one_watcher_at_the_same_moment_add_up(tmp_path: Path) -> None:
    async with site(store=kept(tmp_path)) as there:
        alice, bob = there.application("alice"), there.application("bob")
        await bob.subscribe(ALICE)
        await asyncio.gather(
            *(alice.decide("sip:bob@example.com", **{kind: True}) for kind in KINDS)
        )
        assert await alice.open_subscriptions() == {}
