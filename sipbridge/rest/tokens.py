"""Who a token proves: one question, `Tokens`, for every front and every place a token may stand in.

A token is either one that the operator wrote down (`[[tokens]]`, `applications.auth_tokens`), or a JSON Web
Token (RFC 7519) signed by the issuer that the operator trusts. Nothing of a token is believed before its
signature is verified:

* the algorithm is one of the asymmetric ones that are allowed, and one of those that the key is made for:
  what `alg` says chooses among keys that fit and never how a key is read, so neither `none` nor a public
  key taken for an HMAC secret can happen (RFC 8725 §3.1, §3.2);
* `iss`, `aud`, `exp` and the identity claim have to be there; `nbf` counts where it is (RFC 7519 §4.1);
* a critical header (`crit`) that nobody here knows refuses the token (RFC 7515 §4.1.11).

The identity claim names a person, the application is the one that the operator named for these tokens, or
that a claim names, else the one whose own identity that person is. Whether the application may act as the
person is asked of `Holder`. A caller that a person's token proves is bound to that person.

Keys come from `read`, which gives a JWK Set (RFC 7517) or PEM. They are read again when they are old, and
when a token names a key that is not there, but not more often than `RETRY` seconds; what was read last
counts while nothing new can be had, up to a day.
"""

import asyncio
import hashlib
import json
import os
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jwt
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from sipbridge.gateway.caller import Caller
from sipbridge.gateway.ports import Clock
from sipbridge.rest.faults import unauthenticated

MAX_TOKEN = 8192
"""Characters of a token; what usual servers take as a whole header."""
MAX_KEYS = 100
"""Keys that are read; an issuer that changes its key has two."""
MAX_TRIED = 4
"""Keys tried on a token that does not say which; each takes up to a tenth of a millisecond."""
RETRY = 10.0
"""Seconds between two attempts to read keys that were asked for in vain."""
LONGEST = 86400.0
"""Seconds that keys count for while nothing new can be read."""
MIN_RSA_BITS = 2048
"""RFC 7518 §3.3."""

REMEMBER = 60.0
"""Seconds that a verified token is believed without looking again; but not beyond its own end."""
MAX_REMEMBERED = 4096
"""Tokens remembered at a time."""

CHALLENGE = ((b"www-authenticate", b'Bearer realm="sipbridge", error="invalid_token"'),)
"""RFC 6750 §3."""

ALGORITHMS = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
)
"""All that are known; those with a shared secret are not."""
CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
RSA = frozenset(name for name in ALGORITHMS if name[:2] in ("RS", "PS"))
PEM_BEGIN = "-----BEGIN "

UNBELIEVABLE = (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError)
"""What the library raises at tokens that do not verify, and at odd ones."""

Owner = tuple[str, str]
"""Application and identity, as `Holder` takes them."""
Key = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey
Read = Callable[[], Awaitable[bytes]]
"""The keys as they are now: a JWK Set or PEM. Raises OSError or ValueError."""
Holder = Callable[[str, str], Caller | None]
"""Application ("" if the identity has to say) and identity ("": the application's own) to the caller.

None: there is no such application, it may not call, or it may not act as that person.
"""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key, and what it may verify. id: "" if it has none."""

    id: str
    algorithms: frozenset[str]
    key: Key


def read_keys(text: bytes) -> list[PublicKey]:
    """The keys of a JWK Set, one JWK, or PEM keys and certificates. Raises ValueError if none will do."""
    found = read_pem(text) if text.lstrip().startswith(PEM_BEGIN.encode()) else read_jwks(text)
    if not found:
        raise ValueError("there is no public key for signatures in it")
    return found[:MAX_KEYS]


def read_pem(text: bytes) -> list[PublicKey]:
    """Raises ValueError."""
    blocks = [PEM_BEGIN + block for block in text.decode("ascii").split(PEM_BEGIN)[1:]]
    found: list[PublicKey] = []
    for block in blocks[:MAX_KEYS]:
        try:
            if block.startswith(f"{PEM_BEGIN}CERTIFICATE"):
                key: object = x509.load_pem_x509_certificate(block.encode()).public_key()
            else:
                key = load_pem_public_key(block.encode())
        except UnsupportedAlgorithm as error:
            raise ValueError(str(error)) from None
        if algorithms := algorithms_of(key):
            found.append(PublicKey("", algorithms, key))  # type: ignore[arg-type]
    return found


def read_jwks(text: bytes) -> list[PublicKey]:
    """Raises ValueError. Single keys that cannot be used are left out (RFC 7517 §5)."""
    whole = json.loads(text)
    entries = whole.get("keys", [whole]) if isinstance(whole, dict) else None
    if not isinstance(entries, list):
        raise ValueError("no JWK Set")
    found = [key for entry in entries[:MAX_KEYS] if (key := read_jwk(entry)) is not None]
    return found


def read_jwk(entry: Any) -> PublicKey | None:
    """A key for signatures, None if it is for something else, secret, weak or unknown."""
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
        return None
    if entry.get("kty") == "oct" or "verify" not in entry.get("key_ops", ("verify",)):
        return None
    try:
        key: object = jwt.PyJWK({k: v for k, v in entry.items() if k != "alg"}).key
    except (jwt.PyJWTError, KeyError, TypeError, ValueError):
        return None
    if hasattr(key, "public_key"):
        key = key.public_key()
    algorithms = algorithms_of(key)
    if isinstance(said := entry.get("alg"), str):
        algorithms &= {said}
    id = entry.get("kid")
    if not algorithms:
        return None
    return PublicKey(id if isinstance(id, str) else "", algorithms, key)  # type: ignore[arg-type]


def algorithms_of(key: object) -> frozenset[str]:
    """What a key of this type can verify; nothing for types that are not meant for it."""
    if isinstance(key, RSAPublicKey):
        return RSA if key.key_size >= MIN_RSA_BITS else frozenset()
    if isinstance(key, EllipticCurvePublicKey) and key.curve.name in CURVES:
        return frozenset({CURVES[key.curve.name]})
    return frozenset({"EdDSA"}) if isinstance(key, Ed25519PublicKey) else frozenset()


class KeyRing:
    """The issuer's keys. refresh: seconds after which they are read again. now: monotonic seconds."""

    def __init__(
        self,
        read: Read,
        refresh: float,
        now: Callable[[], float],
        failed: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self.read = read
        self.refresh = refresh
        self.now = now
        self.failed = failed
        self.keys: list[PublicKey] = []
        self.fresh_at = 0.0
        self.tried_at: float | None = None
        self.reading: asyncio.Task[None] | None = None
        self.generation = 0
        """How often keys were read."""

    async def find(self, id: str, algorithm: str) -> list[Key]:
        """The keys that may have signed a token with these words in its header."""
        if not self.keys or self.now() >= self.fresh_at + self.refresh:
            await self.renew()
        found = self.fitting(id, algorithm)
        if not found and await self.renew():
            found = self.fitting(id, algorithm)
        return found

    def fitting(self, id: str, algorithm: str) -> list[Key]:
        if self.now() >= self.fresh_at + max(self.refresh, LONGEST):
            return []
        fit = [k for k in self.keys if algorithm in k.algorithms]
        named = [k for k in fit if id and k.id == id]
        return [k.key for k in named or [k for k in fit if not id or not k.id]][:MAX_TRIED]

    async def renew(self) -> bool:
        """Read the keys, once for all who wait, unless that was tried a moment ago."""
        if self.reading is None:
            if self.tried_at is not None and self.now() < self.tried_at + RETRY:
                return False
            self.tried_at = self.now()
            self.reading = asyncio.get_running_loop().create_task(self.take())
        await asyncio.shield(self.reading)
        return True

    async def take(self) -> None:
        try:
            self.keys = read_keys(await self.read())
            self.fresh_at = self.now()
            self.generation += 1
        except (OSError, ValueError, RecursionError) as error:
            self.failed(str(error) or type(error).__name__)
        finally:
            self.reading = None


@dataclass(frozen=True, slots=True)
class Issuer:
    """Whose tokens count, and what they say. leeway: seconds that clocks may differ.

    application: of all these tokens; application_claim: the claim that says it instead. Both "": the one
    whose own identity the token names.
    """

    issuer: str
    audience: str
    identity_claim: str = "sub"
    application: str = ""
    application_claim: str = ""
    algorithms: frozenset[str] = frozenset(ALGORITHMS)
    leeway: float = 30.0


@dataclass(frozen=True, slots=True)
class Remembered:
    """A token that was verified: whom it names, when it was looked at, its end (monotonic), by which keys."""

    owner: Owner
    looked: float
    ends: float
    generation: int


class Tokens:
    """A token to the caller it proves, or None."""

    def __init__(
        self,
        holder: Holder,
        written: Mapping[str, tuple[str, str]],
        issuer: Issuer | None = None,
        keys: KeyRing | None = None,
        clock: Clock | None = None,
    ) -> None:
        """written: tokens of the configuration to (application, identity).

        issuer, keys, clock: for signed tokens; without all of them these prove nobody.
        """
        self.holder = holder
        self.secret = os.urandom(32)
        self.written = {self.digest(token): owner for token, owner in written.items()}
        self.issuer = issuer
        self.keys = keys
        self.clock = clock
        self.remembered: OrderedDict[bytes, Remembered] = OrderedDict()

    async def __call__(self, token: str) -> Caller | None:
        if not token or len(token) > MAX_TOKEN or not token.isascii():
            return None
        # Looked up by a keyed hash: how long that takes says nothing about any token.
        digest = self.digest(token)
        owner = self.written.get(digest)
        if owner is not None:
            return self.holder(*owner)
        if token.count(".") != 2 or self.clock is None or self.keys is None:
            return None
        known = self.recall(digest, self.clock, self.keys)
        known = known or await self.look(token, digest, self.clock, self.keys)
        caller = self.holder(*known.owner) if known is not None else None
        return replace(caller, until=known.ends) if caller is not None and known else None

    def recall(self, digest: bytes, clock: Clock, keys: KeyRing) -> Remembered | None:
        """What was verified a moment ago, by keys that still are the newest."""
        known = self.remembered.get(digest)
        if known is None or known.generation != keys.generation:
            return None
        return known if clock.now() < min(known.looked + REMEMBER, known.ends) else None

    async def look(
        self, token: str, digest: bytes, clock: Clock, keys: KeyRing
    ) -> Remembered | None:
        """Whom a signed token names, remembered for a while."""
        claims = await self.claims(token)
        owner = self.named(claims) if claims is not None else None
        if claims is None or owner is None or self.issuer is None:
            return None
        left = int(claims["exp"]) + self.issuer.leeway - clock.at().timestamp()
        made = Remembered(owner, clock.now(), clock.now() + left, keys.generation)
        self.remembered[digest] = made
        while len(self.remembered) > MAX_REMEMBERED:
            self.remembered.popitem(last=False)
        return made

    def digest(self, token: str) -> bytes:
        return hashlib.blake2b(token.encode(), key=self.secret).digest()

    async def claims(self, token: str) -> Mapping[str, Any] | None:
        """What a signed token says; None if any of it cannot be believed."""
        issuer, keys = self.issuer, self.keys
        if issuer is None or keys is None:
            return None
        try:
            header = jwt.get_unverified_header(token)
        except UNBELIEVABLE:
            return None
        algorithm, id = header.get("alg"), header.get("kid", "")
        if not isinstance(algorithm, str) or not isinstance(id, str) or "crit" in header:
            return None
        if algorithm not in issuer.algorithms:
            return None
        for key in await keys.find(id, algorithm):
            try:
                return verified(token, key, algorithm, issuer)
            except jwt.InvalidSignatureError:
                continue
            except UNBELIEVABLE:
                return None
        return None

    def named(self, claims: Mapping[str, Any]) -> Owner | None:
        issuer = self.issuer
        if issuer is None:
            return None
        identity = claims.get(issuer.identity_claim)
        application: object = issuer.application
        if issuer.application_claim:
            application = claims.get(issuer.application_claim) or application
        if not isinstance(identity, str) or not identity or not isinstance(application, str):
            return None
        return application, identity


def verified(token: str, key: Key, algorithm: str, issuer: Issuer) -> Mapping[str, Any]:
    """The claims. Raises PyJWTError."""
    return jwt.decode(
        token,
        key,
        algorithms=[algorithm],
        audience=issuer.audience,
        issuer=issuer.issuer,
        leeway=issuer.leeway,
        options={"require": ["iss", "aud", "exp", issuer.identity_claim]},
    )


def bearer(headers: Mapping[str, str]) -> str | None:
    """The token of `Authorization: Bearer` (RFC 6750 §2.1); None if there is no such header."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


class BearerAuthenticator:
    """`Authorization: Bearer`. A token that proves nobody is refused at once: Refused (401)."""

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens

    async def __call__(self, headers: Mapping[str, str]) -> Caller | None:
        token = bearer(headers)
        if token is None:
            return None
        caller = await self.tokens(token)
        if caller is None:
            raise unauthenticated(CHALLENGE)
        return caller


Verify = Callable[[str], Awaitable[Caller | None]]
"""What fronts with places of their own for a token are handed: `Tokens`."""
