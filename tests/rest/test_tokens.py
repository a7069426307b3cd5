"""Whom a token proves, and the many ways in which it proves nobody."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sipbridge.gateway.caller import Caller
from sipbridge.rest import tokens as tokens_module
from sipbridge.rest.faults import Refused
from sipbridge.rest.tokens import (
    ALGORITHMS,
    MAX_TOKEN,
    REMEMBER,
    RETRY,
    BearerAuthenticator,
    Issuer,
    KeyRing,
    Tokens,
    bearer,
    read_keys,
    verified,
)
from sipbridge.uri import Uri
from tests.rest.conftest import IDENTITIES

RSA_KEY = rsa.generate_private_key(65537, 2048)
OTHER_RSA_KEY = rsa.generate_private_key(65537, 2048)
SMALL_RSA_KEY = rsa.generate_private_key(65537, 1024)
EC_KEYS = {
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "ES512": ec.generate_private_key(ec.SECP521R1()),
}
ED_KEY = ed25519.Ed25519PrivateKey.generate()
Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

ISSUER = Issuer("https://login.example.com", "sipbridge", application="portal")
WRITTEN = {
    "0123456789abcdef": ("portal", ""),
    "fedcba9876543210": ("portal", "sip:bob@example.com"),
}


def holder(application: str, identity: str) -> Caller | None:
    """The portal acts for everybody of example.com, Carol's application for Carol."""
    if application == "carol" or (not application and identity == "sip:carol@example.com"):
        uri = Uri.parse("sip:carol@example.com")
        return Caller("carol", uri, IDENTITIES.canonical(uri))
    if application != "portal" or not f"{identity or '@example.com'}".endswith("@example.com"):
        return None
    uri = Uri.parse(identity or "sip:portal@example.com")
    return Caller(application, uri, IDENTITIES.canonical(uri), bound=bool(identity))


def jwk(key: Private, **more: object) -> dict[str, Any]:
    if isinstance(key, rsa.RSAPrivateKey):
        made = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        made = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    else:
        made = jwt.algorithms.OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {**made, **more}


def key_set(*entries: object) -> bytes:
    return json.dumps({"keys": entries}).encode()


def pem(key: Private) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@dataclass
class Source:
    """Where the keys are; counts how often somebody looks."""

    text: bytes
    asked: int = 0
    failures: list[str] = field(default_factory=list)
    time: float = 1000.0

    async def read(self) -> bytes:
        self.asked += 1
        await asyncio.sleep(0)
        if not self.text:
            raise OSError("nobody answers")
        return self.text

    def ring(self, refresh: float = 300.0) -> KeyRing:
        return KeyRing(self.read, refresh, lambda: self.time, self.failures.append)


def tokens(text: bytes = b"", issuer: Issuer = ISSUER) -> Tokens:
    return asking(Source(text or key_set(jwk(RSA_KEY, kid="k1"))), issuer)


def asking(source: "Source", issuer: Issuer = ISSUER) -> Tokens:
    return Tokens(holder, WRITTEN, issuer, source.ring(), Clock(source))


def claims(**more: object) -> dict[str, Any]:
    made = {
        "iss": ISSUER.issuer,
        "aud": "sipbridge",
        "sub": "sip:alice@example.com",
        "exp": time.time() + 7200,
        **more,
    }
    return {name: value for name, value in made.items() if value is not None}


def signed(
    said: Mapping[str, object] | None = None,
    key: Private = RSA_KEY,
    algorithm: str = "RS256",
    **header: object,
) -> str:
    """Whatever is said, also what the library would not say."""
    payload = json.dumps(dict(claims() if said is None else said)).encode()
    return jwt.api_jws.encode(payload, key, algorithm, headers={"kid": "k1", **header})


def raw(payload: bytes) -> str:
    """Any bytes, signed by the right key."""
    return jwt.api_jws.encode(payload, RSA_KEY, "RS256", headers={"kid": "k1"})


def by_hand(header: Mapping[str, object], said: Mapping[str, object], secret: bytes = b"") -> str:
    """A token that no honest library makes."""
    parts = [
        base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=")
        for p in (dict(header), dict(said))
    ]
    body = b".".join(parts)
    signature = hmac.digest(secret, body, hashlib.sha256) if secret else b""
    return (body + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


async def test_a_token_of_the_configuration_stands_for_its_owner() -> None:
    found = await tokens()("0123456789abcdef")
    assert found is not None and (str(found.identity), found.bound) == (
        "sip:portal@example.com",
        False,
    )
    bob = await tokens()("fedcba9876543210")
    assert bob is not None and (str(bob.identity), bob.bound) == ("sip:bob@example.com", True)


async def test_a_signed_token_proves_the_person_it_names() -> None:
    found = await tokens()(signed())
    assert found is not None
    assert (found.application, found.identity, found.bound) == (
        "portal",
        Uri.parse("sip:alice@example.com"),
        True,
    )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_every_algorithm_with_its_key(algorithm: str) -> None:
    key: Private = EC_KEYS.get(algorithm, RSA_KEY)
    if algorithm == "EdDSA":
        key = ED_KEY
    for text in (
        key_set(jwk(key, kid="k1")),
        key_set(jwk(key)),
        pem(key),
        json.dumps(jwk(key)).encode(),
    ):
        assert await tokens(text)(signed(key=key, algorithm=algorithm)) is not None


@pytest.mark.parametrize(
    "token",
    [
        pytest.param("", id="nothing"),
        pytest.param("0123456789abcdeX", id="a token nobody wrote down"),
        pytest.param("a.b.c", id="no JSON"),
        pytest.param("..", id="dots"),
        pytest.param("0123456789abcdéf", id="not ASCII"),
        pytest.param(signed(claims(pad="x" * MAX_TOKEN)), id="too long"),
        pytest.param(signed(key=OTHER_RSA_KEY), id="another key"),
        pytest.param(signed()[:-6] + "AAAAAA", id="another signature"),
        pytest.param(signed(claims(exp=time.time() - 31)), id="over, beyond what clocks may differ"),
        pytest.param(signed(claims(nbf=time.time() + 3600)), id="not yet"),
        pytest.param(signed(claims(exp=None)), id="without end"),
        pytest.param(signed(claims(iss=None)), id="of nobody"),
        pytest.param(signed(claims(iss="https://evil.example.com")), id="of another issuer"),
        pytest.param(signed(claims(iss=["https://login.example.com"])), id="of a list"),
        pytest.param(signed(claims(aud=None)), id="for nobody"),
        pytest.param(signed(claims(aud="somebody-else")), id="for somebody else"),
        pytest.param(signed(claims(sub=None)), id="about nobody"),
        pytest.param(signed(claims(sub="")), id="about an empty name"),
        pytest.param(signed(claims(sub="sip:mallory@example.net")), id="about nobody of ours"),
        pytest.param(signed(crit=["x_unknown"], x_unknown=1), id="critical header"),
        pytest.param(signed(kid="k2"), id="a key that is not there"),
        pytest.param(by_hand({"alg": "none", "kid": "k1"}, claims()), id="alg none"),
        pytest.param(by_hand({"alg": "None", "kid": "k1"}, claims()), id="alg None"),
        pytest.param(by_hand({"kid": "k1"}, claims()), id="no alg"),
        pytest.param(by_hand({"alg": ["RS256"], "kid": "k1"}, claims()), id="alg list"),
        pytest.param(by_hand({"alg": "HS256", "kid": "k1"}, claims(), pem(RSA_KEY)), id="key as secret"),
        pytest.param(signed(claims(exp="soon")), id="an end that is no number"),
        pytest.param(signed(claims(exp=float("inf"))), id="an endless end"),
        pytest.param(signed(claims(exp=[[]])), id="an end that is a list"),
        pytest.param(signed(claims(iat="x")), id="a beginning that is no number"),
        pytest.param(signed(claims(aud={"a": 1})), id="for an object"),
        pytest.param(signed(claims(aud=[1])), id="for numbers"),
        pytest.param(signed(claims(sub=5)), id="about a number"),
        pytest.param(raw(b"[]"), id="a list"),
        pytest.param(raw(b"{" * 3000), id="no JSON inside"),
        pytest.param(raw(b'{"a":' + b"[" * 2000), id="deep"),
        pytest.param(by_hand({"alg": "RS256", "kid": "k1"}, claims(), pem(RSA_KEY)), id="HMAC called RS256"),
        pytest.param(by_hand({"alg": "RS256", "kid": 1}, claims()), id="kid is no text"),
        pytest.param(by_hand({"alg": "RS256", "jwk": jwk(OTHER_RSA_KEY)}, claims()), id="brings its key"),
    ],
)  # fmt: skip
async def test_a_token_that_proves_nobody(token: str) -> None:
    assert await tokens()(token) is None
    assert await tokens(pem(RSA_KEY))(token) is None or "k2" in str(
        jwt.get_unverified_header(token)
    )


async def test_a_key_in_the_token_itself_is_not_used() -> None:
    token = jwt.encode(claims(), OTHER_RSA_KEY, "RS256", headers={"jwk": jwk(OTHER_RSA_KEY)})
    assert await tokens()(token) is None


async def test_clocks_may_differ_by_the_leeway() -> None:
    late = signed(claims(exp=time.time() - 20))
    assert await tokens()(late) is not None
    strict = Issuer(ISSUER.issuer, ISSUER.audience, application="portal", leeway=0.0)
    assert await tokens(issuer=strict)(late) is None


async def test_an_algorithm_that_is_not_allowed_is_refused() -> None:
    only = Issuer(
        ISSUER.issuer, ISSUER.audience, application="portal", algorithms=frozenset({"ES256"})
    )
    assert await tokens(issuer=only)(signed()) is None
    text = key_set(jwk(EC_KEYS["ES256"], kid="k1"))
    assert await tokens(text, only)(signed(key=EC_KEYS["ES256"], algorithm="ES256")) is not None


async def test_a_key_serves_the_algorithms_it_is_made_for_and_no_other() -> None:
    text = key_set(jwk(RSA_KEY, kid="k1", alg="PS256"))
    assert await tokens(text)(signed()) is None
    assert await tokens(text)(signed(algorithm="PS256")) is not None


@pytest.mark.parametrize(
    "entry",
    [
        jwk(RSA_KEY, use="enc"),
        jwk(RSA_KEY, key_ops=["encrypt"]),
        jwk(RSA_KEY, alg="HS256"),
        jwk(SMALL_RSA_KEY),
        {"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"},
        {"kty": "RSA"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": 5},
        {},
        "text",
    ],
)
def test_keys_that_cannot_be_used_are_left_out(entry: object) -> None:
    good = jwk(ED_KEY, kid="good")
    assert [k.id for k in read_keys(key_set(entry, good))] == ["good"]
    with pytest.raises(ValueError, match="no public key"):
        read_keys(key_set(entry))


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"keys": 5}', b"\xff", b"-----BEGIN x"])
def test_what_is_no_key_set_says_so(text: bytes) -> None:
    with pytest.raises(ValueError):
        read_keys(text)


def test_certificates_and_several_keys_in_one_pem() -> None:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "login.example.com")])
    start = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(RSA_KEY.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=1))
        .sign(RSA_KEY, hashes.SHA256())
    )
    found = read_keys(certificate.public_bytes(Encoding.PEM) + pem(ED_KEY))
    assert [sorted(k.algorithms)[0] for k in found] == ["PS256", "EdDSA"]


async def test_the_application_may_be_a_claim_or_whoever_the_person_is() -> None:
    by_claim = Issuer(ISSUER.issuer, ISSUER.audience, application_claim="azp", application="portal")
    carol = await tokens(issuer=by_claim)(signed(claims(azp="carol")))
    assert carol is not None and carol.application == "carol"
    fallen_back = await tokens(issuer=by_claim)(signed())
    assert fallen_back is not None and fallen_back.application == "portal"
    assert await tokens(issuer=by_claim)(signed(claims(azp="unknown"))) is None
    assert await tokens(issuer=by_claim)(signed(claims(azp=["portal"]))) is None
    alone = Issuer(ISSUER.issuer, ISSUER.audience)
    found = await tokens(issuer=alone)(signed(claims(sub="sip:carol@example.com")))
    assert found is not None and found.application == "carol"
    assert await tokens(issuer=alone)(signed()) is None


async def test_the_person_may_be_another_claim() -> None:
    by_mail = Issuer(ISSUER.issuer, ISSUER.audience, "email", "portal")
    found = await tokens(issuer=by_mail)(signed(claims(email="sip:bob@example.com")))
    assert found is not None and str(found.identity) == "sip:bob@example.com"
    assert await tokens(issuer=by_mail)(signed()) is None


async def test_without_an_issuer_signed_tokens_prove_nobody() -> None:
    assert await Tokens(holder, WRITTEN)(signed()) is None


async def test_keys_are_read_once_for_all_who_wait_and_again_when_they_are_old() -> None:
    source = Source(key_set(jwk(RSA_KEY, kid="k1")))
    asked = asking(source)
    token = signed()
    found = await asyncio.gather(*(asked(token) for _ in range(20)))
    assert all(found) and source.asked == 1
    source.time += 299
    assert await asked(token) and source.asked == 1
    source.time += REMEMBER + 2
    assert await asked(token) and source.asked == 2


async def test_a_new_key_is_fetched_when_a_token_names_it_but_not_for_every_token() -> None:
    source = Source(key_set(jwk(RSA_KEY, kid="k1")))
    asked = asking(source)
    assert await asked(signed())
    source.text = key_set(jwk(RSA_KEY, kid="k1"), jwk(OTHER_RSA_KEY, kid="k2"))
    new = signed(key=OTHER_RSA_KEY, kid="k2")
    assert await asked(new) is None and source.asked == 1  # a moment ago: not again
    source.time += RETRY + 1
    assert await asked(new) and source.asked == 2
    for _ in range(10):
        assert await asked(signed(kid="k3")) is None
    assert source.asked == 2


async def test_old_keys_count_while_no_new_ones_can_be_had_but_not_for_ever() -> None:
    source = Source(key_set(jwk(RSA_KEY, kid="k1")))
    asked = asking(source)
    token = signed(claims(exp=time.time() + 200_000))
    assert await asked(token)
    source.text = b""
    source.time += 400
    assert await asked(token)
    assert source.failures == ["nobody answers"]
    source.text = b"<html>"
    source.time += 400
    assert await asked(token) and len(source.failures) == 2
    source.time += 86_400
    assert await asked(token) is None
    source.text = key_set(jwk(RSA_KEY, kid="k1"))
    source.time += 400
    assert await asked(token)


@dataclass
class Clock:
    """The source's monotonic time, and a date."""

    source: Source
    date: datetime = field(default_factory=lambda: datetime.now(UTC))

    def now(self) -> float:
        return self.source.time

    def at(self) -> datetime:
        return self.date


async def test_a_verified_token_is_believed_for_a_while_but_not_beyond_its_end_or_its_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = Source(key_set(jwk(RSA_KEY, kid="k1")))
    asked = asking(source)
    looked: list[str] = []

    def looking(token: str, *more: Any) -> Any:
        looked.append(token)
        return verified(token, *more)

    monkeypatch.setattr(tokens_module, "verified", looking)
    long, short = signed(), signed(claims(exp=time.time() + 10))
    for _ in range(5):
        assert await asked(long) and await asked(short)
    assert looked == [long, short]
    source.time += 41  # ten seconds and the leeway are over
    await asked(long)
    await asked(short)
    assert looked == [long, short, short]
    source.time += 20
    await asked(long)
    assert looked == [long, short, short, long]
    # Another key: what the old one verified is not believed any more.
    source.text = key_set(jwk(OTHER_RSA_KEY, kid="k2"))
    source.time += 300
    assert await asked(long) is None
    assert await asked(long[:-4] + "AAAA") is None
    assert len(asked.remembered) == 2


async def test_an_end_may_be_written_in_any_way_that_is_understood() -> None:
    source = Source(key_set(jwk(RSA_KEY, kid="k1")))
    asked = asking(source)
    for end in (time.time() + 60, int(time.time()) + 60, str(int(time.time()) + 60), 1e15):
        assert await asked(signed(claims(exp=end)))
    assert await asked(signed(claims(exp=str(int(time.time()) - 60)))) is None


async def test_a_remembered_token_of_somebody_who_may_not_call_any_more_is_refused() -> None:
    gone: list[str] = []

    def leaving(application: str, identity: str) -> Caller | None:
        return None if gone else holder(application, identity)

    source = Source(key_set(jwk(RSA_KEY, kid="k1")))
    asked = Tokens(leaving, {}, ISSUER, source.ring(), Clock(source))
    token = signed()
    assert await asked(token)
    gone.append("app_portal")
    assert await asked(token) is None


async def test_a_key_that_was_withdrawn_verifies_nothing_any_more() -> None:
    source = Source(key_set(jwk(RSA_KEY, kid="k1")))
    asked = asking(source)
    assert await asked(signed())
    source.text = key_set(jwk(OTHER_RSA_KEY, kid="k2"))
    source.time += 301
    assert await asked(signed()) is None


@pytest.mark.parametrize(
    ("value", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        ("Bearer", ""),
        ("Basic abc", None),
        ("", None),
    ],
)
def test_where_a_token_stands(value: str, token: str | None) -> None:
    assert bearer({"authorization": value}) == token


async def test_a_wrong_token_is_refused_and_another_scheme_left_to_others() -> None:
    authenticate = BearerAuthenticator(tokens())
    assert await authenticate({}) is None
    assert await authenticate({"authorization": "Basic xyz"}) is None
    assert await authenticate({"authorization": f"Bearer {signed()}"}) is not None
    with pytest.raises(Refused) as caught:
        await authenticate({"authorization": "Bearer wrong"})
    (challenge,) = caught.value.fault.headers
    assert caught.value.fault.status == 401 and b"invalid_token" in challenge[1]
