"""Applications added, changed and removed while the bridge runs (`rest.admin.Provisioning`).

An application of the configuration file is described there; here it can only be disabled and enabled. One
that was added here lives in the store: passwords as argon2 hashes, the SIP password sealed (`sealing.py`). A
change is checked with the rules of the configuration, stored, and then in force everywhere before the call
returns:

    credentials      the next request is judged by the new ones; sessions, streams and Bayeux clients end
    identities       what was subscribed and published under an identity it may not use any more is removed
    SIP              digest towards presence servers and at our own agent; presence.winfo of a new identity
    notifications    a new application's are delivered; a removed one's log is emptied

Changes happen one after another. A peer that refuses or is silent does not stop a change; that is logged.
"""

import asyncio
import functools
import json
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import argon2
from pydantic import ValidationError

from sipbridge.app.applications import Application, Directory
from sipbridge.app.sealing import Seal
from sipbridge.app.settings import ApplicationSettings
from sipbridge.errors import (
    AgainstPolicy,
    InvalidValue,
    SipBridgeError,
    UnknownApplication,
)
from sipbridge.gateway import Caller, Gateway
from sipbridge.identities import PresentityKey
from sipbridge.observability.logs import logger
from sipbridge.rest.admin_models import ApplicationChange, ApplicationView, NewApplication, Source
from sipbridge.rest.security import BasicAuthenticator
from sipbridge.store import Store
from sipbridge.uri import Uri

KIND = "application"
"""Kind of the snapshots that keep applications."""

Spawn = Callable[[Coroutine[object, object, None]], None]
log = logger("sipbridge.provisioning")


class Network(Protocol):
    """What of the SIP side a change concerns."""

    async def watch_watchers(self, caller: Caller) -> None: ...

    def applications_changed(self) -> None:
        """Who has to be registered may be another matter now."""
        ...

    def registration_of(self, application: str) -> str:
        """Of the registration of an application: "registered", why not, or "" where none is wanted."""
        ...


class Holdings(Protocol):
    """What else applications hold, for the people they act as."""

    async def retire(self, application: str, allowed: Callable[[PresentityKey], bool]) -> None:
        """End what an application holds for people it may not act as (any more)."""
        ...

    async def purge(self, application: str) -> None:
        """Remove whatever is kept of an application."""
        ...


@dataclass(frozen=True, slots=True)
class Told:
    """Who has to hear of changes besides the readers of the directory.

    revoke: ends everything opened with the application's credentials. listen: delivers its notifications
    from now on. forget: drops what was kept of its notifications.
    """

    basic: BasicAuthenticator
    revoke: Callable[[str], None]
    listen: Callable[[str], None]
    forget: Callable[[str], None]


class Provisioner:
    """The applications at run time."""

    def __init__(
        self,
        directory: Directory,
        store: Store,
        seal: Seal,
        gateway: Gateway,
        network: Network,
        told: Told,
        spawn: Spawn,
        holdings: Sequence[Holdings],
    ) -> None:
        self.directory = directory
        self.store = store
        self.seal = seal
        self.gateway = gateway
        self.network = network
        self.told = told
        self.spawn = spawn
        self.holdings = holdings
        self.hasher = argon2.PasswordHasher()
        self.lock = asyncio.Lock()

    async def load(self) -> None:
        """Take up what was provisioned in earlier lives. Raises ConfigurationError for a lost key."""
        for id, text in await self.store.load_snapshots(KIND):
            kept = json.loads(text)
            known = self.directory.applications.get(id)
            if known is not None:
                self.directory.put(replace(known, disabled=kept["disabled"]))
            elif "uri" in kept:
                self.directory.put(self.read(id, kept))
                self.told.listen(id)
            self.told.basic.change(id, self.directory.account(id))
        self.changed()

    # --- the operations

    def listed(self) -> list[ApplicationView]:
        return [self.view(a) for _, a in sorted(self.directory.applications.items())]

    def get(self, id: str) -> ApplicationView:
        return self.view(self.find(id))

    async def add(self, wanted: NewApplication) -> ApplicationView:
        """Add one. Raises AgainstPolicy when there is one of this id."""
        async with self.lock:
            if wanted.id in self.directory.applications:
                raise AgainstPolicy(f"there is an application {wanted.id!r}", rule="exists")
            if (wanted.password is None) == (wanted.password_hash is None):
                raise InvalidValue("exactly one of password and password_hash", part="password")
            application = await self.merged(Application(wanted.id, Uri.parse("sip:x@x")), wanted)
            await self.purge(wanted.id)  # what an earlier one of this id may have left
            await self.keep(application)
            self.directory.put(application)
            self.told.forget(application.id)
            self.told.listen(application.id)
            self.in_force(application)
            return self.view(application)

    async def change(self, id: str, wanted: ApplicationChange) -> ApplicationView:
        """Change what is given; the rest stays."""
        async with self.lock:
            before = self.find(id)
            if before.configured and wanted.model_fields_set - {"disabled"}:
                raise AgainstPolicy(f"{id!r} stands in the configuration file", rule="configured")
            application = await self.merged(before, wanted)
            await self.keep(application)
            self.directory.put(application)
            self.in_force(application)
            if secrets_of(application) != secrets_of(before):
                self.told.revoke(id)
            await self.retire(id)
            return self.view(application)

    async def remove(self, id: str) -> None:
        """Remove one, with everything it has."""
        async with self.lock:
            if self.find(id).configured:
                raise AgainstPolicy(f"{id!r} stands in the configuration file", rule="configured")
            await self.store.delete_snapshot(KIND, id)
            self.told.basic.change(id, None)
            self.told.revoke(id)
            self.directory.represented.drop(id)
            await self.retire(id)
            self.directory.drop(id)
            self.changed()
            await self.purge(id)
            self.told.forget(id)

    # --- steps

    def view(self, application: Application) -> ApplicationView:
        return view(application, self.network.registration_of(application.id))

    def find(self, id: str) -> Application:
        found = self.directory.applications.get(id)
        if found is None:
            raise UnknownApplication(f"no application {id!r}", part="id")
        return found

    async def merged(self, before: Application, wanted: ApplicationChange) -> Application:
        """The application after a change. Raises InvalidValue as the configuration would."""
        given = wanted.model_fields_set
        if wanted.password is not None and wanted.password_hash is not None:
            raise InvalidValue("not both password and password_hash", part="password_hash")
        after = replace(
            before,
            identity=check(before.id, "uri", wanted.uri).identity
            if wanted.uri
            else before.identity,
            acts_for=before.acts_for
            if wanted.acts_for is None
            else check(before.id, "acts_for", wanted.acts_for).acts_for,
            sip_password=wanted.sip_password if "sip_password" in given else before.sip_password,
            sip_username=before.sip_username
            if wanted.sip_username is None
            else wanted.sip_username,
            sip_realm=before.sip_realm if wanted.sip_realm is None else wanted.sip_realm,
            disabled=before.disabled if wanted.disabled is None else wanted.disabled,
            webhook_secret=wanted.webhook_secret
            if "webhook_secret" in given
            else before.webhook_secret,
        )
        check(before.id, "webhook_secret", after.webhook_secret)
        if wanted.password is not None:
            made = await asyncio.to_thread(self.hasher.hash, wanted.password)
            return replace(after, password_hash=made)
        if wanted.password_hash is not None:
            check(before.id, "password_hash", wanted.password_hash)
            return replace(after, password_hash=wanted.password_hash)
        return after

    async def keep(self, application: Application) -> None:
        """Make it durable. Raises StoreError, ConfigurationError."""
        kept: dict[str, object] = {"disabled": application.disabled}
        if not application.configured:
            kept |= {
                "uri": str(application.identity),
                "acts_for": application.acts_for,
                "password_hash": application.password_hash,
                "sip_password": self.sealed(application.sip_password),
                "sip_username": application.sip_username,
                "sip_realm": application.sip_realm,
                "webhook_secret": self.sealed(application.webhook_secret),
            }
        await self.store.save_snapshot(KIND, application.id, json.dumps(kept))

    def read(self, id: str, kept: dict[str, object]) -> Application:
        """The way back from `keep`."""
        acts_for = kept["acts_for"]
        assert isinstance(acts_for, list)
        return Application(
            id,
            Uri.parse(str(kept["uri"])),
            tuple(acts_for),
            password_hash=str(kept["password_hash"]),
            sip_password=self.opened(kept["sip_password"]),
            sip_username=str(kept["sip_username"]),
            sip_realm=str(kept["sip_realm"]),
            disabled=bool(kept["disabled"]),
            webhook_secret=self.opened(kept.get("webhook_secret")),
        )

    def sealed(self, secret: str | None) -> str | None:
        return None if secret is None else self.seal.close(secret)

    def opened(self, sealed: object) -> str | None:
        return None if sealed is None else self.seal.open(str(sealed))

    def in_force(self, application: Application) -> None:
        self.changed()
        self.told.basic.change(application.id, self.directory.account(application.id))
        self.spawn(self.network.watch_watchers(self.directory.callers[application.id]))

    def changed(self) -> None:
        """Who has an application here may be another matter now."""
        self.gateway.decisions.forget()
        self.network.applications_changed()

    async def retire(self, id: str) -> None:
        """Remove what the application holds under identities it may not use (any more)."""
        registry = self.gateway.registry
        for (application, key), published in list(registry.published.items()):
            if application == id and not self.allowed(id, key):
                caller = Caller(id, Uri.parse(published.presentity_uri), key)
                await attempt(self.gateway.publish(caller, ()), f"publication of {key}")
        for pair, records in list(registry.subscriptions.items()):
            record = records.get(id)
            if record is not None and not self.allowed(id, record.watcher):
                caller = Caller(id, Uri.parse(record.watcher_uri), pair[0])
                there = Uri.parse(record.presentity_uri)
                await attempt(self.gateway.leave(caller, there), f"subscription to {there}")
        for holdings in self.holdings:
            await holdings.retire(id, functools.partial(self.allowed, id))

    def allowed(self, id: str, key: PresentityKey) -> bool:
        return self.directory.represented.allowed(id, key)

    async def purge(self, id: str) -> None:
        """Remove every row of an application from the store."""
        store = self.store
        for subscription in await store.load_subscriptions():
            if subscription.application == id:
                await store.delete_subscription(
                    subscription.holder, subscription.watcher, subscription.presentity
                )
        for contract in await store.load_contracts():
            if contract.application == id:
                await store.delete_contract(id, contract.correlator)
        for published in await store.load_published():
            if published.application == id:
                await store.delete_published(id, published.presentity)
        for holdings in self.holdings:
            await holdings.purge(id)


async def attempt(work: Awaitable[None], what: str) -> None:
    """Part of a removal; a peer that does not play along cannot stop it."""
    try:
        await work
    except SipBridgeError as error:
        log.warning("removal.failed", what=what, error=str(error))


def check(id: str, key: str, value: object) -> ApplicationSettings:
    """One value, by the rules of the configuration. Raises InvalidValue."""
    fields: dict[str, object] = {"id": id, "uri": "sip:x@example.com", key: value}
    try:
        return ApplicationSettings.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise InvalidValue(first["msg"].removeprefix("Value error, "), part=key) from None


def secrets_of(application: Application) -> tuple[object, ...]:
    """What ends sessions when it changes."""
    return (application.password_hash, application.identity, application.disabled)


def view(application: Application, registration: str) -> ApplicationView:
    return ApplicationView(
        id=application.id,
        uri=str(application.identity),
        acts_for=list(application.acts_for),
        sip_username=application.sip_username,
        sip_realm=application.sip_realm,
        has_sip_password=application.sip_password is not None,
        webhooks=application.webhook_secret is not None,
        disabled=application.disabled,
        source=Source.CONFIGURATION if application.configured else Source.PROVISIONED,
        registration=registration,
    )
