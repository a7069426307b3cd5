"""A small presence service that is real, and a site that serves it."""

import base64
from collections.abc import AsyncIterator, Mapping, Sequence

import httpx2
import orjson
import pytest

from sipbridge.errors import CorrelatorInUse, NotAuthorized, UnknownCorrelator, UnknownWatcher
from sipbridge.gateway.caller import Caller
from sipbridge.gateway.contract import StartNotification
from sipbridge.gateway.ports import Reference
from sipbridge.gateway.presentity import OpenSubscription
from sipbridge.identities import NormalisingIdentities, PresentityKey
from sipbridge.mapping.attributes import Attribute, AttributeKind
from sipbridge.rest import Account, BasicAuthenticator, Front, RestSettings, create_app
from sipbridge.uri import Uri

IDENTITIES = NormalisingIdentities()
ALL = frozenset(AttributeKind)


class PresenceHouse:
    """Presence of people who all live in one process: the operations without a network."""

    def __init__(self) -> None:
        self.published: dict[PresentityKey, dict[AttributeKind, Attribute]] = {}
        self.asked: dict[tuple[PresentityKey, PresentityKey], OpenSubscription] = {}
        self.granted: dict[tuple[PresentityKey, PresentityKey], set[AttributeKind]] = {}
        self.contracts: dict[tuple[str, str], StartNotification] = {}
        self.outdated: set[PresentityKey] = set()
        self.references: list[Reference] = []
        self.traces: list[str] = []
        self.lifetimes: list[int | None] = []

    async def open_subscriptions(self, caller: Caller) -> list[OpenSubscription]:
        self.traces.append(caller.trace)
        return [
            asked
            for pair, asked in self.asked.items()
            if pair[1] == caller.key and pair not in self.granted
        ]

    async def my_watchers(self, caller: Caller) -> list[str]:
        return [
            self.asked[pair].watcher
            for pair, kinds in self.granted.items()
            if pair[1] == caller.key and kinds
        ]

    async def update_authorization(
        self, caller: Caller, watcher: Uri, decisions: Sequence[tuple[AttributeKind, bool]]
    ) -> None:
        pair = self.pair(caller, watcher)
        granted = self.granted.setdefault(pair, set())
        for kind, decision in decisions:
            (granted.add if decision else granted.discard)(kind)

    async def subscribe(
        self,
        caller: Caller,
        presentity: Uri,
        attributes: frozenset[AttributeKind],
        reference: Reference,
        label: str,
    ) -> None:
        kinds = tuple(k for k in AttributeKind if k in (attributes or ALL))
        self.references.append(reference)
        pair = (caller.key, IDENTITIES.canonical(presentity))
        self.asked[pair] = OpenSubscription(label, kinds, str(caller.identity))

    async def leave(self, caller: Caller, presentity: Uri) -> None:
        pair = (caller.key, IDENTITIES.canonical(presentity))
        if self.asked.pop(pair, None) is None:
            raise UnknownWatcher(f"not subscribed to {presentity}", part="presentity")
        self.granted.pop(pair, None)

    async def block(self, caller: Caller, watcher: Uri) -> None:
        pair = self.pair(caller, watcher)
        del self.asked[pair]
        self.granted.pop(pair, None)

    async def start_notification(self, caller: Caller, wanted: StartNotification) -> list[str]:
        place = (caller.application, wanted.reference.correlator)
        if place in self.contracts:
            raise CorrelatorInUse(wanted.reference.correlator)
        if (caller.key, IDENTITIES.canonical(wanted.presentity)) not in self.granted:
            return [str(wanted.presentity)]
        self.contracts[place] = wanted
        return []

    async def end_notification(self, caller: Caller, correlator: str) -> None:
        if self.contracts.pop((caller.application, correlator), None) is None:
            raise UnknownCorrelator(f"no notification {correlator!r}", correlator=correlator)

    async def get_presence(
        self, caller: Caller, presentity: Uri, attributes: frozenset[AttributeKind]
    ) -> list[Attribute]:
        key = IDENTITIES.canonical(presentity)
        if (caller.key, key) not in self.asked:
            raise UnknownWatcher(f"not subscribed to {presentity}", part="presentity")
        granted = self.granted.get((caller.key, key))
        if not granted:
            raise NotAuthorized("nothing is granted", part=str(presentity))
        shown = granted & (attributes or ALL)
        return [a for kind, a in self.published.get(key, {}).items() if kind in shown]

    def is_stale(self, caller: Caller, presentity: Uri) -> bool:
        return IDENTITIES.canonical(presentity) in self.outdated

    async def publish(
        self, caller: Caller, attributes: Sequence[Attribute], expires: int | None = None
    ) -> None:
        self.lifetimes.append(expires)
        self.published.setdefault(caller.key, {}).update({a.kind: a for a in attributes})

    def pair(self, caller: Caller, watcher: Uri) -> tuple[PresentityKey, PresentityKey]:
        pair = (IDENTITIES.canonical(watcher), caller.key)
        if pair not in self.asked:
            raise UnknownWatcher(f"{watcher} never asked", part="watcher")
        return pair


def account(application: str, address: str, password: str = "secret") -> Account:
    uri = Uri.parse(address)
    return Account(Caller(application, uri, IDENTITIES.canonical(uri)), password)


def accounts() -> dict[str, Account]:
    return {
        "app_alice": account("app_alice", "sip:alice@example.com"),
        "app_bob": account("app_bob", "sip:bob@example.com"),
    }


def basic(user: str, password: str = "secret") -> dict[str, str]:
    encoded = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {encoded}"}


ALICE, BOB = basic("app_alice"), basic("app_bob")


class Site:
    """The application under test, called without sockets."""

    def __init__(self, house: PresenceHouse, settings: RestSettings | None = None) -> None:
        self.house = house
        self.finished: list[tuple[str, int]] = []
        self.app: Front = create_app(
            house,
            [BasicAuthenticator(accounts())],
            settings=settings,
            observe=lambda name, status: self.finished.append((name, status)),
        )
        transport = httpx2.ASGITransport(self.app)
        self.http = httpx2.AsyncClient(transport=transport, base_url="http://gw.example:8001")

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] = ALICE,
        **more: object,
    ) -> httpx2.Response:
        content = None if body is None else body if isinstance(body, bytes) else orjson.dumps(body)
        kind = {"Content-Type": "application/json"} if body is not None else {}
        return await self.http.request(
            method,
            f"/rest/presence{path}",
            content=content,
            headers={**kind, **headers},
            **more,  # type: ignore[arg-type]
        )

    async def acquainted(self) -> None:
        """Bob watches Alice's activity."""
        await self.ask("POST", "/subscription", SUBSCRIBE, BOB)
        await self.ask("PUT", "/subscription", UPDATE)


SUBSCRIBE = {
    "application": "Desk app",
    "presentity": "sip:alice@example.com",
    "reference": {"correlator": "sub-1", "endpoint": "/bayeux/app_bob/presence"},
}
UPDATE = {
    "watcher": "sip:bob@example.com",
    "decisions": [
        {"decision": True, "presenceAttribute": "Activity"},
        {"decision": False, "presenceAttribute": "Place"},
    ],
}
START = {
    "checkImmediate": True,
    "frequency": {"metric": "Second", "units": 10},
    "presentity": "sip:alice@example.com",
    "reference": {"correlator": "watch-1", "endpoint": "/bayeux/app_bob/presence"},
}
MEETING = {
    "lastChange": "2024-05-06T07:08:09.000Z",
    "typeAndValue": {"unionElement": "Activity", "activity": "Meeting"},
    "note": "weekly review",
}


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    found = Site(PresenceHouse())
    async with found.http:
        yield found
