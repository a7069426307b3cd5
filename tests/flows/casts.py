"""Who plays the ladders: watchers and publishers before the presence agent, or one side of them by hand.

The side that is played by hand is bytes: it says whatever a ladder wants, in the wrong order, twice, or
never, and keeps of its dialogs only what is needed to say it.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace

from sipbridge.events.presence_package import PIDF, PRESENCE
from sipbridge.events.publisher import Publisher
from sipbridge.events.subscriber import Subscriber
from sipbridge.events.winfo_package import PRESENCE_WINFO
from sipbridge.identities import PresentityKey
from sipbridge.presence.lists import Entry
from sipbridge.presence.rules import SubHandling
from sipbridge.sip.flow import Address, Flow
from sipbridge.sip.policy import PeerPolicy
from sipbridge.uri import Uri
from tests.agent.world import AgentWorld, document
from tests.events.peers import pidf
from tests.flows.ladder import Line
from tests.harness.pair import ALICE, BOB, Net, Pair
from tests.harness.wire import Sent

DOMAIN = "example.com"
GATHER = 0.1
"""Seconds in which the agent gathers changes of a list."""

Act = Callable[..., None]


OPTIMISATIONS = [each.name for each in fields(PeerPolicy) if each.default is True]


def plain(hop: str) -> PeerPolicy:
    """A peer that is offered none of the optimisations: its flows are those of the first RFCs."""
    made = PeerPolicy(next_hops=(hop,), encodings=())
    return replace(made, **dict.fromkeys(OPTIMISATIONS, False))  # type: ignore[arg-type]


def person(name: str) -> Uri:
    return Uri.parse(f"sip:{name}@{DOMAIN}")


class AtTheAgent:
    """Watchers and publishers on the left, the presence agent on the right, both of our making."""

    def __init__(self, transport: str = "udp", handling: SubHandling = SubHandling.ALLOW) -> None:
        self.world = AgentWorld(handling)
        self.net: Net = self.world.pair
        self.transport = transport
        self.watches: dict[str, str] = {}
        self.publications: dict[str, str] = {}
        hop = f"sip:192.0.2.2:5060;transport={transport}"
        self.policy = plain(hop)
        self.listing = replace(self.policy, capabilities=self.policy.capabilities | {"eventlist"})

    def say(self, line: Line) -> None:
        raise AssertionError(f"{line}: nobody is played by hand here")

    def repeat(self) -> None:
        raise AssertionError("nobody is played by hand here")

    # --- what people do ---------------------------------------------------------------------------

    def do(self, what: str) -> None:
        for pattern, act in self.acts.items():
            if found := re.fullmatch(pattern, what):
                act(self, *found.groups())
                return
        raise AssertionError(f"nobody knows how to do: {what}")

    def watch(self, who: str, whom: str, seconds: str | None) -> None:
        expires = int(seconds) if seconds else None
        target, policy = person(whom), self.policy
        if PresentityKey(str(target)) in self.world.lists:
            policy = self.listing
        self.watches[who] = self.world.watch(person(who), target, expires=expires, policy=policy)

    def watch_watchers(self, who: str) -> None:
        self.watches[who] = self.world.watch(
            person(who), person(who), PRESENCE_WINFO.name, policy=self.policy
        )

    def fetch(self, who: str, whom: str) -> None:
        self.watches[who] = self.world.fetch(person(who), person(whom), policy=self.policy)

    def leave(self, who: str) -> None:
        self.world.end(self.watches[who])

    def refresh_watch(self, who: str) -> None:
        self.world.subscriber.refresh(self.watches[who], self.net.now)

    def publish(self, who: str, basic: str, seconds: str | None) -> None:
        expires = int(seconds) if seconds else None
        self.publications[who] = self.world.publish(
            self.document(who, basic),
            identity=person(who),
            entity=person(who),
            expires=expires,
            policy=self.policy,
        )

    def change(self, who: str, basic: str) -> None:
        self.world.modify(self.publications[who], self.document(who, basic))

    def refresh(self, who: str) -> None:
        self.world.publisher.refresh(self.publications[who], self.net.now)

    def withdraw(self, who: str) -> None:
        self.world.remove(self.publications[who])

    def decide(self, who: str, decision: str, whom: str) -> None:
        handling = {
            "allows": SubHandling.ALLOW,
            "blocks": SubHandling.BLOCK,
            "politely blocks": SubHandling.POLITE_BLOCK,
        }[decision]
        self.world.decide(person(whom), handling, key=PresentityKey(str(person(who))))

    def make_list(self, name: str, members: str) -> None:
        entries = tuple(Entry(str(person(member))) for member in members.split())
        self.world.lists[PresentityKey(str(person(name)))] = entries

    def lose(self, word: str, count: str | None) -> None:
        self.net.wire.drop_next(word, int(count or 1))

    def copy(self, word: str) -> None:
        self.net.wire.repeat_next(word, 3)

    def delay(self, word: str, seconds: str) -> None:
        self.net.wire.delay_next(word, float(seconds))

    def document(self, who: str, basic: str) -> bytes:
        return document(basic).replace(b"sip:carol@", f"sip:{who}@".encode())

    acts: dict[str, Act] = {
        r"(\w+) watches the list (\w+)()": watch,
        r"(\w+) watches (\w+)(?: for (\d+))?": watch,
        r"(\w+) watches her watchers": watch_watchers,
        r"(\w+) fetches (\w+)": fetch,
        r"(\w+) leaves": leave,
        r"(\w+) watches on": refresh_watch,
        r"(\w+) publishes (\w+)(?: for (\d+))?": publish,
        r"(\w+) changes to (\w+)": change,
        r"(\w+) refreshes": refresh,
        r"(\w+) withdraws": withdraw,
        r"(\w+) (allows|blocks|politely blocks) (\w+)": decide,
        r"the list (\w+) has (.+)": make_list,
        r"the wire loses the next ([\w* ]+?)(?: (\d+) times)?": lose,
        r"the wire repeats the next ([\w* ]+)": copy,
        r"the wire delays the next ([\w* ]+) by ([\d.]+)": delay,
    }

    # --- what people see --------------------------------------------------------------------------

    def see(self, what: str) -> None:
        """`NAME: STATE`, `NAME: BASIC…` or, of who watches watchers, `NAME: WHO STATUS EVENT; …`."""
        who, _, wanted = (part.strip() for part in what.partition(":"))
        watch = self.watches[who]
        if wanted.startswith("refused"):
            assert self.world.refused[-1:] == [int(wanted.split()[1])], self.world.refused
            return
        last = self.world.last(watch)
        if last.package == PRESENCE_WINFO.name:
            rows = [
                f"{uri.removeprefix('sip:').partition('@')[0]} {status} {event}"
                for uri, status, event in self.world.rows(watch)
            ]
            assert "; ".join(rows) == wanted, f"{who} sees {rows}"
        elif wanted in ("pending", "terminated"):
            assert last.state == wanted, f"{who} sees {last.state}"
        elif last.content_type.startswith("multipart/related"):
            missing = [w for w in wanted.split() if w.encode() not in last.body]
            assert not missing, f"{who} does not see {missing}: {last.body.decode()}"
        else:
            assert " ".join(map(str, self.world.basics(watch))) == wanted, self.world.basics(watch)


TAG = re.compile(r";tag=([^;>]+)")


@dataclass
class Hand(ABC):
    """One side, played by hand: what it heard last, and the numbers it gave."""

    net: Net
    here: Address
    core: Address
    transport: str = "udp"
    cseq: int = 0
    branches: int = 0
    call_id: str = "by-hand-1"
    tag: str = "hand"
    said: dict[str, bytes] = field(default_factory=dict)
    last: bytes = b""

    def say(self, line: Line) -> None:
        word, *rest = line.text.split()
        if word == "again":
            self.put(self.said[rest[0]])
            return
        fields = dict(line.fields)
        body = pidf(fields.pop("body")) if fields.get("body") else fields.pop("body", "").encode()
        if word.isdigit():
            data = self.response(int(word), rest, fields, body)
            word = f"{word} {rest[0]}" if rest else word
        else:
            data = self.request(word, fields, body)
        self.said[word] = data
        self.put(data)

    def put(self, data: bytes) -> None:
        self.last = data
        core = self.net.cores[self.core]
        if self.transport == "udp":
            core.receive_datagram(data, Flow("udp", self.core, self.here), self.net.now)
        else:
            ends = (min(self.core, self.here), max(self.core, self.here))
            number = self.net.connections.setdefault(ends, len(self.net.connections) + 1)
            flow = Flow(self.transport, self.core, self.here, number)
            core.receive_stream(data, flow, self.net.now)

    def heard(self, word: str) -> Sent:
        """The last message of this kind that our side sent."""
        return self.net.wire.named(word)[-1]

    def response(self, status: int, to: list[str], fields: dict[str, str], body: bytes) -> bytes:
        """To the last request that came, or to the last of the method that is named."""
        request = self.heard(to[0] if to else "request")
        target = request.header("To")
        tag = fields.pop("tag", self.tag)
        base = {
            "Via": request.header("Via"),
            "From": request.header("From"),
            "To": target if ";tag=" in target else f"{target};tag={tag}",
            "Call-ID": request.header("Call-ID"),
            "CSeq": request.header("CSeq"),
        }
        if status < 300 and "SUBSCRIBE" in request.words:
            base["Contact"] = f"<sip:{self.here[0]}:{self.here[1]}{self.parameter}>"
            base["Expires"] = request.header("Expires")
        if status < 300 and "PUBLISH" in request.words:
            base["Expires"] = request.header("Expires")
        return self.printed(f"SIP/2.0 {status} By Hand", base | fields, body)

    @property
    def parameter(self) -> str:
        return "" if self.transport == "udp" else f";transport={self.transport}"

    @abstractmethod
    def request(self, method: str, fields: dict[str, str], body: bytes) -> bytes:
        """What this side says of its own accord."""

    def basis(self, method: str, target: str, from_: str, to: str) -> dict[str, str]:
        self.cseq += 1
        self.branches += 1
        via = f"SIP/2.0/{self.transport.upper()} {self.here[0]}:{self.here[1]}"
        return {
            "Request-URI": target,
            "Via": f"{via};branch=z9hG4bKhand{self.branches}",
            "Max-Forwards": "70",
            "From": from_,
            "To": to,
            "Call-ID": self.call_id,
            "CSeq": f"{self.cseq} {method}",
            "Contact": f"<sip:hand@{self.here[0]}:{self.here[1]}{self.parameter}>",
            "Event": "presence",
        }

    def printed(self, start: str, fields: dict[str, str], body: bytes) -> bytes:
        """`none` takes a field away; `CSeq: +5` skips numbers."""
        if body and "Content-Type" not in fields:
            fields["Content-Type"] = PIDF
        if fields.get("CSeq", "").startswith("+"):
            self.cseq += int(fields["CSeq"]) - 1
            fields["CSeq"] = f"{self.cseq} {start.split()[0]}"
        lines = [f"{name}: {value}" for name, value in fields.items() if value != "none"]
        return "\r\n".join([start, *lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


class NotifierByHand(Hand):
    """The right side: answers SUBSCRIBE and PUBLISH, says NOTIFY in the dialog of the last SUBSCRIBE."""

    def request(self, method: str, fields: dict[str, str], body: bytes) -> bytes:
        subscribe = self.heard("SUBSCRIBE")
        tag = fields.pop("tag", self.tag)
        self.call_id = subscribe.header("Call-ID")
        target = subscribe.header("Contact").partition("<")[2].partition(">")[0]
        remote = subscribe.header("To").partition(";tag=")[0]
        base = self.basis(method, target, f"{remote};tag={tag}", subscribe.header("From"))
        base["Contact"] = f"<sip:{self.here[0]}:{self.here[1]}{self.parameter}>"
        base["Subscription-State"] = "active"
        merged = base | fields
        return self.printed(f"{method} {merged.pop('Request-URI')} SIP/2.0", merged, body)


class WatcherByHand(Hand):
    """The left side: says SUBSCRIBE and PUBLISH to the presence agent, answers its NOTIFYs."""

    def request(self, method: str, fields: dict[str, str], body: bytes) -> bytes:
        accepted = self.net.wire.named(f"200 {method}") if "new" not in fields else []
        fields.pop("new", None)
        to = "<sip:carol@example.com>"
        target = "sip:carol@example.com"
        if method == "SUBSCRIBE" and accepted:
            to = accepted[-1].header("To")
            target = accepted[-1].header("Contact").partition("<")[2].partition(">")[0]
        base = self.basis(method, target, f"<sip:dave@example.com>;tag={self.tag}", to)
        base["Expires"] = "600"
        if method == "PUBLISH":
            del base["Contact"]
        merged = base | fields
        return self.printed(f"{method} {merged.pop('Request-URI')} SIP/2.0", merged, body)


class Clients:
    """A subscriber and a publisher of ours on the left, the presence server is played by hand."""

    def __init__(self, transport: str = "udp") -> None:
        pair = Pair()
        del pair.cores[BOB]
        self.net: Net = pair
        self.hand = NotifierByHand(pair, BOB, ALICE, transport)
        packages = {p.name: p for p in (PRESENCE, PRESENCE_WINFO)}
        self.subscriber = Subscriber(pair.alice, packages)
        self.publisher = Publisher(pair.alice, packages)
        self.policy = plain(f"sip:192.0.2.2:5060;transport={transport}")
        self.id = ""

    def say(self, line: Line) -> None:
        self.hand.say(line)

    def repeat(self) -> None:
        self.hand.put(self.hand.last)

    def do(self, what: str) -> None:
        word, *rest = what.split()
        now, me, bob = self.net.now, person("alice"), person("bob")
        match word:
            case "watch":
                expires = int(rest[1]) if rest[:1] == ["for"] else None
                self.id = self.subscriber.subscribe(
                    bob,
                    me,
                    PRESENCE.name,
                    now,
                    expires=expires,
                    policy=self.policy,
                    keep_trying="doggedly" in rest,
                )
            case "fetch":
                self.id = self.subscriber.fetch(bob, me, PRESENCE.name, now, policy=self.policy)
            case "refresh":
                self.subscriber.refresh(self.id, now)
            case "end":
                self.subscriber.end(self.id, now)
            case "publish":
                body = pidf(rest[0])
                self.id = self.publisher.publish(
                    me, me, PRESENCE.name, PIDF, body, now, policy=self.policy
                )
            case "change":
                self.publisher.modify(self.id, PIDF, pidf(rest[0]), now)
            case "withdraw":
                self.publisher.remove(self.id, now)
            case _:
                raise AssertionError(f"nobody knows how to do: {what}")

    def see(self, what: str) -> None:
        """`STATE`, or `nothing` once it is forgotten."""
        known = self.subscriber.subscriptions.get(self.id)
        state = known.state.value if known is not None else "nothing"
        assert state == what, f"it is {state}"


class AgentBeforeAHand(AtTheAgent):
    """The presence agent on the right; the watcher before it is played by hand."""

    def __init__(self, transport: str = "udp") -> None:
        super().__init__(transport)
        self.hand = WatcherByHand(self.net, ("192.0.2.9", 5060), BOB, transport)

    def say(self, line: Line) -> None:
        self.hand.say(line)

    def repeat(self) -> None:
        self.hand.put(self.hand.last)

    def see(self, what: str) -> None:
        """`N subscriptions`: how many the agent has."""
        assert what == f"{len(self.world.agent.notifier.subscriptions)} subscriptions", what
