"""A bench with sessions and lists on top of the gateway, and a client that reads its queue."""

import json
from collections.abc import Sequence
from typing import Any

from sipbridge.gateway.caller import Caller
from sipbridge.gateway.contact_lists import ContactLists, ListLimits
from sipbridge.gateway.interests import Interests
from sipbridge.gateway.queues import Numbers
from sipbridge.gateway.remote_presence import RemoteLimits, RemotePresence
from sipbridge.gateway.sessions import Operation, Request, Session
from sipbridge.gateway.waking import Wakes
from sipbridge.identities import PresentityKey
from sipbridge.mapping.attributes import Activity, Attribute, AttributeKind
from sipbridge.mapping.table import DEFAULT
from sipbridge.presence.rules import SubHandling
from sipbridge.rest.bems_models import Words
from sipbridge.uri import Uri
from tests.gateway.fakes import IDENTITIES, Bench, FakeKeeper, FakeStore, run_now

ALICE, BOB, CAROL = (f"sip:{name}@example.com" for name in ("alice", "bob", "carol"))
NAMES = {
    Operation.BEGIN: "BeginSession",
    Operation.PING: "Ping",
    Operation.TERMINATE: "TerminateSession",
    Operation.REGISTER: "RegisterTempRemotePresence",
    Operation.UNREGISTER: "UnRegisterTempRemotePresence",
    Operation.SET: "SetPresence",
    Operation.STATES: "GetContactsState",
}


class RemoteBench:
    """Bob with sessions and lists; `restarted` gives the next life on the same disk."""

    def __init__(
        self,
        default: SubHandling = SubHandling.ALLOW,
        store: FakeStore | None = None,
        keeper: FakeKeeper | None = None,
        passed: float = 0.0,
        remote: RemoteLimits = RemoteLimits(),  # noqa: B008 - frozen
        lists: ListLimits = ListLimits(),  # noqa: B008 - frozen
    ) -> None:
        self.bench = Bench(default, store)
        self.bench.clock.passed = passed
        self.keeper = keeper or FakeKeeper()
        self.pushed: list[tuple[str, str]] = []
        gateway, clock = self.bench.gateway, self.bench.clock
        self.numbers = Numbers(self.keeper, clock)
        self.interests = Interests(gateway.observations, "bems", "BEMS")
        wakes = Wakes(lambda token, key: self.pushed.append((token, key)), clock, gateway.deadlines)
        self.remote = RemotePresence(
            gateway.registry,
            gateway.observations,
            self.interests,
            self.numbers,
            self.keeper,
            clock,
            IDENTITIES,
            gateway.deadlines,
            DEFAULT,
            wakes,
            Words(),
            gateway.publish,
            run_now,
            remote,
        )
        self.lists = ContactLists(
            gateway.observations,
            self.interests,
            self.numbers,
            self.keeper,
            clock,
            IDENTITIES,
            gateway.deadlines,
            DEFAULT,
            wakes,
            run_now,
            self.bench.network.serves,
            lists,
        )

    async def load(self) -> None:
        def allowed(application: str, key: PresentityKey) -> bool:
            return application in ("app_alice", "app_bob")

        await self.numbers.load()
        await self.bench.gateway.load({"app_alice", "app_bob"})
        await self.remote.load(allowed)
        await self.lists.load(allowed)
        await self.bench.restarted()
        self.remote.resume()
        self.lists.resume()
        self.interests.tidy()

    async def restarted(self) -> "RemoteBench":
        policy = self.bench.gateway.decisions.policy
        again = RemoteBench(
            policy.default,
            self.bench.store,
            self.keeper,
            self.bench.clock.passed,
            self.remote.limits,
            self.lists.limits,
        )
        await again.load()
        return again

    @property
    def bob(self) -> Caller:
        return self.bench.bob

    async def begin(self, token: str = "device", **more: Any) -> "Client":
        given = {"chosen": False, "reconnect": False} | more
        return Client(self, await self.remote.begin(self.bob, token, **given))

    async def publish(self, word: Activity, note: str | None = None) -> None:
        attribute = Attribute(AttributeKind.ACTIVITY, word, note)
        await self.bench.gateway.publish(self.bench.alice, [attribute])

    async def decide(self, *kinds: AttributeKind, grant: bool = True) -> None:
        decisions = [(kind, grant) for kind in kinds or tuple(AttributeKind)]
        await self.bench.gateway.update_authorization(self.bench.alice, Uri.parse(BOB), decisions)


class Client:
    """The client of one session. `next` gives what it has not acknowledged, and acknowledges."""

    def __init__(self, bench: RemoteBench, session: Session) -> None:
        self.bench = bench
        self.session = session
        self.after = session.queue.acknowledged
        self.asked = 0

    async def ask(self, operation: Operation, *contacts: str, **more: Any) -> str:
        """One request; its id."""
        self.asked += 1
        id = f"c{self.asked}"
        request = Request(id, NAMES[operation], operation, contacts, **more)
        await self.bench.remote.accept(self.session, [request])
        return id

    async def ask_all(self, requests: Sequence[Request]) -> None:
        await self.bench.remote.accept(self.session, requests)

    def look(self) -> list[dict[str, Any]]:
        messages = self.bench.remote.read(self.session, self.after)
        return [json.loads(message.text) for message in messages]

    def next(self) -> list[dict[str, Any]]:
        found = self.look()
        if found:
            self.after = found[-1]["sequence"]
            self.bench.remote.acknowledge(self.session, self.after)
        return found

    def told(self) -> list[tuple[str, str]]:
        """Contacts and words of the messages about contacts that come next."""
        datas = [message["result"]["data"] for message in self.next() if "id" not in message]
        return [(c["contactId"], c["presence"]) for data in datas for c in data["contacts"]]
