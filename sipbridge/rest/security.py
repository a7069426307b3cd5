"""Who calls: credentials to `Caller`.

An `Authenticator` looks at the headers of a request and returns the caller they prove, or None. A front asks
its authenticators in order. HTTP Basic (RFC 7617) is the one the interface promises: the user name is the
application instance id.

Passwords are kept in clear (then compared in constant time) or as argon2 hashes. Verifying a hash is slow on
purpose, and clients send the same header with every request, so the outcome for a header value is remembered
for a while under a keyed hash of it: neither the password nor anything it could be tried against stays in
memory. A hash is verified in a thread, a few at a time, and once for requests that arrive together; wrong
values are remembered too, shortly, so that a client with an old password does not keep a core busy.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import argon2

from sipbridge.gateway.caller import Caller

REALM = "sipbridge"
CHALLENGE = f'Basic realm="{REALM}", charset="UTF-8"'
"""What a 401 says (RFC 7617 §2.1)."""
CHALLENGES = ((b"www-authenticate", CHALLENGE.encode()),)
OPERATOR_CHALLENGES = ((b"www-authenticate", b'Basic realm="sipbridge operator", charset="UTF-8"'),)

REMEMBER = 300.0
"""Seconds a good header value is trusted without looking again."""

REMEMBER_WRONG = 10.0
"""Seconds a wrong one is refused without looking again."""

MAX_REMEMBERED = 4096
"""Header values remembered at a time; there are as many good ones as applications."""

MAX_VERIFYING = 2
"""Hashes verified at a time: each takes a core and 64 MiB for a good part of a tenth of a second."""


class Authenticator(Protocol):
    """Looks at request headers (names in lower case); None: these prove nobody."""

    async def __call__(self, headers: Mapping[str, str]) -> Caller | None: ...


@dataclass(frozen=True, slots=True)
class Account:
    """An application that may call: who it is, and its password or the argon2 hash of it."""

    caller: Caller
    password: str | None = None
    password_hash: str | None = None


class BasicAuthenticator:
    """HTTP Basic against a set of accounts."""

    def __init__(self, accounts: Mapping[str, Account]) -> None:
        self.accounts = dict(accounts)
        self.key = os.urandom(32)
        self.remembered: OrderedDict[bytes, tuple[Caller | None, float]] = OrderedDict()
        self.verifying: dict[bytes, asyncio.Task[Caller | None]] = {}
        self.slots = asyncio.Semaphore(MAX_VERIFYING)
        self.hasher = argon2.PasswordHasher()

    async def __call__(self, headers: Mapping[str, str]) -> Caller | None:
        value = headers.get("authorization")
        if value is None or value[:6].lower() != "basic ":
            return None
        digest = hashlib.blake2b(value.encode("utf-8", "replace"), key=self.key).digest()
        known = self.remembered.get(digest)
        if known is not None and known[1] > now():
            return known[0]
        return await self.verify(digest, value[6:])

    def change(self, application: str, account: Account | None) -> None:
        """Add, replace or (None) remove an account. Effective with the next request."""
        if account is None:
            self.accounts.pop(application, None)
        else:
            self.accounts[application] = account
        self.key = os.urandom(32)  # what is being verified now is remembered under the old one
        self.remembered.clear()

    async def verify(self, digest: bytes, encoded: str) -> Caller | None:
        """Look once for all requests that come with the same header meanwhile."""
        task = self.verifying.get(digest)
        if task is None:
            task = asyncio.get_running_loop().create_task(self.look_and_remember(digest, encoded))
            self.verifying[digest] = task
        return await asyncio.shield(task)

    async def look_and_remember(self, digest: bytes, encoded: str) -> Caller | None:
        try:
            caller = await self.look(encoded)
        finally:
            del self.verifying[digest]
        self.remembered[digest] = (caller, now() + (REMEMBER if caller else REMEMBER_WRONG))
        while len(self.remembered) > MAX_REMEMBERED:
            self.remembered.popitem(last=False)
        return caller

    async def look(self, encoded: str) -> Caller | None:
        user, password = credentials(encoded)
        account = self.accounts.get(user)
        if account is None or password is None:
            return None
        if account.password is not None:
            good = hmac.compare_digest(account.password.encode(), password.encode())
            return account.caller if good else None
        if account.password_hash is None:
            return None
        async with self.slots:
            good = await asyncio.to_thread(self.matches, account.password_hash, password)
        return account.caller if good else None

    def matches(self, password_hash: str, password: str) -> bool:
        try:
            return self.hasher.verify(password_hash, password)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False


def credentials(encoded: str) -> tuple[str, str | None]:
    """User and password of a Basic value; the password is None when there is no such thing."""
    try:
        raw = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return "", None
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    user, colon, password = text.partition(":")
    return user, password if colon else None


def now() -> float:
    return asyncio.get_running_loop().time()


async def nobody(headers: Mapping[str, str]) -> Caller | None:
    """The authenticator that knows nobody."""
    return None


def first_of(authenticators: Sequence[Authenticator]) -> Authenticator:
    """The authenticators as one: the first that knows the caller decides."""
    if len(authenticators) == 1:
        return authenticators[0]

    async def asked(headers: Mapping[str, str]) -> Caller | None:
        for authenticator in authenticators:
            caller = await authenticator(headers)
            if caller is not None:
                return caller
        return None

    return asked
