"""The applications that live here now: those of the configuration, and those added at run time.

One directory, read by everybody who asks who an application is: callers, accounts for HTTP Basic, credentials
for digest, the identities it may act as. The maps it hands out are live; a change is seen by the next reader.
Who has to be told of a change besides is `provisioning.py`'s affair.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from sipbridge.app.settings import ApplicationSettings, password, sip_password, webhook_secret
from sipbridge.errors import AgainstPolicy, InvalidValue, ParseError
from sipbridge.gateway import Caller
from sipbridge.gateway.acting import Represented
from sipbridge.identities import Identities, PresentityKey
from sipbridge.rest.gate import IDENTITY
from sipbridge.rest.security import Account
from sipbridge.sip.policy import Credentials
from sipbridge.uri import Uri
from sipbridge.webhooks.signing import read_secret as read_key

MAX_ACTED = 4096
"""Answers of `act` remembered: an application that acts for many names the same ones again and again."""


@dataclass(frozen=True, slots=True)
class Application:
    """One application. configured: it stands in the configuration file. disabled: it may not call."""

    id: str
    identity: Uri
    acts_for: tuple[str, ...] = ()
    password: str | None = None
    password_hash: str | None = None
    sip_password: str | None = None
    sip_username: str = ""
    sip_realm: str = ""
    disabled: bool = False
    configured: bool = False
    webhook_secret: str | None = None
    """None: it may not have webhooks."""

    @classmethod
    def from_settings(cls, settings: ApplicationSettings) -> "Application":
        """An application of the configuration file; its password files are read now."""
        known = settings.password_hash
        return cls(
            settings.id,
            settings.identity,
            settings.acts_for,
            password(settings),
            known.get_secret_value() if known else None,
            sip_password(settings),
            settings.sip_username,
            settings.sip_realm,
            configured=True,
            webhook_secret=webhook_secret(settings),
        )

    @property
    def sip_user(self) -> str:
        """The user name in digest answers."""
        return self.sip_username or self.identity.username


class Directory:
    """All applications, by id."""

    def __init__(self, identities: Identities) -> None:
        self.identities = identities
        self.applications: dict[str, Application] = {}
        self.callers: dict[str, Caller] = {}
        self.credentials: dict[str, Credentials] = {}
        self.webhook_keys: dict[str, bytes] = {}
        self.sip_users: dict[str, list[Application]] | None = None
        """Those who may call by SIP, by the user name of their digest answers; None: to be made anew."""
        self.represented = Represented(identities)
        self.acted: dict[tuple[str, str], Caller] = {}
        self.met: Callable[[Caller], None] = lambda caller: None
        """Told when an application acts as an identity that was not remembered."""

    def put(self, application: Application) -> None:
        """Add or replace. Raises ParseError for a pattern that is none."""
        self.represented.put(application.id, application.identity, application.acts_for)
        key = self.identities.canonical(application.identity)
        self.applications[application.id] = application
        self.callers[application.id] = Caller(application.id, application.identity, key)
        self.credentials.pop(application.id, None)
        if application.sip_password is not None:
            self.credentials[application.id] = Credentials(
                application.sip_user, application.sip_password, application.sip_realm
            )
        self.sip_users = None
        self.webhook_keys.pop(application.id, None)
        if application.webhook_secret is not None and not application.disabled:
            self.webhook_keys[application.id] = read_key(application.webhook_secret)
        self.acted.clear()

    def drop(self, id: str) -> None:
        self.represented.drop(id)
        self.sip_users = None
        for map in (self.applications, self.callers, self.credentials, self.webhook_keys):
            map.pop(id, None)
        self.acted.clear()

    def account(self, id: str) -> Account | None:
        """What HTTP Basic needs to know; None: this one may not call."""
        application = self.applications.get(id)
        if application is None or application.disabled:
            return None
        return Account(self.callers[id], application.password, application.password_hash)

    def accounts(self) -> dict[str, Account]:
        found = ((id, self.account(id)) for id in self.applications)
        return {id: account for id, account in found if account is not None}

    def sip_secret(self, user: str, domain: str = "") -> str | None:
        """The digest password of an application by its SIP user name."""
        application = self.sip_application(user, domain)
        return None if application is None else application.sip_password

    def sip_identity(self, user: str, domain: str = "") -> Uri | None:
        """Whom an application is that proves itself by this SIP user name."""
        application = self.sip_application(user, domain)
        return None if application is None else application.identity

    def sip_application(self, user: str, domain: str) -> Application | None:
        """Of several with one user name that of the domain, else the first; who is disabled does not count.

        First come those of the configuration in its order, then the others by id: no change, and no restart,
        makes another the first.
        """
        if self.sip_users is None:
            self.sip_users = {}
            order = sorted(self.applications.values(), key=lambda a: "" if a.configured else a.id)
            for one in order:
                if one.sip_password is not None and not one.disabled:
                    self.sip_users.setdefault(one.sip_user, []).append(one)
        known = self.sip_users.get(user, [])
        of_domain = (a for a in known if a.identity.host.lower() == domain.lower())
        return next(of_domain, known[0] if known else None)

    def owner(self, key: PresentityKey) -> str | None:
        """The application whose own identity this is."""
        return next((id for id, caller in self.callers.items() if caller.key == key), None)

    def holder(self, application: str, identity: str) -> Caller | None:
        """Whom a token is of (`rest.tokens.Holder`): who can act for many is bound to the one it names."""
        uri = self.identities.contact(identity) if identity else None
        if identity and uri is None:
            return None
        key = None if uri is None else self.identities.canonical(uri)
        id = application or (self.owner(key) if key is not None else None)
        if id is None or self.account(id) is None:
            return None
        own = self.callers[id]
        if key is None or uri is None:
            return own
        if key == own.key:
            return replace(own, bound=True) if self.applications[id].acts_for else own
        try:
            return replace(self.act(own, str(self.identities.address(uri))), bound=True)
        except (AgainstPolicy, InvalidValue):
            return None

    def may_act(self, id: str, key: PresentityKey) -> bool:
        """Is there such an application, may it call, and may it act as this person?"""
        return self.account(id) is not None and self.represented.allowed(id, key)

    def act(self, caller: Caller, named: str) -> Caller:
        """The caller as the identity it names (`rest.gate.Acting`)."""
        remembered = self.acted.get((caller.application, named))
        if remembered is not None:
            return remembered
        try:
            uri = Uri.parse(named.strip())
        except ParseError as error:
            raise InvalidValue(str(error), part=IDENTITY.title()) from None
        key = self.identities.canonical(uri)
        if not Uri.parse(key).is_address or not self.represented.allowed(caller.application, key):
            raise AgainstPolicy(
                f"{caller.application} may not act as {uri}", rule="identity", part=IDENTITY.title()
            )
        found = Caller(caller.application, Uri.parse(key), key)
        if len(self.acted) >= MAX_ACTED:
            self.acted.clear()
        self.acted[caller.application, named] = found
        self.met(found)
        return found
