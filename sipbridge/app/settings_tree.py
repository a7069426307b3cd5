"""The configuration tree: one frozen model for each TOML section.

Values are checked one by one here (types, ranges, grammars); what concerns two keys at once is in
`settings_checks.py`, where values come from in `settings_sources.py`. Only keys whose function exists are
fields; keys of later versions are in the table `LATER` of `settings_sources.py` and are refused.

Secrets are `SecretStr`: they do not show in `repr`, tracebacks or `print-config`. Paths are relative to the
directory of the configuration file; `load` makes them absolute. Durations are seconds.
"""

import ipaddress
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)

from sipbridge.errors import InvalidValue, ParseError
from sipbridge.gateway.acting import IdentityPattern
from sipbridge.gateway.policies import EVERYBODY, watchers
from sipbridge.mapping.attributes import AttributeKind
from sipbridge.uri import Uri, parse_hostport
from sipbridge.webhooks.signing import read_secret as read_key
from sipbridge.webhooks.targets import Target

CHANNEL_SEGMENT = re.compile(r"[A-Za-z0-9\-_!~()$@]+")
"""Bayeux 1.0 §2.2.1: what may stand between two slashes of a channel name."""
DOMAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9\-.]*[A-Za-z0-9.])?|\[[0-9A-Fa-f:.]+\]")
PEERS = re.compile(r"\*|(?:\*\.)?[A-Za-z0-9](?:[A-Za-z0-9\-.]*[A-Za-z0-9.])?|\[[0-9A-Fa-f:.]+\]")
"""Everything, everything below a domain, a domain or host."""
ORIGIN = re.compile(r"\*|https?://[^/\s?#]+")
WEB_URL = re.compile(r"https?://[^/\s?#]+[^\s?#]*")
ALIAS_SCHEMES = ("sip", "sips", "pres", "tel", "mailto", "webex")
VISIBLE = re.compile(r"[!-~]{16,4096}")
"""A token: what can stand in a header."""
SUPPORTED_PROTOCOLS = ("udp", "tcp", "tls", "ws", "wss")
HOP_PROTOCOLS = ("udp", "tcp", "tls")
LATER_HOPS = ("ws", "wss")
NOT_YET = "not in this version"
DNS_PORT = 53
HEADER_NAME = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]+")
OUR_HEADERS = frozenset(
    {
        *(
            "via",
            "v",
            "from",
            "f",
            "to",
            "t",
            "call-id",
            "i",
            "cseq",
            "contact",
            "m",
            "max-forwards",
        ),
        *(
            "route",
            "record-route",
            "content-length",
            "l",
            "content-type",
            "c",
            "content-encoding",
            "e",
        ),
        *(
            "event",
            "o",
            "expires",
            "subscription-state",
            "sip-if-match",
            "sip-etag",
            "accept",
            "allow",
        ),
        *("supported", "k", "require", "proxy-require", "authorization", "proxy-authorization"),
        "user-agent",
    }
)
"""Header fields, and their compact forms, that the SIP stack sets."""
MAX_SECONDS = 10 * 365 * 86400.0
"""Ten years: longer durations are typing errors, and still fit every clock."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`udp:127.0.0.1:5060` taken apart. IPv6 hosts are without brackets; port 0 means any free one."""

    protocol: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Endpoint":
        """Raises ValueError with a sentence for people."""
        protocol, colon, rest = text.partition(":")
        protocol = protocol.lower()
        if protocol not in SUPPORTED_PROTOCOLS or not colon:
            raise ValueError(f"{text!r} is not udp:HOST:PORT; or tcp, tls, ws, wss for udp")
        try:
            host, port = parse_hostport(rest)
        except ParseError as error:
            raise ValueError(f"{text!r}: {error}") from None
        if port is None:
            raise ValueError(f"{text!r} has no port")
        return cls(protocol, host.strip("[]"), port)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.protocol}:{host}:{self.port}"

    @property
    def wildcard(self) -> bool:
        """Does it listen on every address of the machine?"""
        try:
            return ipaddress.ip_address(self.host).is_unspecified
        except ValueError:
            return False


def is_loopback(host: str) -> bool:
    """Can only this machine reach `host`? Names other than localhost count as reachable."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


# --- kinds of values ----------------------------------------------------------------------------------


def as_list(value: Any) -> Any:
    """Environment variables and `next_hop` may give a list as one text; commas separate."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def matching(pattern: re.Pattern[str], expected: str) -> AfterValidator:
    def check(text: str) -> str:
        if text and not pattern.fullmatch(text):
            raise ValueError(f"{text!r} is not {expected}")
        return text

    return AfterValidator(check)


def check_endpoint(text: str) -> str:
    return str(Endpoint.parse(text))


def check_next_hop(text: str) -> str:
    try:
        uri = Uri.parse(text)
    except ParseError as error:
        raise ValueError(f"{error}; write it like sip:192.0.2.7:5060;transport=tcp") from None
    if uri.scheme not in ("sip", "sips"):
        raise ValueError(f"{text!r} is not a sip or sips URI like sip:192.0.2.7:5060;transport=tcp")
    transport = (uri.parameter("transport") or "").lower()
    if transport in LATER_HOPS:
        raise ValueError(f"{text!r}: a presence server reached by {transport} is {NOT_YET}")
    if transport not in ("", *HOP_PROTOCOLS) or (uri.scheme, transport) == ("sips", "udp"):
        raise ValueError(f"{text!r}: transport is udp, tcp or tls; of a sips URI it is tls")
    return text


def check_host_port(text: str) -> str:
    if text:
        try:
            parse_hostport(text)
        except ParseError as error:
            raise ValueError(str(error)) from None
    return text


def name_server(text: str) -> tuple[str, int]:
    """ "192.0.2.53" or "[2001:db8::53]:5353" taken apart. Raises ValueError."""
    try:
        return str(ipaddress.ip_address(text)), DNS_PORT
    except ValueError:
        pass
    try:
        host, port = parse_hostport(text)
        return str(ipaddress.ip_address(host.strip("[]"))), port or DNS_PORT
    except (ParseError, ValueError):
        raise ValueError(f"{text!r} is not an address like 192.0.2.53 or 192.0.2.53:5353") from None


def check_name_server(text: str) -> str:
    name_server(text)
    return text


def check_route(text: str) -> str:
    """A Route value: an address in angle brackets, or the bare URI, which gets them."""
    bare = text.strip().removeprefix("<").removesuffix(">")
    try:
        uri = Uri.parse(bare)
    except ParseError as error:
        raise ValueError(str(error)) from None
    if uri.scheme not in ("sip", "sips") or "lr" not in dict(uri.parameters):
        raise ValueError(f"{text!r} is not a loose route like sip:edge.example.com;lr")
    return f"<{bare}>"


def check_headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not HEADER_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no header name")
        if name.lower() in OUR_HEADERS:
            raise ValueError(f"{name} is written by the bridge itself")
        if any(ord(letter) < 32 or ord(letter) == 127 for letter in value):
            raise ValueError(f"{name}: control characters cannot stand in a header")
    return headers


def check_identity(text: str) -> str:
    try:
        uri = Uri.parse(text)
    except ParseError as error:
        raise ValueError(f"{error}; write it like sip:alice@example.com") from None
    if uri.scheme == "sips":
        raise ValueError(f"{text!r}: sips identities are {NOT_YET}")
    if uri.scheme != "sip" or not uri.user:
        raise ValueError(f"{text!r} is not a SIP identity like sip:alice@example.com")
    return text


def check_peer(text: str) -> str:
    """An address, a network, or the name in a certificate."""
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        if re.fullmatch(r"[0-9a-fA-F.:]*[.:/][0-9.:/]*", text):
            raise ValueError(str(error)) from None
        if not DOMAIN.fullmatch(text):
            raise ValueError(f"{text!r} is no address, no network and no host name") from None
    return text


def check_whose(text: str) -> str:
    if text != EVERYBODY:
        check_pattern(text)
    return text


def check_watchers(text: str) -> str:
    try:
        watchers(text)
    except ParseError as error:
        raise ValueError(str(error)) from None
    return text


def check_argon2(secret: SecretStr | None) -> SecretStr | None:
    if secret is not None and not secret.get_secret_value().startswith("$argon2"):
        raise ValueError("not a hash made by `sipbridge hash-password`")
    return secret


def check_webhook_secret(secret: SecretStr | None) -> SecretStr | None:
    if secret is not None:
        read_key(secret.get_secret_value())
    return secret


def check_store(text: str) -> str:
    if text.startswith("postgresql://"):
        raise ValueError(f"postgresql stores are {NOT_YET}")
    if text not in ("", "memory://") and not re.fullmatch(r"sqlite:///.+", text):
        raise ValueError(
            f"{text!r} is not memory://, sqlite:///relative/path or sqlite:////absolute/path"
        )
    return text


def check_target(text: str) -> str:
    if text:
        try:
            Target.parse(text)
        except InvalidValue as error:
            raise ValueError(str(error)) from None
    return text


def check_pattern(text: str) -> str:
    try:
        IdentityPattern.parse(text)
    except ParseError as error:
        raise ValueError(str(error)) from None
    return text


def check_alias(text: str) -> str:
    try:
        uri = Uri.parse(text)
    except ParseError as error:
        raise ValueError(str(error)) from None
    if uri.scheme not in ALIAS_SCHEMES:
        listed = ", ".join(ALIAS_SCHEMES)
        raise ValueError(f"{text!r} is not a URI of {listed}")
    return text


def check_short_token(secret: SecretStr) -> SecretStr:
    """Given out elsewhere, so its length is not ours to choose, as with passwords."""
    if not re.fullmatch(r"[!-~]{1,4096}", secret.get_secret_value()):
        raise ValueError("a token has 1 to 4096 visible ASCII characters")
    return secret


def check_token(secret: SecretStr) -> SecretStr:
    if not VISIBLE.fullmatch(secret.get_secret_value()):
        raise ValueError("a token has 16 to 4096 visible ASCII characters")
    return secret


def check_keys_url(text: str) -> str:
    if not text:
        return text
    parts = urlsplit(text)
    local = parts.scheme == "http" and is_loopback(parts.hostname or "")
    if not (parts.scheme == "https" and parts.hostname) and not local:
        raise ValueError(f"{text!r} is not an https URL, or http on this machine")
    return text


Texts = Annotated[tuple[str, ...], BeforeValidator(as_list)]
Endpoints = Annotated[
    tuple[Annotated[str, AfterValidator(check_endpoint)], ...], BeforeValidator(as_list)
]
NextHops = Annotated[
    tuple[Annotated[str, AfterValidator(check_next_hop)], ...], BeforeValidator(as_list)
]
NameServers = Annotated[
    tuple[Annotated[str, AfterValidator(check_name_server)], ...], BeforeValidator(as_list)
]
Origins = Annotated[
    tuple[Annotated[str, matching(ORIGIN, "'*' or an origin like https://app.example.com")], ...],
    BeforeValidator(as_list),
]
Domain = Annotated[str, Field(min_length=1), matching(DOMAIN, "a host name")]
Seconds = Annotated[float, Field(ge=0, le=MAX_SECONDS)]
Positive = Annotated[float, Field(gt=0, le=MAX_SECONDS)]
Count = Annotated[int, Field(ge=0)]
Patterns = Annotated[
    tuple[Annotated[str, AfterValidator(check_pattern)], ...], BeforeValidator(as_list)
]
FilePath = Annotated[Path | None, BeforeValidator(lambda value: None if value == "" else value)]
Hash = Annotated[
    SecretStr | None,
    AfterValidator(check_argon2),
    BeforeValidator(lambda value: None if value == "" else value),
]


Token = Annotated[SecretStr, AfterValidator(check_token)]
ShortToken = Annotated[SecretStr, AfterValidator(check_short_token)]


class Section(BaseModel):
    """What all sections share: frozen, nothing unknown, values fit for numbers and text."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Python counts true as 1; TOML writers do not."""
        wanted = cls.model_fields[info.field_name or ""].annotation
        if isinstance(value, bool) and wanted in (int, float):
            raise ValueError("a number is expected")
        return value


class Mode(StrEnum):
    EMBEDDED = "embedded"
    REMOTE = "remote"


class NatWord(StrEnum):
    """Whose Contact is replaced by the source of its request (`sip/nat.py`)."""

    OFF = "off"
    PRIVATE = "private"
    ALWAYS = "always"


class SubHandlingWord(StrEnum):
    """RFC 5025 §3.2.1."""

    BLOCK = "block"
    CONFIRM = "confirm"
    POLITE_BLOCK = "polite-block"
    ALLOW = "allow"


class NetworkIdentity(StrEnum):
    """How a request says to the peer who sends it: by digest alone, or by a header (RFC 3325)."""

    DIGEST = "digest"
    ASSERTED = "p-asserted-identity"
    PREFERRED = "p-preferred-identity"


class Unenforceable(StrEnum):
    """What becomes of a decision that a presence server would not hear of."""

    REFUSE = "refuse"
    RECORD = "record"


class Digest(StrEnum):
    """The weakest challenge that is answered."""

    MD5 = "MD5"
    SHA_256 = "SHA-256"
    SHA_512_256 = "SHA-512-256"


class ServerDigest(StrEnum):
    """What the agent's challenges offer (RFC 7616, RFC 8760)."""

    MD5 = "MD5"
    SHA_256 = "SHA-256"
    SHA_512_256 = "SHA-512-256"


class ServerQop(StrEnum):
    """What the agent's challenges offer to protect (RFC 7616 §3.3)."""

    AUTH = "auth"
    AUTH_INT = "auth-int"


class Algorithm(StrEnum):
    """How tokens may be signed (RFC 7518 §3.1, RFC 8037 §3.1); none with a shared secret."""

    RS256 = "RS256"
    RS384 = "RS384"
    RS512 = "RS512"
    PS256 = "PS256"
    PS384 = "PS384"
    PS512 = "PS512"
    ES256 = "ES256"
    ES384 = "ES384"
    ES512 = "ES512"
    EDDSA = "EdDSA"


class Envelope(StrEnum):
    PARLAYX = "parlayx"
    ONEAPI = "oneapi"


class Access(StrEnum):
    """Who may see a page: anybody, or the operator."""

    OPEN = "open"
    ADMIN = "admin"


class Synchronous(StrEnum):
    FULL = "full"
    NORMAL = "normal"


class Level(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Format(StrEnum):
    TEXT = "text"
    JSON = "json"


# --- sections -----------------------------------------------------------------------------------------


class HttpSettings(Section):
    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    public_url: Annotated[str, matching(WEB_URL, "an http or https URL")] = ""
    trusted_proxies: Texts = ()
    tls_cert: FilePath = None
    tls_key: FilePath = None
    allow_plain: bool = False
    allowed_origins: Origins = ()
    docs: Access = Access.OPEN
    metrics: Access = Access.OPEN

    @property
    def tls(self) -> bool:
        return self.tls_cert is not None


class Verify(StrEnum):
    """Whose certificate is checked: of servers we connect to, of clients too, of nobody."""

    PEER = "peer"
    MUTUAL = "mutual"
    NONE = "none"


class CertificateSettings(Section):
    """A certificate and its key; further ones are for clients that ask for one of their names."""

    cert: FilePath = None
    key: FilePath = None


class TlsSettings(CertificateSettings):
    ca: FilePath = None
    verify: Verify = Verify.PEER
    certificates: tuple[CertificateSettings, ...] = ()


class SipSettings(Section):
    listen: Endpoints = ("udp:127.0.0.1:5060", "tcp:127.0.0.1:5060")
    advertise: Endpoints = ()
    domain: Domain = "example.com"
    minimum_digest: Digest = Digest.MD5
    dns: bool = True
    name_servers: NameServers = ()
    dns_timeout: Annotated[float, Field(gt=0, le=10)] = 3.0
    failover_after: Annotated[float, Field(ge=1, le=20)] = 8.0
    avoid_failed: Annotated[float, Field(ge=0, le=3600)] = 30.0
    tls: TlsSettings = TlsSettings()

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        return tuple(map(Endpoint.parse, self.listen))

    @property
    def advertised(self) -> tuple[tuple[Endpoint, Endpoint | None], ...]:
        """Each listener and what Via and Contact say of it; None: its own bound address.

        The entries of a protocol belong to the listeners of that protocol in order. Port 0 in an entry stands
        for the bound port.
        """
        left = [Endpoint.parse(text) for text in self.advertise]
        pairs: list[tuple[Endpoint, Endpoint | None]] = []
        for listener in self.endpoints:
            told = next((said for said in left if said.protocol == listener.protocol), None)
            if told is not None:
                left.remove(told)
            pairs.append((listener, told))
        return tuple(pairs)


class PresenceServerSettings(Section):
    """The default presence server."""

    mode: Mode = Mode.EMBEDDED
    profile: str = ""
    next_hop: NextHops = ()
    route: Annotated[
        tuple[Annotated[str, AfterValidator(check_route)], ...], BeforeValidator(as_list)
    ] = ()
    identity: NetworkIdentity = NetworkIdentity.DIGEST
    register_: Annotated[bool, Field(alias="register")] = False  # every class has a `register`
    headers: Annotated[dict[str, str], AfterValidator(check_headers)] = {}
    unenforceable: Unenforceable = Unenforceable.REFUSE


class DomainServerSettings(PresenceServerSettings):
    """The presence server of one domain."""

    domain: Domain


def one_for_all(value: Any) -> Any:
    """`[peers]` is short for one `[[peers]]` entry that matches everything."""
    return [value] if isinstance(value, dict) else value


class PeerSettings(Section):
    """How presence servers are treated that `match` names: by domain, or by host of a next hop.

    profile: a name or a path, see `profiles`.
    """

    match: Annotated[str, matching(PEERS, "'*', a domain or '*.example.com'")] = "*"
    profile: str = ""
    probe: Annotated[float, Field(ge=0, le=3600)] = 10.0
    budget: Annotated[float, Field(gt=0, le=100_000)] = 50.0

    def covers(self, name: str) -> bool:
        """Does `match` name this domain or host?"""
        wanted, name = self.match.lower(), name.lower()
        return wanted in ("*", name) or (wanted[:2] == "*." and name.endswith(wanted[1:]))


class PolicySettings(Section):
    """A decision by pattern. attributes: what `allow` shows; empty: all."""

    presentity: Annotated[str, AfterValidator(check_whose)] = "*"
    watcher: Annotated[str, AfterValidator(check_watchers)]
    sub_handling: SubHandlingWord = SubHandlingWord.ALLOW
    attributes: Annotated[tuple[AttributeKind, ...], BeforeValidator(as_list)] = ()


class AgentSettings(Section):
    sub_handling: SubHandlingWord = SubHandlingWord.CONFIRM
    authenticate: bool = False
    anonymous: bool = False
    trusted_peers: Annotated[
        tuple[Annotated[str, AfterValidator(check_peer)], ...], BeforeValidator(as_list)
    ] = ()
    users_file: FilePath = None
    algorithms: Annotated[
        tuple[ServerDigest, ...], BeforeValidator(as_list), Field(min_length=1)
    ] = (ServerDigest.SHA_256, ServerDigest.MD5)
    qop: Annotated[tuple[ServerQop, ...], BeforeValidator(as_list), Field(min_length=1)] = (
        ServerQop.AUTH,
        ServerQop.AUTH_INT,
    )
    registrar: bool = True
    nat: NatWord = NatWord.OFF
    entity_tags: bool = True
    rate_control: bool = True
    compression: bool = True
    min_expires: Annotated[int, Field(ge=0, le=86400)] = 60
    default_expires: Annotated[int, Field(ge=1, le=2**31)] = 3600
    max_expires: Annotated[int, Field(ge=1, le=2**31)] = 86400
    list_depth: Annotated[int, Field(ge=1, le=8)] = 4
    list_gather: Annotated[float, Field(ge=0, le=60)] = 0.1
    policies: tuple[PolicySettings, ...] = ()


class GatewaySettings(Section):
    """How long what applications hold lives. 0: for ever."""

    publication_lifetime: Seconds = 86400.0
    subscription_idle: Seconds = 7 * 86400.0
    fetch_wait: Seconds = 1.0


class GroupSettings(Section):
    """Without members: a list that the presence server of its domain keeps."""

    uri: Annotated[str, AfterValidator(check_identity)]
    members: Annotated[
        tuple[Annotated[str, AfterValidator(check_identity)], ...], BeforeValidator(as_list)
    ] = ()


class BayeuxSettings(Section):
    timeout: Positive = 30.0
    max_interval: Positive = 30.0
    max_sessions_per_application: Annotated[int, Field(ge=1, le=10_000)] = 200
    queue_events: Annotated[int, Field(ge=10, le=1_000_000)] = 1000
    queue_bytes: Annotated[int, Field(ge=65_536)] = 1024 * 1024
    callback_polling: bool = False


class OcsgSettings(Section):
    sessions: bool = False
    session_lifetime: Positive = 86400.0
    stringify_scalars: bool = False
    null_for_absent: bool = False
    error_envelope: Envelope = Envelope.PARLAYX


class BemsSettings(Section):
    session_timeout: Annotated[float, Field(ge=1, le=MAX_SECONDS)] = 86400.0
    lookup_expiry: Annotated[float, Field(ge=1, le=MAX_SECONDS)] = 180.0
    change_method: Annotated[str, Field(min_length=1, max_length=128)] = "ContactStateChanged"
    hold: Positive = 30.0
    queue_length: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    max_sessions: Annotated[int, Field(ge=1)] = 10_000
    max_contacts: Annotated[int, Field(ge=1, le=100_000)] = 1000
    wake_url: Annotated[str, AfterValidator(check_target)] = ""
    wake_interval: Positive = 10.0


class MappingSettings(Section):
    file: FilePath = None


class StoreSettings(Section):
    url: Annotated[str, AfterValidator(check_store)] = ""
    synchronous: Synchronous = Synchronous.FULL
    key_file: FilePath = None
    takeover_after: Seconds = 0.0


class LogSettings(Section):
    level: Level = Level.INFO
    format: Format = Format.TEXT
    sip_trace: bool = False


class TraceSettings(Section):
    pcap: FilePath = None
    pcap_bytes: Annotated[int, Field(ge=1_000_000)] = 1_000_000_000
    hep: Annotated[str, AfterValidator(check_host_port)] = ""
    hep_id: Annotated[int, Field(ge=0, le=2**32 - 1)] = 2001
    hep_password: Annotated[
        SecretStr | None, BeforeValidator(lambda value: None if value == "" else value)
    ] = None


class AdminSettings(Section):
    password_hash: Hash = None


class WebhooksSettings(Section):
    allow_private: bool = False
    timeout: Positive = 10.0
    first_delay: Positive = 1.0
    longest_delay: Positive = 300.0
    max_age: Positive = 600.0
    max_attempts: Annotated[int, Field(ge=1, le=1000)] = 20
    concurrency: Annotated[int, Field(ge=1, le=10_000)] = 32
    per_application: Annotated[int, Field(ge=1, le=10_000)] = 8


class LimitsSettings(Section):
    min_frequency: Seconds = 0.0
    max_count: Count = 0
    allow_unlimited: bool = True
    default_duration: Positive = 86400.0
    min_notify_interval: Seconds = 0.0
    log_entries: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    log_bytes: Annotated[int, Field(ge=1024)] = 16 * 1024 * 1024
    log_age: Positive = 600.0
    max_subscriptions: Count = 100_000
    max_contracts: Count = 100_000
    requests_per_second: Seconds = 10_000.0
    publishes_per_second: Seconds = 100.0
    connections_per_address: Annotated[int, Field(ge=1, le=1_000_000)] = 512


class JwtSettings(Section):
    """Signed tokens. Without issuer and audience there are none."""

    issuer: str = ""
    audience: str = ""
    keys_file: FilePath = None
    keys_url: Annotated[str, AfterValidator(check_keys_url)] = ""
    keys_refresh: Annotated[float, Field(ge=1, le=86400)] = 300.0
    identity_claim: Annotated[str, Field(min_length=1)] = "sub"
    application: str = ""
    application_claim: str = ""
    algorithms: Annotated[tuple[Algorithm, ...], BeforeValidator(as_list), Field(min_length=1)] = (
        Algorithm.RS256,
        Algorithm.PS256,
        Algorithm.ES256,
        Algorithm.EDDSA,
    )
    leeway: Annotated[float, Field(ge=0, le=300)] = 30.0


class AuthSettings(Section):
    jwt: JwtSettings = JwtSettings()


class TokenSettings(Section):
    """A token that the operator wrote down. identity: of whom it is; "": of the application itself."""

    token: Token | None = None
    token_file: FilePath = None
    application: Annotated[str, Field(min_length=1)]
    identity: Annotated[
        str, AfterValidator(lambda text: check_identity(text) if text else text)
    ] = ""


class IdentitySettings(Section):
    """A person with several names."""

    uri: Annotated[str, AfterValidator(check_identity)]
    aliases: Annotated[
        tuple[Annotated[str, AfterValidator(check_alias)], ...], BeforeValidator(as_list)
    ] = ()
    bot: bool = False


class ApplicationSettings(Section):
    id: Annotated[str, Field(min_length=1), matching(CHANNEL_SEGMENT, "a Bayeux channel segment")]
    password: SecretStr | None = None
    password_file: FilePath = None
    password_hash: Hash = None
    uri: Annotated[str, AfterValidator(check_identity)]
    sip_password: SecretStr | None = None
    sip_password_file: FilePath = None
    sip_username: str = ""
    sip_realm: str = ""
    acts_for: Patterns = ()
    webhooks: bool = False
    webhook_secret: Annotated[SecretStr | None, AfterValidator(check_webhook_secret)] = None
    webhook_secret_file: FilePath = None
    auth_tokens: tuple[ShortToken, ...] = ()

    @property
    def identity(self) -> Uri:
        return Uri.parse(self.uri)


class Settings(Section):
    """The whole configuration. `directory` is where relative paths start."""

    http: HttpSettings = HttpSettings()
    sip: SipSettings = SipSettings()
    presence_server: PresenceServerSettings = PresenceServerSettings()
    presence_servers: tuple[DomainServerSettings, ...] = ()
    peers: Annotated[tuple[PeerSettings, ...], BeforeValidator(one_for_all)] = ()
    agent: AgentSettings = AgentSettings()
    gateway: GatewaySettings = GatewaySettings()
    bayeux: BayeuxSettings = BayeuxSettings()
    ocsg: OcsgSettings = OcsgSettings()
    bems: BemsSettings = BemsSettings()
    mapping: MappingSettings = MappingSettings()
    store: StoreSettings = StoreSettings()
    log: LogSettings = LogSettings()
    trace: TraceSettings = TraceSettings()
    limits: LimitsSettings = LimitsSettings()
    webhooks: WebhooksSettings = WebhooksSettings()
    admin: AdminSettings = AdminSettings()
    auth: AuthSettings = AuthSettings()
    applications: tuple[ApplicationSettings, ...] = ()
    groups: tuple[GroupSettings, ...] = ()
    tokens: tuple[TokenSettings, ...] = ()
    identities: tuple[IdentitySettings, ...] = ()
    _directory: Path = Path()

    @property
    def directory(self) -> Path:
        return self._directory

    @property
    def embedded(self) -> bool:
        """Does any domain need the presence agent of our own?"""
        servers = (self.presence_server, *self.presence_servers)
        return any(server.mode is Mode.EMBEDDED for server in servers)

    def peer_for(self, server: PresenceServerSettings, domain: str) -> PeerSettings:
        """How that server is treated: as the first entry says that names its domain or a next hop.

        A profile of its own counts before that of the entry.
        """
        names = [domain, *(Uri.parse(hop).host for hop in server.next_hop)]
        covering = (p for p in self.peers if any(p.covers(name) for name in names if name))
        found = next(covering, PeerSettings())
        if server.profile:
            found = found.model_copy(update={"profile": server.profile})
        return found

    def server_for(self, domain: str) -> PresenceServerSettings:
        """The presence server of a domain: its own entry, else the default one."""
        wanted = domain.lower()
        return next(
            (s for s in self.presence_servers if s.domain.lower() == wanted), self.presence_server
        )
