"""Attribute kinds and what RFC 5025 calls transformations: the one place where they meet.

`presence/filtering.py` shows a document through transformations; a table there says which belong to which
kind. A grant of a kind is the union of its row: Activity carries the status tuple, the person's notes and
timestamp; Communication whole tuples and devices; Other everything that has no permission of its own. So the
transformations of several kinds are the union of theirs, and a kind is visible exactly if its own row is
contained in what is shown.
"""

from collections.abc import Iterable, Mapping

from sipbridge.mapping.attributes import AttributeKind
from sipbridge.presence.filtering import SERVICE_ELEMENTS
from sipbridge.presence.namespaces import SIPBRIDGE
from sipbridge.presence.rules import (
    ALL,
    ANY,
    NOTHING,
    Permission,
    Provide,
    SubHandling,
    Transformations,
    UserInputDetail,
    union,
)

MEANS = f"{{{SIPBRIDGE}}}means"
"""Our own element in tuples: types of means that neither scheme nor capabilities can say."""

KINDS: Mapping[AttributeKind, Transformations] = {
    AttributeKind.ACTIVITY: Transformations(
        persons=ALL, provide=frozenset({Provide.ACTIVITIES, Provide.NOTE})
    ),
    AttributeKind.PLACE: Transformations(
        persons=ALL, provide=frozenset({Provide.PLACE_TYPE, Provide.PLACE_IS})
    ),
    AttributeKind.PRIVACY: Transformations(persons=ALL, provide=frozenset({Provide.PRIVACY})),
    AttributeKind.SPHERE: Transformations(persons=ALL, provide=frozenset({Provide.SPHERE})),
    AttributeKind.COMMUNICATION: Transformations(
        devices=ALL,
        services=ALL,
        provide=frozenset({Provide.RELATIONSHIP, Provide.DEVICE_ID, Provide.NOTE}),
        unknown=SERVICE_ELEMENTS | {MEANS},
    ),
    AttributeKind.OTHER: Transformations(
        persons=ALL,
        provide=frozenset({Provide.MOOD, Provide.TIME_OFFSET, Provide.STATUS_ICON, Provide.CLASS}),
        user_input=UserInputDetail.FULL,
        unknown=frozenset({ANY}),
    ),
}
"""What has to be shown for each kind."""


def transformations_for(kinds: Iterable[AttributeKind]) -> Transformations:
    """What has to be shown so that these kinds are."""
    return union(KINDS[kind] for kind in kinds)


def kinds_visible(permission: Permission) -> frozenset[AttributeKind]:
    """The kinds a watcher with this permission sees; none unless the sub-handling is allow."""
    if permission.sub_handling is not SubHandling.ALLOW or permission.transformations == NOTHING:
        return frozenset()
    shown = permission.transformations
    return frozenset(kind for kind, needed in KINDS.items() if contains(shown, needed))


def contains(shown: Transformations, needed: Transformations) -> bool:
    """Is everything needed shown? The rows above select all components or none."""
    return (
        (shown.persons.all or not needed.persons)
        and (shown.devices.all or not needed.devices)
        and (shown.services.all or not needed.services)
        and all(shown.provides(word) for word in needed.provide)
        and all(shown.provides_element(name) for name in needed.unknown)
        and shown.user_input_detail.rank >= needed.user_input.rank
    )
