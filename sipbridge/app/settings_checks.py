"""What concerns two keys at once, and files that keys name.

Every check yields faults and none raises, so that `check-config` can show all of them. Nothing is opened
but the small files that hold passwords and users.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sipbridge.agent.trust import TrustedPeers
from sipbridge.app.connections import secure_listeners, tls_of
from sipbridge.app.profiles import load_profile
from sipbridge.app.settings_sources import read_toml
from sipbridge.app.settings_tree import (
    VISIBLE,
    Access,
    ApplicationSettings,
    CertificateSettings,
    DomainServerSettings,
    Endpoint,
    Mode,
    PresenceServerSettings,
    Settings,
    TokenSettings,
    Verify,
    is_loopback,
)
from sipbridge.errors import ConfigurationError
from sipbridge.gateway.acting import Represented
from sipbridge.identities import KnownIdentities, NormalisingIdentities, Person
from sipbridge.sip.flow import WEB
from sipbridge.uri import Uri
from sipbridge.webhooks.signing import read_secret as read_key

if TYPE_CHECKING:
    from sipbridge.mapping.table import Tables

Faults = Iterator[ConfigurationError]
Users = dict[tuple[str, str, str], str]
"""(user, realm, algorithm) to HA1 in lower-case hexadecimal."""
HA1_LENGTH = {"MD5": 32, "SHA-256": 64, "SHA-512-256": 64}


def check_http(settings: Settings) -> Faults:
    http = settings.http
    if (http.tls_cert is None) != (http.tls_key is None):
        missing = "http.tls_key" if http.tls_cert else "http.tls_cert"
        yield ConfigurationError(missing, "tls_cert and tls_key belong together")
    yield from readable("http.tls_cert", http.tls_cert)
    yield from readable("http.tls_key", http.tls_key)
    if not (is_loopback(http.host) or http.tls or http.allow_plain):
        yield ConfigurationError(
            "http.allow_plain",
            f"passwords without TLS on {http.host} need allow_plain = true, or tls_cert and tls_key",
        )


def check_listeners(settings: Settings) -> Faults:
    sip = settings.sip
    listeners = sip.endpoints
    if not listeners:
        yield ConfigurationError("sip.listen", "at least one listener")
    fixed = [point for point in listeners if point.port]
    for point in {point for point in fixed if fixed.count(point) > 1}:
        yield ConfigurationError("sip.listen", f"{point} is listed twice")
    for point, told in sip.advertised:
        if point.wildcard and told is None:
            yield ConfigurationError(
                "sip.advertise", f"what peers are told instead of the wildcard listener {point}"
            )
    used = [told for _, told in sip.advertised]
    for said in map(Endpoint.parse, sip.advertise):
        if said.wildcard:
            yield ConfigurationError("sip.advertise", f"{said} is a wildcard address")
        if said not in used:
            yield ConfigurationError("sip.advertise", f"{said} has no {said.protocol} listener")


def check_dns(settings: Settings) -> Faults:
    sip = settings.sip
    if sip.name_servers and not sip.dns:
        yield ConfigurationError(
            "sip.name_servers", "dns = false leaves names to the system, which has its own servers"
        )
    for n, text in enumerate(sip.name_servers):
        if sip.name_servers.index(text) != n:
            yield ConfigurationError("sip.name_servers", f"{text} is listed twice")


def check_tls(settings: Settings) -> Faults:
    """The certificates are read, so that what they lack is known before anything opens."""
    tls, secure = settings.sip.tls, secure_listeners(settings)
    whole = True
    pairs: list[tuple[str, CertificateSettings]] = [("sip.tls", tls)]
    pairs += [(f"sip.tls.certificates[{n}]", pair) for n, pair in enumerate(tls.certificates)]
    for section, pair in pairs:
        if (pair.cert is None) != (pair.key is None) or (pair is not tls and pair.cert is None):
            missing = "cert" if pair.cert is None else "key"
            yield ConfigurationError(f"{section}.{missing}", "cert and key belong together")
            whole = False
    if secure and tls.cert is None and tls.key is None:
        yield ConfigurationError("sip.tls.cert", f"required for the listener {secure[0]}")
        yield ConfigurationError("sip.tls.key", f"required for the listener {secure[0]}")
        whole = False
    web = [point for point in settings.sip.endpoints if point.protocol in WEB]
    if web and not settings.embedded:
        yield ConfigurationError(
            "sip.listen", f"{web[0]} is for user agents, which only the embedded agent serves"
        )
    if whole:
        try:
            tls_of(settings)
        except ConfigurationError as fault:
            yield fault


def check_servers(settings: Settings) -> Faults:
    yield from check_server("presence_server", settings.presence_server)
    yield from check_profiles(settings)
    seen: set[str] = set()
    for n, server in enumerate(settings.presence_servers):
        key = f"presence_servers[{n}]"
        yield from check_server(key, server)
        if server.domain.lower() in seen:
            yield ConfigurationError(f"{key}.domain", f"{server.domain} is listed twice")
        seen.add(server.domain.lower())
        yield from check_embedded_domain(key, server, settings.sip.domain)


def check_embedded_domain(key: str, server: DomainServerSettings, ours: str) -> Faults:
    if server.mode is Mode.EMBEDDED and server.domain.lower() != ours.lower():
        yield ConfigurationError(
            f"{key}.domain", f"the embedded agent serves sip.domain = {ours!r} and no other"
        )


def check_server(key: str, server: PresenceServerSettings) -> Faults:
    if server.mode is Mode.REMOTE and not server.next_hop:
        yield ConfigurationError(f"{key}.next_hop", "required in remote mode")
    if server.mode is Mode.EMBEDDED and server.register_:
        yield ConfigurationError(f"{key}.register", "is for remote mode; the agent inside knows us")


def check_profiles(settings: Settings) -> Faults:
    """Every profile that is named can be read."""
    named = [("presence_server.profile", settings.presence_server.profile)]
    named += [
        (f"presence_servers[{n}].profile", s.profile)
        for n, s in enumerate(settings.presence_servers)
    ]
    named += [(f"peers[{n}].profile", p.profile) for n, p in enumerate(settings.peers)]
    for key, name in named:
        try:
            load_profile(key, name, settings.directory)
        except ConfigurationError as fault:
            yield fault


def check_agent(settings: Settings) -> Faults:
    agent = settings.agent
    if not agent.min_expires <= agent.default_expires <= agent.max_expires:
        yield ConfigurationError(
            "agent.default_expires", "min_expires <= default_expires <= max_expires"
        )
    if agent.users_file is not None:
        yield from check_users(agent.users_file)
    exposed = [point for point in settings.sip.endpoints if not is_loopback(point.host)]
    proven = agent.authenticate or agent.anonymous or agent.trusted_peers
    if settings.embedded and exposed and not proven:
        yield ConfigurationError(
            "agent.authenticate",
            f"the agent on {exposed[0]} needs authenticate = true, or anonymous = true",
        )
    yield from check_trusted(settings)


def check_trusted(settings: Settings) -> Faults:
    """A name is proven by a certificate, and only where one is demanded."""
    named = TrustedPeers.parse(settings.agent.trusted_peers).names
    if named and not (secure_listeners(settings) and settings.sip.tls.verify is Verify.MUTUAL):
        yield ConfigurationError(
            "agent.trusted_peers",
            f'{min(named)} can be proven only at a tls: listener with sip.tls.verify = "mutual"',
        )


def check_users(path: Path) -> Faults:
    try:
        read_users(path)
    except ConfigurationError as fault:
        yield fault


def check_mapping(settings: Settings) -> Faults:
    if settings.mapping.file is not None:
        try:
            read_tables(settings.mapping.file)
        except ConfigurationError as fault:
            yield fault


def check_admin(settings: Settings) -> Faults:
    closed = [n for n in ("docs", "metrics") if getattr(settings.http, n) is Access.ADMIN]
    if closed and settings.admin.password_hash is None:
        yield ConfigurationError(f"http.{closed[0]}", "'admin' needs admin.password_hash")
    yield from readable("store.key_file", existing(settings.store.key_file))


def existing(path: Path | None) -> Path | None:
    """The key file is made when it is needed and absent."""
    return path if path is not None and path.exists() else None


def check_jwt(settings: Settings) -> Faults:
    wanted = settings.auth.jwt
    ways = [w for w in (wanted.keys_file, wanted.keys_url) if w]
    if not wanted.issuer and (ways or wanted.audience):
        yield ConfigurationError("auth.jwt.issuer", "required: whose tokens count")
    if wanted.issuer and not wanted.audience:
        yield ConfigurationError("auth.jwt.audience", "required: tokens for others must not count")
    if (wanted.issuer and not ways) or len(ways) > 1:
        yield ConfigurationError("auth.jwt.keys_file", "exactly one of keys_file, keys_url")
    if wanted.keys_file is not None:
        yield from check_keys(wanted.keys_file)
    yield from check_known(settings, "auth.jwt.application", wanted.application)


def check_keys(path: Path) -> Faults:
    from sipbridge.rest.tokens import read_keys

    key = "auth.jwt.keys_file"
    try:
        read_keys(path.read_bytes())
    except OSError as error:
        yield ConfigurationError(key, f"{path}: {error.strerror}")
    except (ValueError, RecursionError) as error:
        yield ConfigurationError(key, f"{path}: is no JWK Set and no PEM: {error}")


def check_known(settings: Settings, key: str, application: str) -> Faults:
    """Applications can also be added at run time, but only where there is an operator."""
    known = {a.id for a in settings.applications}
    if application and application not in known and settings.admin.password_hash is None:
        yield ConfigurationError(key, f"there is no application {application!r}")


def check_tokens(settings: Settings) -> Faults:
    seen: set[str] = set()
    for n, entry in enumerate(settings.tokens):
        key = f"tokens[{n}]"
        if (entry.token is None) == (entry.token_file is None):
            yield ConfigurationError(f"{key}.token", "exactly one of token, token_file")
        yield from check_known(settings, f"{key}.application", entry.application)
        yield from check_identity_of(settings, key, entry)
        try:
            token = token_of(n, entry)
        except ConfigurationError as fault:
            yield fault
            continue
        if token in seen:
            yield ConfigurationError(f"{key}.token", "is listed twice")
        seen.add(token)
    for n, application in enumerate(settings.applications):
        for m, given in enumerate(application.auth_tokens):
            if given.get_secret_value() in seen:
                yield ConfigurationError(f"applications[{n}].auth_tokens[{m}]", "is listed twice")
            seen.add(given.get_secret_value())


def check_identity_of(settings: Settings, key: str, entry: TokenSettings) -> Faults:
    """A token may be of a person only if its application may act as that person."""
    owner = next((a for a in settings.applications if a.id == entry.application), None)
    if owner is None or not entry.identity:
        return
    persons = KnownIdentities(
        Person(Uri.parse(p.uri), tuple(map(Uri.parse, p.aliases))) for p in settings.identities
    )
    represented = Represented(persons)
    represented.put(owner.id, owner.identity, owner.acts_for)
    if not represented.allowed(owner.id, persons.canonical(Uri.parse(entry.identity))):
        told = f"{owner.id} may not act as {entry.identity}: see its acts_for"
        yield ConfigurationError(f"{key}.identity", told)


def token_of(number: int, entry: TokenSettings) -> str:
    """The token of one entry of `[[tokens]]`. Raises ConfigurationError."""
    if entry.token is not None:
        return entry.token.get_secret_value()
    if entry.token_file is None:
        raise ConfigurationError(f"tokens[{number}].token", "required")
    key = f"tokens[{number}].token_file"
    token = read_secret(key, entry.token_file)
    if not VISIBLE.fullmatch(token):
        raise ConfigurationError(key, "a token has 16 to 4096 visible ASCII characters")
    return token


def check_identities(settings: Settings) -> Faults:
    normalised = NormalisingIdentities()
    owners: dict[str, str] = {}
    for n, person in enumerate(settings.identities):
        names = [(f"identities[{n}].uri", person.uri)]
        names += [(f"identities[{n}].aliases[{m}]", name) for m, name in enumerate(person.aliases)]
        for key, name in names:
            owner = owners.setdefault(normalised.canonical(Uri.parse(name)), person.uri)
            if owner != person.uri:
                yield ConfigurationError(key, f"{name} is a name of {owner} already")


def check_applications(settings: Settings) -> Faults:
    seen: set[str] = set()
    for n, application in enumerate(settings.applications):
        key = f"applications[{n}]"
        if application.id in seen:
            yield ConfigurationError(f"{key}.id", f"{application.id!r} is listed twice")
        seen.add(application.id)
        yield from check_secrets(key, application)


def check_secrets(key: str, application: ApplicationSettings) -> Faults:
    ways = [application.password, application.password_file, application.password_hash]
    if sum(way is not None for way in ways) != 1:
        yield ConfigurationError(
            f"{key}.password", "exactly one of password, password_file, password_hash"
        )
    if application.password is not None and not application.password.get_secret_value():
        yield ConfigurationError(f"{key}.password", "is empty")
    if application.sip_password is not None and application.sip_password_file is not None:
        yield ConfigurationError(
            f"{key}.sip_password", "not both sip_password and sip_password_file"
        )
    for name in ("password_file", "sip_password_file"):
        yield from check_secret_file(f"{key}.{name}", getattr(application, name))
    yield from check_webhooks(key, application)


def check_webhooks(key: str, application: ApplicationSettings) -> Faults:
    path = application.webhook_secret_file
    ways = [application.webhook_secret, path]
    if application.webhooks and sum(way is not None for way in ways) != 1:
        yield ConfigurationError(
            f"{key}.webhook_secret",
            "webhooks need exactly one of webhook_secret, webhook_secret_file",
        )
    if path is not None:
        name = f"{key}.webhook_secret_file"
        try:
            read_key(read_secret(name, path))
        except ConfigurationError as fault:
            yield fault
        except ValueError as fault:
            yield ConfigurationError(name, str(fault))


def check_secret_file(key: str, path: Path | None) -> Faults:
    if path is not None:
        try:
            read_secret(key, path)
        except ConfigurationError as fault:
            yield fault


def readable(key: str, path: Path | None) -> Faults:
    if path is not None:
        try:
            with path.open("rb"):
                pass
        except OSError as error:
            yield ConfigurationError(key, f"{path}: {error.strerror}")


CHECKS: tuple[Callable[[Settings], Faults], ...] = (
    check_http,
    check_listeners,
    check_dns,
    check_tls,
    check_servers,
    check_agent,
    check_mapping,
    check_applications,
    check_admin,
    check_jwt,
    check_tokens,
    check_identities,
)


def cross_check(settings: Settings) -> list[ConfigurationError]:
    """Every fault that two good values make together, in the order of the sections."""
    return [fault for check in CHECKS for fault in check(settings)]


# --- small files --------------------------------------------------------------------------------------


def read_secret(key: str, path: Path) -> str:
    """The first line of a password file. Raises ConfigurationError."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        raise ConfigurationError(key, f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(key, f"{path}: is not UTF-8") from None
    if not lines or not lines[0]:
        raise ConfigurationError(key, f"{path}: the first line is empty")
    return lines[0]


def read_tables(path: Path | None) -> "Tables":
    """The mapping tables with what `mapping.file` lays over them. Raises ConfigurationError."""
    from sipbridge.mapping.overrides import load
    from sipbridge.mapping.table import DEFAULT

    if path is None:
        return DEFAULT
    try:
        pairs = read_toml(path)
    except ConfigurationError as fault:  # its key is the path
        raise ConfigurationError("mapping.file", str(fault)) from None
    try:
        return load(pairs)
    except ConfigurationError as fault:
        raise ConfigurationError("mapping.file", f"{path}: {fault}") from None


def read_users(path: Path) -> Users:
    """`agent.users_file`: "user:realm:algorithm:HA1" a line, empty lines and # comments aside.

    Raises ConfigurationError naming the line, never its content.
    """
    key = "agent.users_file"
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        raise ConfigurationError(key, f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(key, f"{path}: is not UTF-8") from None
    users: Users = {}
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.startswith("#"):
            parts = line.strip().split(":")
            if len(parts) != 4 or not is_ha1(parts[2], parts[3]):
                raise ConfigurationError(
                    key, f"{path}, line {number}: is not user:realm:MD5|SHA-256|SHA-512-256:HA1"
                )
            users[parts[0], parts[1], parts[2].upper()] = parts[3].lower()
    return users


def is_ha1(algorithm: str, ha1: str) -> bool:
    length = HA1_LENGTH.get(algorithm.upper(), -1)
    return len(ha1) == length and all(c in "0123456789abcdefABCDEF" for c in ha1)
