"""What a watcher sees of a presentity at the moment, and in short what it says.

A sight is the attributes that are granted and asked for, with a digest for each kind: of its values and
notes, not of their lastChange. Two sights with the same digest of a kind say the same about it; that is what
contracts compare and keep. Values are frozen and the mapping keeps what did not change, so of a new sight
only the kinds are digested in which something is another object than before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import msgspec

from sipbridge.gateway.authorization import visible
from sipbridge.mapping.attributes import Attribute, AttributeKind, Value

DIGEST_BYTES = 8
"""Of a remembered value: only ever compared with the next value of the same kind."""

encode = msgspec.json.Encoder().encode
Digests = dict[str, str]
"""By kind. Never changed once made: sights and contracts share them."""


@dataclass(slots=True)
class Sight:
    """`attributes` is what is seen of `whole`, by whoever is granted and asked for these kinds."""

    whole: tuple[Attribute, ...]
    granted: frozenset[AttributeKind]
    requested: frozenset[AttributeKind]
    attributes: tuple[Attribute, ...]
    digests: Digests

    def is_of(self, granted: frozenset[AttributeKind], requested: frozenset[AttributeKind]) -> bool:
        """Is this how somebody with these rights and wishes sees?"""
        return (self.granted is granted or self.granted == granted) and (
            self.requested is requested or self.requested == requested
        )


def look(
    before: Sight | None,
    whole: tuple[Attribute, ...],
    granted: frozenset[AttributeKind],
    requested: frozenset[AttributeKind],
) -> Sight:
    """What is seen of these attributes now. before: what anybody saw of the same presentity last."""
    if before is None or not before.is_of(granted, requested):
        attributes = visible(whole, granted, requested)
        return Sight(whole, granted, requested, attributes, digests(attributes))
    if before.whole is whole:
        return before
    attributes = visible(whole, granted, requested)
    return Sight(whole, granted, requested, attributes, renewed(attributes, before))


def renewed(attributes: tuple[Attribute, ...], before: Sight) -> Digests:
    """`digests`, of what is not the same object as before."""
    older = before.attributes
    if len(attributes) != len(older):
        return digests(attributes)
    other: set[str] = set()
    for a, b in zip(attributes, older, strict=True):
        if a is not b:
            other.add(a.kind)
            other.add(b.kind)
    if not other:
        return before.digests
    kept = {k: d for k, d in before.digests.items() if k not in other}
    return kept | digests([a for a in attributes if a.kind in other])


def digests(attributes: Sequence[Attribute]) -> Digests:
    """Of each kind's values and notes."""
    found: dict[AttributeKind, list[tuple[Value, str | None]]] = {}
    for attribute in attributes:
        found.setdefault(attribute.kind, []).append((attribute.value, attribute.note))
    return {kind: digest(values) for kind, values in found.items()}


def digest(values: Sequence[tuple[Value, str | None]]) -> str:
    """Of one kind's values and notes."""
    return blake2b(encode(values), digest_size=DIGEST_BYTES).hexdigest()
