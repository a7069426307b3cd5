"""Whatever happens, a list shows of each member what a direct subscription shows (RFC 4662 §4)."""

import random
from dataclasses import dataclass, field, replace

import pytest

from sipbridge.agent.presence_agent import AgentLimits
from sipbridge.events.resource_list import ListView, Member
from sipbridge.uri import Uri
from tests.agent.test_lists import FRIENDS, LISTING, RLS, ListWorld, key
from tests.agent.world import ALLOW, BLOCK, CAROL, CONFIRM, DAVE, ERIN, POLITE_BLOCK, document
from tests.events.peers import TO_BOB
from tests.harness.pair import ALICE

FRANK = Uri.parse("sip:frank@example.com")
GINA = Uri.parse("sip:gina@example.com")
INNER = Uri.parse("sip:inner@example.com")
EVERYBODY = (CAROL, ERIN, FRANK, GINA)
WHOLE = replace(TO_BOB, partial_notify=False)
HANDLINGS = (ALLOW, ALLOW, POLITE_BLOCK, CONFIRM, BLOCK)


@dataclass
class Story:
    """People who publish and decide as the dice fall, and Dave, who watches them in three ways."""

    seed: int
    protocol: str
    dice: random.Random = field(init=False)
    world: ListWorld = field(init=False)
    publications: dict[Uri, str] = field(default_factory=dict)
    lists: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self.world = ListWorld(CAROL, INNER, GINA, limits=AgentLimits(list_gather=0.3))
        self.world.has(INNER, ERIN, FRANK)
        if self.protocol == "udp":
            self.world.only_udp()
            self.world.pair.wire.chance = self.chance
        self.lists.append(self.world.subscribe())
        members = [str(uri) for uri in EVERYBODY]
        self.lists.append(self.world.watch(DAVE, RLS, members=members, policy=LISTING))

    def chance(self, data: bytes) -> tuple[int, float]:
        """One message in ten is lost, one comes twice, one late."""
        return self.dice.choice([(0, 0.0), (2, 0.0), (1, 0.4)] + 7 * [(1, 0.0)])

    def happen(self) -> None:
        who = self.dice.choice(EVERYBODY)
        match self.dice.randrange(6):
            case 0 | 1:
                self.publish(who)
            case 2:
                if (publication := self.publications.pop(who, "")) != "":
                    self.world.remove(publication)
            case 3:
                self.world.decide(DAVE, self.dice.choice(HANDLINGS), key=key(who))
            case 4:
                self.world.subscriber.refresh(self.dice.choice(self.lists), self.world.pair.now)
                self.world.pair.turn()
            case _:
                self.world.pair.pass_seconds(self.dice.choice([0.05, 0.2, 1.0, 5.0]))

    def publish(self, who: Uri) -> None:
        body = document(self.dice.choice(["open", "closed"]), f"t{self.dice.randrange(1000)}")
        if who in self.publications:
            self.world.modify(self.publications[who], body)
        else:
            self.publications[who] = self.world.publish(body, identity=who, entity=who)

    def shown(self, listed: str) -> dict[str, tuple[str, bytes]]:
        """State and document of everybody, as far as the list has told."""
        view, documents = ListView(), dict[str, bytes]()
        for notified in self.world.notified(listed):
            if notified.body:
                change = view.receive(notified.content_type, notified.body)
                documents |= {m.uri: m.body for m in change.members if m.body}
        return {uri: (m.state, documents_of(m, documents)) for uri, m in view.roster().items()}

    def seen_directly(self) -> dict[str, tuple[str, bytes]]:
        """The same of new subscriptions, one for each."""
        seen: dict[str, tuple[str, bytes]] = {}
        for who in EVERYBODY:
            watching = self.world.watch(DAVE, who, policy=WHOLE)
            self.world.pair.pass_seconds(1)
            told = self.world.notified(watching)
            seen[str(who)] = (told[-1].state, told[-1].body) if told else ("terminated", b"")
        return seen


def documents_of(member: Member, documents: dict[str, bytes]) -> bytes:
    return documents.get(member.uri, b"") if member.state == "active" else b""


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_list_shows_what_direct_subscriptions_show(protocol: str, seed: int) -> None:
    story = Story(seed, protocol)
    for _ in range(60):
        story.happen()
    story.world.pair.wire.chance = None
    story.world.pair.pass_seconds(60)
    direct = story.seen_directly()
    assert [story.shown(listed) for listed in story.lists] == [direct, direct]
    assert all(n.state == "active" for n in story.world.notified(story.lists[0]))
    assert story.world.pair.reported[ALICE]
    story.world.end(story.lists[0])
    story.world.end(story.lists[1])
    assert not any(p.members for p in story.world.agent.presentities.values())
    assert story.world.agent.listed == 0


def test_the_watched_list_is_the_configured_one() -> None:
    story = Story(0, "tcp")
    assert story.world.tables(story.lists[0])[0].uri == str(FRIENDS)
