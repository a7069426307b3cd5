"""Bytes on the wire before and after each optimisation of the SIP side.

Our watcher and our presence agent on a pair of cores with a clock turned by hand: the same story is played
without and with the optimisation, and the bytes of all SIP messages both ways are counted. Nothing is
measured, so every run and every machine tells the same. The limit beside a figure is the story without; the
ratio says how many times as much that was.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from msgspec import structs

from bench import documents
from bench.measure import Effort, Figure, figure
from sipbridge.events.rate import Rate
from sipbridge.identities import PresentityKey
from sipbridge.mapping.attributes import AttributeKind
from sipbridge.mapping.filters import filter_for
from sipbridge.presence import pidf
from sipbridge.presence.lists import Entry
from sipbridge.presence.model import Basic, Contact, Tuple
from sipbridge.sip.encoding import CODINGS
from sipbridge.sip.policy import PeerPolicy
from sipbridge.uri import Uri
from tests.agent.world import CAROL, AgentWorld
from tests.events.peers import TO_BOB

ENTITY = "sip:carol@example.com"
HOUR = 3600.0
WATCHERS = 10
PLAIN = replace(
    TO_BOB,
    conditional=False,
    rate_control=False,
    partial_notify=False,
    partial_publish=False,
    encodings=(),
)
"""A watcher that asks for no optimisation."""


@dataclass(frozen=True, slots=True)
class Row:
    """One optimisation. play: tells a story, with it or without, and returns its world."""

    name: str
    play: Callable[[bool], AgentWorld]
    note: str


def day_of_refreshes(conditional: bool) -> AgentWorld:
    """Ten people watch somebody for a day, with eight changes, refresh each hour and leave."""
    world = AgentWorld()
    publication = world.publish(documents.rich(ENTITY, 0))
    policy = replace(PLAIN, conditional=conditional)
    watching = [world.watch(policy=policy) for _ in range(WATCHERS)]
    for change in range(1, 9):
        world.pair.pass_seconds(3 * HOUR)
        world.modify(publication, documents.rich(ENTITY, change))
    for id in watching:
        world.end(id)
    return world


def busy_hour(rate_control: bool) -> AgentWorld:
    """Somebody's state changes every 10 s for an hour; ten people want to hear of it once a minute."""
    world = AgentWorld()
    publication = world.publish(documents.rich(ENTITY, 0))
    policy = replace(PLAIN, rate_control=rate_control)
    for _ in range(WATCHERS):
        world.watch(policy=policy, rate=Rate.every(60))
    for change in range(1, 361):
        world.pair.pass_seconds(10)
        world.modify(publication, documents.rich(ENTITY, change))
    return world


def hour_of_changes(compressed: bool) -> AgentWorld:
    """Somebody's state changes every five minutes; ten people are told each time."""
    world = AgentWorld()
    policy = replace(PLAIN, encodings=CODINGS if compressed else ())
    publication = world.publish(documents.rich(ENTITY, 0), policy=policy)
    for _ in range(WATCHERS):
        world.watch(policy=policy)
    for change in range(1, 13):
        world.pair.pass_seconds(300)
        world.modify(publication, documents.rich(ENTITY, change))
    return world


def parts_of_the_news(partial: bool) -> AgentWorld:
    """The same, told as what has changed."""
    return told_hourly(replace(PLAIN, partial_notify=partial))


def parts_published(partial: bool) -> AgentWorld:
    """Somebody publishes a change every five minutes for an hour; nobody watches."""
    return told_hourly(replace(PLAIN, partial_publish=partial), watchers=0)


def told_hourly(policy: PeerPolicy, watchers: int = WATCHERS) -> AgentWorld:
    """Somebody with several devices changes the activity every five minutes for an hour."""
    world = AgentWorld()
    publication = world.publish(several_devices(0), policy=policy)
    for _ in range(watchers):
        world.watch(policy=policy)
    for change in range(1, 13):
        world.pair.pass_seconds(300)
        world.modify(publication, several_devices(change))
    return world


def several_devices(change: int) -> bytes:
    """The rich document with five more tuples, as bridges of our own print it."""
    said = pidf.parse(documents.rich(ENTITY, change))
    more = tuple(
        Tuple(f"device{n}", Basic.OPEN, Contact(f"sip:carol@device{n}.example.com;gr", "0.5"))
        for n in range(5)
    )
    return pidf.serialise(structs.replace(said, tuples=(*said.tuples, *more)))


def only_the_activity(filtered: bool) -> AgentWorld:
    """An hour of changes, of which every third is one of the activity; ten people want to hear of that."""
    world = AgentWorld()
    publication = world.publish(several_devices(0))
    policy = replace(PLAIN, filters=filtered)
    for n in range(WATCHERS):
        world.subscriber.subscribe(
            CAROL,
            Uri.parse(f"sip:watcher{n}@example.com"),
            "presence",
            world.pair.now,
            policy=policy,
            filter=filter_for({AttributeKind.ACTIVITY}),
        )
    world.pair.turn()
    for change in range(1, 13):
        world.pair.pass_seconds(300)
        said = pidf.parse(several_devices(change // 3))
        moved = structs.replace(
            said.tuples[-1], contact=Contact(f"sip:carol@host{change}.example.com")
        )
        world.modify(
            publication, pidf.serialise(structs.replace(said, tuples=(*said.tuples[:-1], moved)))
        )
    return world


def day_with_a_team(as_list: bool) -> AgentWorld:
    """Somebody watches twenty people for a day; each changes once; everything is refreshed each hour."""
    world = AgentWorld()
    people = [Uri.parse(f"sip:p{number}@example.com") for number in range(20)]
    team = PresentityKey("sip:team@example.com")
    world.lists[team] = tuple(Entry(str(who)) for who in people)
    publications = [
        world.publish(documents.rich(str(who), 0), identity=who, entity=who) for who in people
    ]
    if as_list:
        listing = replace(PLAIN, capabilities=PLAIN.capabilities | {"eventlist"})
        world.watch(target=Uri.parse(team), policy=listing)
    else:
        for who in people:
            world.watch(target=who, policy=PLAIN)
    for who, publication in zip(people, publications, strict=True):
        world.pair.pass_seconds(24 * HOUR / len(people))
        world.modify(publication, documents.rich(str(who), 1))
    return world


ROWS = (
    Row(
        "RFC 5839: a day of refreshes",
        day_of_refreshes,
        "ten watchers, eight changes, a refresh each hour",
    ),
    Row(
        "RFC 6446: an hour of changes every 10 s",
        busy_hour,
        "ten watchers whose contracts have a frequency of one minute; the publication's bytes are in both",
    ),
    Row(
        "gzip: an hour of changes every 5 min",
        hour_of_changes,
        "ten watchers, documents of 1.3 kB, headers included; PUBLISH and NOTIFY",
    ),
    Row(
        "RFC 5263: an hour of changes every 5 min",
        parts_of_the_news,
        "ten watchers, documents of 2 kB with six tuples; headers included, which stay as they are",
    ),
    Row(
        "RFC 5264: an hour of changes every 5 min",
        parts_published,
        "one publisher, documents of 2 kB with six tuples, no watchers",
    ),
    Row(
        "RFC 4660: an hour in which a third concerns the activity",
        only_the_activity,
        "ten watchers who want the activity alone; what concerns something else sends nothing",
    ),
    Row(
        "RFC 4662: a day with a team",
        day_with_a_team,
        "twenty members, each changes once, a refresh each hour; PUBLISH is in both",
    ),
)


def run(effort: Effort) -> Iterator[Figure]:
    """One figure for each optimisation."""
    for row in ROWS:
        without, with_it = (float(octets(row.play(used))) for used in (False, True))
        yield figure(row.name, "bytes", [with_it], {"without it": [without]}, note=row.note)


def octets(world: AgentWorld) -> int:
    """All bytes of all messages of a story."""
    return sum(len(one.data) for one in world.pair.wire.sent)
