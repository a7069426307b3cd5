"""Whose presence: one key for each person, made in one place.

Every store row, rule and map in this program is keyed by a `PresentityKey` and by nothing else. The key is
made by an `Identities` port and only there, so that a later implementation can say that `sip:alice@…`,
`tel:+1555…` and `mailto:alice@…` are one person. The first implementation only normalises.
"""

from typing import NewType, Protocol

from sipbridge.uri import DEFAULT_PORTS, Uri, normal_tel, normal_user

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
