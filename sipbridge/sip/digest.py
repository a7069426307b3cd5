"""Digest authentication, both sides (RFC 3261 §22, RFC 7616, algorithms of RFC 8760).

Client: `Challenge.parse` reads WWW-Authenticate or Proxy-Authenticate, `select` picks for each realm the
topmost challenge we can answer and that is not below the configured minimum (RFC 8760 §2.4), `answer`
writes the credentials. With `qop` the answer has cnonce and nc, without it the old form of RFC 2069.
`Session` remembers nonce and nc between requests, so that the next one is authenticated without asking, and
follows Authentication-Info.

Server: `DigestServer` keeps nothing of those who only ask; of whoever has proven to know a password it
remembers which counts (nc) have served, each once (`nonces`). Credentials for a nonce that is too old or not
ours are answered with `stale=true` and never looked at: right or wrong, the answer is the same, so a password
can only be tried against a nonce that lives, and each wrong try is told (`Refused.guessed`). Clients may
answer without qop and cnonce although qop was offered, and may quote nc: libpurple does both; aiovoip, an
heir of aiosip, counts nc without leading zeros. Passwords never come here, only HA1 values.
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from sipbridge.errors import LocalProtocolError, ParseError
from sipbridge.sip.grammar import LWS, QUOTED, TOKEN, quote, unquote
from sipbridge.sip.nonces import Nonces
from sipbridge.sip.policy import Credentials
from sipbridge.uri import Uri

HASHES: dict[str, str] = {"MD5": "md5", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}
STRENGTH = ("MD5", "SHA-256", "SHA-512-256")
"""Weakest first, for the configured minimum."""

MAX_CREDENTIALS = 8192
"""Characters of one Authorization value, as of any header line."""
NONCE_LIFE = 300.0
"""Seconds a nonce lives: long enough for a few refreshes, short enough for a stolen answer to age."""

SCHEME = re.compile(rf"{LWS}({TOKEN})(?:[ \t]+([\s\S]*))?")
PAIR = re.compile(rf"[ \t,]*({TOKEN}){LWS}={LWS}({QUOTED}|[^\s,\"]*){LWS}(?:,|$)")
HEX = re.compile(r"[0-9A-Fa-f]+")
NC = re.compile(r"[0-9A-Fa-f]{1,8}")
QOPS = ("auth", "auth-int")


def parse_pairs(text: str, name: str) -> dict[str, str]:
    """`a=b, c="d"` to lower-case names and unquoted values. Raises ParseError naming the header."""
    pairs: dict[str, str] = {}
    at = 0
    while at < len(text) and text[at:].strip(" \t,"):
        found = PAIR.match(text, at)
        if not found:
            raise ParseError(f"{text[at : at + 40]!r} is malformed", field=name, offset=at)
        key = found[1].lower()
        if key in pairs:
            raise ParseError(f"{key} stands twice", field=name)
        pairs[key] = unquote(found[2])
        at = found.end()
    return pairs


def split_scheme(text: str, name: str) -> tuple[str, dict[str, str]]:
    """Scheme and parameters of a challenge or of credentials."""
    found = SCHEME.fullmatch(text)
    if not found or len(text) > MAX_CREDENTIALS:
        raise ParseError("is malformed", field=name)
    if found[1].lower() != "digest":
        return found[1], {}
    return "Digest", parse_pairs(found[2] or "", name)


def normal_algorithm(text: str) -> str:
    """The registered spelling: hash names in capitals, "-sess" small; unknown ones as they came."""
    base = text[:-5] if text.lower().endswith("-sess") else text
    spelling = base.upper() if base.upper() in HASHES else base
    return spelling + ("-sess" if base != text else "")


def base_of(algorithm: str) -> str:
    """`MD5` for `MD5-sess`."""
    return algorithm.removesuffix("-sess")


def digest(algorithm: str, text: bytes) -> str:
    """H() of RFC 7616 §3.2: lower-case hex.

    The algorithm has to be one of HASHES, with or without "-sess".
    """
    return hashlib.new(HASHES[base_of(algorithm)], text, usedforsecurity=False).hexdigest()


def ha1(algorithm: str, username: str, realm: str, password: str) -> str:
    """H(username:realm:password): what a server may store instead of the password (no "-sess" part in it)."""
    return digest(algorithm, f"{username}:{realm}:{password}".encode())


def userhash(algorithm: str, username: str, realm: str) -> str:
    """H(username:realm), RFC 7616 §3.4.4."""
    return digest(algorithm, f"{username}:{realm}".encode())


def response(
    algorithm: str,
    secret: str,
    method: str,
    uri: str,
    nonce: str,
    *,
    qop: str | None = None,
    nc: str = "",
    cnonce: str = "",
    body: bytes = b"",
) -> str:
    """The `response` value (RFC 7616 §3.4.1). `secret` is `ha1()`; method "" gives rspauth (§3.5)."""
    if algorithm.endswith("-sess"):
        secret = digest(algorithm, f"{secret}:{nonce}:{cnonce}".encode())
    a2 = f"{method}:{uri}"
    if qop == "auth-int":
        a2 += f":{digest(algorithm, body)}"
    middle = f"{nonce}:{nc}:{cnonce}:{qop}" if qop else nonce
    return digest(algorithm, f"{secret}:{middle}:{digest(algorithm, a2.encode())}".encode())


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge. For a scheme other than Digest only `scheme` is filled."""

    scheme: str
    realm: str = ""
    nonce: str = ""
    algorithm: str | None = None
    qop: tuple[str, ...] = ()
    opaque: str | None = None
    stale: bool = False
    domain: tuple[str, ...] = ()
    userhash: bool = False
    charset: str | None = None
    proxy: bool = False

    @classmethod
    def parse(cls, text: str, *, proxy: bool = False) -> "Challenge":
        """Read one header value. `proxy`: it came as Proxy-Authenticate (407). Raises ParseError."""
        name = "Proxy-Authenticate" if proxy else "WWW-Authenticate"
        scheme, pairs = split_scheme(text, name)
        if scheme != "Digest":
            return cls(scheme, proxy=proxy)
        if "realm" not in pairs or "nonce" not in pairs:
            raise ParseError("realm or nonce is missing", field=name)
        algorithm = pairs.get("algorithm")
        return cls(
            scheme,
            pairs["realm"],
            pairs["nonce"],
            normal_algorithm(algorithm) if algorithm else None,
            tuple(
                word for part in pairs.get("qop", "").split(",") if (word := part.strip().lower())
            ),
            pairs.get("opaque"),
            pairs.get("stale", "").lower() == "true",
            tuple(pairs.get("domain", "").split()),
            pairs.get("userhash", "").lower() == "true",
            pairs.get("charset"),
            proxy,
        )

    @property
    def effective_algorithm(self) -> str:
        """The algorithm, MD5 where none is named (RFC 7616 §3.3)."""
        return self.algorithm or "MD5"

    @property
    def usable(self) -> bool:
        """Can we answer it? Digest, a hash we have, and a qop we know if one is asked for."""
        known = not self.qop or "auth" in self.qop or "auth-int" in self.qop
        return self.scheme == "Digest" and base_of(self.effective_algorithm) in HASHES and known

    def is_at_least(self, minimum: str) -> bool:
        """Is the algorithm as strong as `minimum` (one of STRENGTH)?"""
        if minimum not in STRENGTH:
            raise LocalProtocolError(f"{minimum} is no digest algorithm")
        return STRENGTH.index(base_of(self.effective_algorithm)) >= STRENGTH.index(minimum)


def parse_challenges(values: Iterable[str], *, proxy: bool = False) -> list[Challenge]:
    """All readable challenges among header values, in order; a broken one is left out, the others still
    count.
    """
    challenges = []
    for value in values:
        try:
            challenges.append(Challenge.parse(value, proxy=proxy))
        except ParseError:
            continue
    return challenges


def select(challenges: Iterable[Challenge], minimum: str = "MD5") -> list[Challenge]:
    """For each realm the topmost challenge that can be answered (RFC 8760 §2.4); empty if there is none.

    Order and realms as they came; WWW and proxy challenges for one realm count apart.
    """
    chosen: dict[tuple[bool, str], Challenge] = {}
    for challenge in challenges:
        key = (challenge.proxy, challenge.realm)
        if key not in chosen and challenge.usable and challenge.is_at_least(minimum):
            chosen[key] = challenge
    return list(chosen.values())


def answer(
    challenge: Challenge,
    credentials: Credentials,
    method: str,
    uri: str,
    body: bytes,
    nc: int,
    cnonce: str,
) -> str:
    """The Authorization (Proxy-Authorization, if `challenge.proxy`) value; `uri` as in the request line.

    `auth` is preferred over `auth-int`: a proxy that touches the body must not cost us the subscription.
    Raises LocalProtocolError for a challenge that is not `usable`.
    """
    if not challenge.usable:
        raise LocalProtocolError(
            f"challenge {challenge.scheme} {challenge.algorithm} cannot be answered"
        )
    algorithm = challenge.effective_algorithm
    qop = "auth" if "auth" in challenge.qop else "auth-int" if challenge.qop else None
    count = f"{nc:08x}"
    secret = ha1(algorithm, credentials.username, challenge.realm, credentials.password)
    value = response(
        algorithm, secret, method, uri, challenge.nonce, qop=qop, nc=count, cnonce=cnonce, body=body
    )
    hashed = challenge.userhash
    user = (
        userhash(algorithm, credentials.username, challenge.realm)
        if hashed
        else credentials.username
    )
    parts = [
        f"username={quote(user)}",
        f"realm={quote(challenge.realm)}",
        f"nonce={quote(challenge.nonce)}",
        f"uri={quote(uri)}",
        f'response="{value}"',
    ]
    if challenge.algorithm:
        parts.append(f"algorithm={challenge.algorithm}")
    if qop or algorithm.endswith("-sess"):
        parts.append(f"cnonce={quote(cnonce)}")
    if qop:
        parts += [f"qop={qop}", f"nc={count}"]
    if challenge.opaque is not None:
        parts.append(f"opaque={quote(challenge.opaque)}")
    if hashed:
        parts.append("userhash=true")
    return "Digest " + ", ".join(parts)


def introduction(credentials: Credentials, uri: str) -> str:
    """The Authorization value of a first REGISTER: who we are, before anybody has asked for a proof.

    A home network finds the subscriber by the private identity in it (3GPP TS 24.229 §5.1.1.2.1).
    """
    user, realm = quote(credentials.username), quote(credentials.realm)
    return f'Digest username={user}, realm={realm}, nonce="", uri={quote(uri)}, response=""'


@dataclass(slots=True)
class Session:
    """One realm's nonce and how often it was used, to authenticate the next request unasked (RFC 7616 §3.4,
    3.6).
    """

    challenge: Challenge
    credentials: Credentials
    cnonce: str
    nc: int = 0
    last: tuple[str, str] = field(default=("", ""), repr=False)

    @property
    def header(self) -> str:
        """The header the answer goes into."""
        return "Proxy-Authorization" if self.challenge.proxy else "Authorization"

    def authorize(self, method: str, uri: str, body: bytes = b"") -> str:
        """The header value for the next request."""
        self.nc += 1
        self.last = (uri, f"{self.nc:08x}")
        return answer(self.challenge, self.credentials, method, uri, body, self.nc, self.cnonce)

    def learn(self, authentication_info: str, body: bytes = b"", uri: str = "") -> bool:
        """Read Authentication-Info: a nextnonce replaces the nonce.

        body: of the response. uri: of the request that it answers; "" for the last one. False if its rspauth
        is there and wrong.
        """
        try:
            pairs = parse_pairs(authentication_info, "Authentication-Info")
        except ParseError:
            return True
        good = "rspauth" not in pairs or hmac.compare_digest(
            pairs["rspauth"].lower().encode(),
            self.expected_rspauth(pairs, body, uri or self.last[0]).encode(),
        )
        if good and (following := pairs.get("nextnonce")):
            self.challenge = replace(self.challenge, nonce=following, stale=False)
            self.nc = 0
        return good

    def expected_rspauth(self, pairs: dict[str, str], body: bytes, uri: str) -> str:
        """What a server that knows the password says (RFC 7616 §3.5)."""
        algorithm = self.challenge.effective_algorithm
        secret = ha1(
            algorithm, self.credentials.username, self.challenge.realm, self.credentials.password
        )
        return response(
            algorithm,
            secret,
            "",
            uri,
            self.challenge.nonce,
            qop=pairs.get("qop"),
            nc=pairs.get("nc", self.last[1]),
            cnonce=self.cnonce,
            body=body,
        )


@dataclass(frozen=True, slots=True)
class Verified:
    """The credentials are right."""

    user: str


@dataclass(frozen=True, slots=True)
class Stale:
    """Challenge again with stale=true (RFC 7616 §3.3).

    The nonce is too old or not ours, and nobody has looked whether the rest is right; or the rest is right
    and this count of the nonce has served already.
    """


@dataclass(frozen=True, slots=True)
class Refused:
    """They are wrong; `reason` is for the log, never for the peer. `malformed`: 400 instead of 401.

    guessed: the response is wrong; all else would do, and it was made for a nonce of ours that lives.
    """

    reason: str
    malformed: bool = False
    guessed: bool = False


Verdict = Verified | Stale | Refused
Ha1Of = Callable[[str, str, str], str | None]
"""(user, realm, algorithm "MD5" or "SHA-256" …) → HA1 in hex, None for an unknown user."""


class DigestServer:
    """Challenges, and checks what comes back."""

    def __init__(
        self,
        realm: str,
        secret: bytes,
        algorithms: Sequence[str] = ("SHA-256", "MD5"),
        nonce_life: float = NONCE_LIFE,
        qops: Sequence[str] = QOPS,
    ) -> None:
        """`algorithms` in order of preference, `nonce_life` in seconds, `qops` what challenges offer."""
        if not secret or not algorithms or any(a not in HASHES for a in algorithms):
            raise LocalProtocolError("a digest server needs a secret and known algorithms")
        if not qops or any(qop not in QOPS for qop in qops):
            raise LocalProtocolError("a digest server offers auth, auth-int or both")
        self.realm = realm
        self._algorithms = tuple(algorithms)
        self._nonces = Nonces(secret, realm, nonce_life)
        self._qops = tuple(qops)

    def challenges(self, now: float, *, stale: bool = False) -> list[str]:
        """WWW-Authenticate values, one for each algorithm, the preferred first (RFC 8760 §2.3)."""
        nonce = self._nonces.make(now)
        end = ", stale=true" if stale else ""
        return [
            f'Digest realm={quote(self.realm)}, nonce="{nonce}", algorithm={algorithm}, '
            f'qop="{",".join(self._qops)}"{end}'
            for algorithm in self._algorithms
        ]

    def verify(
        self, value: str, method: str, uri: str, body: bytes, now: float, ha1_of: Ha1Of
    ) -> Verdict:
        """Check an Authorization value against the request it came with; `uri` is its Request-URI."""
        try:
            scheme, pairs = split_scheme(value, "Authorization")
        except ParseError as error:
            return Refused(str(error), malformed=True)
        if scheme != "Digest":
            return Refused(f"scheme {scheme[:20]}")
        why = self._unacceptable(pairs, uri)
        if why:
            return why
        nonce = pairs["nonce"]
        if not self._nonces.fresh(nonce, now):
            return Stale()  # before the response is judged, or passwords could be tried uncounted
        algorithm = normal_algorithm(pairs.get("algorithm") or "MD5")
        secret = ha1_of(pairs["username"], self.realm, base_of(algorithm))
        known = secret is not None and HEX.fullmatch(secret) is not None
        expected = response(
            algorithm,
            secret if known and secret is not None else "0",
            method,
            pairs["uri"],
            nonce,
            qop=pairs.get("qop", "").lower() or None,
            nc=pairs.get("nc", ""),
            cnonce=pairs.get("cnonce", ""),
            body=body,
        )
        # Computed and compared for unknown users too, so that the time taken does not tell them apart.
        same = hmac.compare_digest(expected.encode(), pairs["response"].lower().encode())
        if not (same and known):
            return Refused("wrong user or password", guessed=True)
        count = int(pairs["nc"], 16) if pairs.get("qop") else 0
        good = self._nonces.use(nonce, count, now)
        return Verified(pairs["username"]) if good else Stale()

    def _unacceptable(self, pairs: dict[str, str], uri: str) -> Refused | None:
        missing = [n for n in ("username", "realm", "nonce", "uri", "response") if n not in pairs]
        if missing:
            return Refused(f"{missing[0]} is missing", malformed=True)
        qop = pairs.get("qop", "").lower()
        if qop and (qop not in QOPS or not pairs.get("cnonce")):
            return Refused("qop is unknown or lacks its cnonce", malformed=True)
        if qop and not NC.fullmatch(pairs.get("nc", "")):
            return Refused("nc is no count", malformed=True)
        if pairs["realm"] != self.realm:
            return Refused("another realm")
        if base_of(normal_algorithm(pairs.get("algorithm") or "MD5")) not in self._algorithms:
            return Refused("an algorithm that was not offered")
        if not same_uri(pairs["uri"], uri):
            return Refused("the credentials are for another URI")
        return None


def claimed_user(value: str) -> str:
    """The user that an Authorization value names; "" where none can be read."""
    try:
        return split_scheme(value, "Authorization")[1].get("username", "")
    except ParseError:
        return ""


def same_uri(claimed: str, actual: str) -> bool:
    """Does the digest's `uri` mean the Request-URI (RFC 3261 §22.4)? A proxy may have rewritten its
    spelling.
    """
    if claimed == actual:
        return True
    try:
        return Uri.parse(claimed).matches(Uri.parse(actual))
    except ParseError:
        return False
