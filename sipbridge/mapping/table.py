"""Everything that is assumed when mapping, as one value: the tables and the switches.

`DEFAULT` is what this project assumes; `overrides.load` makes another value of an integrator's file, and
every function of this package takes the value it shall use, so that two peers may be mapped differently.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from sipbridge.mapping.attributes import Activity, MeansType, Place, Privacy, Sphere
from sipbridge.mapping.availability import AVAILABILITY_ORDER, EFFECTS, ORDER
from sipbridge.mapping.rows import Availability, Effect, Row, Status, Table, clark, letters
from sipbridge.mapping.vocabulary import (
    ACTIVITY,
    CLOSED,
    PLACE,
    PRIVACY,
    SCHEMES,
    SERVICES,
    SPHERE,
)

__all__ = ["DEFAULT", "Availability", "Effect", "Row", "Status", "Table", "Tables", "letters"]


@dataclass(frozen=True)
class Tables:
    """Everything that is assumed when mapping. Switches are off unless the default says otherwise.

    privacy_quiet: "text" (private for text only) or "place-is" (audio quiet). multi: one attribute for each
    token instead of the primary one. sphere_text: write the text of a sphere as text, which the schema
    refuses. oma: write OMA elements. dnd_phrases: texts, letters only and lower case, that mean do not
    disturb. note_phrases: look for them in notes too. drop_status_notes: a note that merely repeats the
    status is not handed on. order: of Webex statuses, strongest first.
    """

    activity: Table[Activity]
    place: Table[Place]
    privacy: Table[Privacy]
    sphere: Table[Sphere]
    closed: frozenset[Activity]
    schemes: Mapping[str, MeansType]
    services: Mapping[str, MeansType]
    effects: Mapping[str, Effect]
    order: tuple[Status, ...]
    availability_order: tuple[Availability, ...]
    privacy_quiet: str = "text"
    multi: bool = False
    sphere_text: bool = False
    oma: bool = False
    dnd_phrases: frozenset[str] = frozenset({"dnd", "donotdisturb"})
    brb_phrases: frozenset[str] = frozenset({"brb", "berightback"})
    note_phrases: bool = False
    drop_status_notes: bool = True

    @cached_property
    def effects_by_name(self) -> Mapping[str, Effect]:
        """`effects` by Clark name."""
        return {clark(token, self.activity.namespace): e for token, e in self.effects.items()}


DEFAULT = Tables(
    activity=ACTIVITY,
    place=PLACE,
    privacy=PRIVACY,
    sphere=SPHERE,
    closed=CLOSED,
    schemes=SCHEMES,
    services=SERVICES,
    effects=EFFECTS,
    order=ORDER,
    availability_order=AVAILABILITY_ORDER,
)
"""The project's own assumptions."""
