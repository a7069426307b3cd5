"""As whom an application may act.

An application has one SIP identity of its own. With patterns (`acts_for = ["sip:*@example.com"]`) it may act
as any address they match, one at a time, named with each request. A pattern is a SIP address whose user part
may hold stars, each for any characters; the host is literal, since whose users they are is not to be guessed.

`Represented` knows all of it. It is also the set of presentities that have an application here, which
`Policy.with_application` asks for: their own rules decide, not a presence server's answer.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from sipbridge.errors import ParseError
from sipbridge.identities import Identities, NormalisingIdentities, PresentityKey
from sipbridge.uri import Uri

MAX_REMEMBERED = 10_000
"""Answers remembered; then all are forgotten and found again."""

NORMALISED = NormalisingIdentities()


@dataclass(frozen=True, slots=True)
class IdentityPattern:
    """One pattern. `expression` is matched against canonical keys."""

    text: str
    expression: re.Pattern[str]

    @classmethod
    def parse(cls, text: str) -> "IdentityPattern":
        """Raises ParseError, field "acts_for"."""
        uri = Uri.parse(text)
        if uri.scheme != "sip" or not uri.user or "*" in uri.host or uri != uri.address:
            raise ParseError(f"{text!r} is not like sip:*@example.com", field="acts_for")
        key = str(NORMALISED.canonical(uri))
        user, _, host = key.rpartition("@")
        stars = ".*".join(re.escape(part) for part in user.split("*"))
        return cls(text, re.compile(f"{stars}@{re.escape(host)}"))

    def matches(self, key: PresentityKey) -> bool:
        return self.expression.fullmatch(key) is not None


class Represented:
    """Applications with the identities they act as."""

    def __init__(self, identities: Identities) -> None:
        self.identities = identities
        self.own: dict[str, PresentityKey] = {}
        self.patterns: dict[str, tuple[IdentityPattern, ...]] = {}
        self.remembered: dict[PresentityKey, bool] = {}
        self.named: frozenset[PresentityKey] | None = None

    def put(self, application: str, identity: Uri, patterns: Iterable[str] = ()) -> None:
        """Add or replace an application. Raises ParseError."""
        self.patterns[application] = tuple(map(IdentityPattern.parse, patterns))
        self.own[application] = self.identities.canonical(identity)
        self.remembered.clear()
        self.named = None

    def drop(self, application: str) -> None:
        self.own.pop(application, None)
        self.patterns.pop(application, None)
        self.remembered.clear()
        self.named = None

    def allowed(self, application: str, key: PresentityKey) -> bool:
        """May this application act as that person?"""
        return self.own.get(application) == key or any(
            pattern.matches(key) for pattern in self.patterns.get(application, ())
        )

    def names(self, key: PresentityKey) -> bool:
        """Is this person somebody's own identity, or named without a star?"""
        if self.named is None:
            literal = [p.text for ps in self.patterns.values() for p in ps if "*" not in p.text]
            named = map(self.identities.canonical, map(Uri.parse, literal))
            self.named = frozenset({*self.own.values(), *named})
        return key in self.named

    def __contains__(self, key: object) -> bool:
        """Has this person an application here?"""
        known = self.remembered.get(key)  # type: ignore[call-overload]
        if known is None:
            if len(self.remembered) >= MAX_REMEMBERED:
                self.remembered.clear()
            presentity = PresentityKey(str(key))
            known = any(self.allowed(application, presentity) for application in self.own)
            self.remembered[presentity] = known
        return bool(known)
