"""Attribute kinds and event filters: what to ask a presence server for when only some kinds are wanted.

The counterpart of `permissions`: there a kind is what must be granted, here what must be told (RFC 4661).
Without Other, what belongs to the wanted kinds is included. Other is everything that has no kind of its own,
which cannot be listed: with it, what belongs to persons and to none of the wanted kinds is excluded. With all
kinds there is nothing to filter.
"""

from collections.abc import Collection, Mapping

from sipbridge.mapping.attributes import AttributeKind
from sipbridge.presence import simple_filter
from sipbridge.presence.namespaces import DATA_MODEL, OMA, PIDF, RPID

FILTER_ID = "kinds"
"""Of our filter: always the same, so that a new one takes its place (RFC 4660 §5.3)."""

NAMES = {"p": PIDF, "dm": DATA_MODEL, "r": RPID, "op": OMA}

PERSON = "/p:presence/dm:person"

PATHS: Mapping[AttributeKind, tuple[str, ...]] = {
    AttributeKind.ACTIVITY: (
        "/p:presence/p:tuple/p:status/p:basic",
        "/p:presence/p:note",
        f"{PERSON}/r:activities",
        f"{PERSON}/op:overriding-willingness",
        f"{PERSON}/dm:note",
        f"{PERSON}/dm:timestamp",
    ),
    AttributeKind.PLACE: (f"{PERSON}/r:place-type", f"{PERSON}/r:place-is"),
    AttributeKind.PRIVACY: (f"{PERSON}/r:privacy",),
    AttributeKind.SPHERE: (f"{PERSON}/r:sphere",),
    AttributeKind.COMMUNICATION: ("/p:presence/p:tuple", "/p:presence/dm:device"),
}
"""What belongs to each kind. A tuple's own privacy comes with the tuple."""


def filter_for(kinds: Collection[AttributeKind]) -> bytes:
    """The filter set that asks for these kinds; b"" if it would ask for everything. No kinds mean all."""
    others = [kind for kind in PATHS if kind not in kinds]
    if not kinds or not others:
        return b""
    if AttributeKind.OTHER not in kinds:
        return simple_filter.including(
            FILTER_ID, [path for kind in PATHS if kind in kinds for path in PATHS[kind]], [], NAMES
        )
    unwanted = [path for kind in others for path in PATHS[kind] if path.startswith(PERSON)]
    return simple_filter.including(FILTER_ID, [], unwanted, NAMES) if unwanted else b""


NO_FILTER = simple_filter.removing(FILTER_ID)
"""Takes a filter of `filter_for` away."""
