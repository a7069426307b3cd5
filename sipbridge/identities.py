"""Whose presence: one key for each person, made in one place.

Every store row, rule and map in this program is keyed by a `PresentityKey` and by nothing else. The key is
made by an `Identities` port and only there. `NormalisingIdentities` takes each address for a person of its
own; `KnownIdentities` was told that `sip:alice@…`, `tel:+1555…`, `mailto:alice@…` and the Webex id
`webex:Y2lz…` are one.

Whoever answers uses the form that was asked with; the key is for the inside only.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NewType, Protocol

from sipbridge.errors import ParseError
from sipbridge.uri import DEFAULT_PORTS, SCHEME, Uri, normal_tel, normal_user

CONTACT_SCHEMES = frozenset({"sip", "sips", "pres"})
"""URIs that name a person by themselves, as `tel:` and `mailto:` do; `webex:` does where it is known."""
TELEPHONE = re.compile(r"\+?[0-9*#A-Fa-f.()\-]*[0-9][0-9*#A-Fa-f.()\-]*(?:;.*)?")
"""RFC 3966 §3, global and local numbers."""

PresentityKey = NewType("PresentityKey", str)
"""Canonical text of a presentity's or watcher's address, such as `sip:alice@example.com`."""


class Identities(Protocol):
    """Says which addresses mean the same person."""

    def canonical(self, uri: Uri) -> PresentityKey:
        """The key of the person behind this address. Never fails: an unknown address has a key too."""
        ...

    def aliases(self, key: PresentityKey) -> tuple[Uri, ...]:
        """The addresses known for the person, the preferred one first."""
        ...

    def address(self, uri: Uri) -> Uri:
        """Where the network finds the person: the address itself, or the one that it is another name of."""
        ...

    def is_bot(self, key: PresentityKey) -> bool:
        """Is it a machine, which has no presence that anybody could watch?"""
        ...

    def contact(self, text: str) -> Uri | None:
        """The address that a person's name in another API means; None if it means nobody."""
        ...


class NormalisingIdentities:
    """Each address is a person of its own; spelling does not count.

    `sip:`, `sips:` and `pres:` name the same presentity (RFC 3856 §5: a pres URI is resolved to a SIP one);
    parameters, headers and default ports are dropped, the host is lower case, escapes are undone. Phone
    numbers lose their visual separators (RFC 3966 §4).
    """

    def canonical(self, uri: Uri) -> PresentityKey:
        if uri.scheme == "tel":
            return PresentityKey(f"tel:{normal_tel(uri.opaque)}")
        if not uri.is_address:
            return PresentityKey(str(uri))
        port = "" if uri.port in (None, *DEFAULT_PORTS.values()) else f":{uri.port}"
        user = "" if uri.user is None else f"{normal_user(uri.user)}@"
        return PresentityKey(f"sip:{user}{uri.host.lower()}{port}")

    def aliases(self, key: PresentityKey) -> tuple[Uri, ...]:
        return (Uri.parse(key),)

    def address(self, uri: Uri) -> Uri:
        return uri

    def is_bot(self, key: PresentityKey) -> bool:
        return False

    def contact(self, text: str) -> Uri | None:
        """A sip, sips, pres, tel or mailto URI, or a bare address, which is a SIP one."""
        try:
            uri = Uri.parse(text if SCHEME.match(text) else f"sip:{text}")
            if uri.scheme == "mailto":
                uri = Uri.parse(f"sip:{uri.opaque}")
        except ParseError:
            return None
        if uri.scheme == "tel":
            return uri if TELEPHONE.fullmatch(uri.opaque) else None
        return uri if uri.scheme in CONTACT_SCHEMES and uri.user else None


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with several names. uri: a SIP address; aliases: URIs of any scheme; bot: a machine."""

    uri: Uri
    aliases: tuple[Uri, ...] = ()
    bot: bool = False


class KnownIdentities(NormalisingIdentities):
    """Normalises, and knows which addresses are one person."""

    def __init__(self, persons: Iterable[Person] = ()) -> None:
        """A name that two persons claim is the first one's."""
        self.keys: dict[PresentityKey, PresentityKey] = {}
        self.names: dict[PresentityKey, tuple[Uri, ...]] = {}
        self.bots: set[PresentityKey] = set()
        for person in persons:
            self.put(person)

    def put(self, person: Person) -> None:
        key = super().canonical(person.uri)
        self.names[key] = (person.uri, *person.aliases)
        for name in self.names[key]:
            self.keys.setdefault(super().canonical(name), key)
        if person.bot:
            self.bots.add(key)

    def canonical(self, uri: Uri) -> PresentityKey:
        own = super().canonical(uri)
        return self.keys.get(own, own)

    def aliases(self, key: PresentityKey) -> tuple[Uri, ...]:
        return self.names.get(key) or super().aliases(key)

    def address(self, uri: Uri) -> Uri:
        own = super().canonical(uri)
        key = self.keys.get(own, own)
        return uri if key == own else Uri.parse(key)

    def is_bot(self, key: PresentityKey) -> bool:
        return key in self.bots

    def contact(self, text: str) -> Uri | None:
        """Also an id that `webex:` stands before; a bare address may be known as a mailto URI only."""
        plain = super().contact(text)
        if plain is not None and super().canonical(plain) in self.keys:
            return plain
        for written in (text, f"mailto:{text}", f"webex:{text}"):
            try:
                uri = Uri.parse(written)
            except ParseError:
                continue
            if super().canonical(uri) in self.keys:
                return uri
        return plain
