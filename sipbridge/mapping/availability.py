"""What an activity does to a Webex status and to a BEMS availability, as data.

One row for each activity token that has an effect; `playing`, `tv`, `working`, `looking-for-work`, free text
and elements nobody knows say nothing about reachability and have none. Meals, shows and trips count as
calendar items when they are scheduled (their element has `until`), else by their effect. The order of Webex
statuses is the one Webex publishes for concurrent states, but for two: *Busy* stands below Call, because in
Webex it is a manual override while RPID's `busy` is a word that phones add beside a specific one, and
*CalendarItem*, which the published order lacks, comes after Busy.
"""

from sipbridge.mapping.rows import Availability, Effect, Status


def effect(
    status: Status | None, availability: Availability, *, scheduled: Status | None = None
) -> Effect:
    return Effect(status, scheduled or status, availability)


ITEM = Status.CALENDAR_ITEM
MEAL = effect(Status.INACTIVE, Availability.BE_RIGHT_BACK, scheduled=ITEM)

EFFECTS: dict[str, Effect] = {
    "permanent-absence": effect(Status.OUT_OF_OFFICE, Availability.OFFLINE),
    "vacation": effect(Status.OUT_OF_OFFICE, Availability.AWAY),
    "holiday": effect(Status.OUT_OF_OFFICE, Availability.AWAY),
    "x:out-of-office": effect(Status.OUT_OF_OFFICE, Availability.AWAY),
    "x:do-not-disturb": effect(Status.DND, Availability.DO_NOT_DISTURB),
    "x:quiet": effect(Status.QUIET, Availability.AWAY),
    "sleeping": effect(Status.QUIET, Availability.AWAY),
    "presentation": effect(Status.PRESENTING, Availability.BUSY),
    "meeting": effect(Status.MEETING, Availability.BUSY),
    "on-the-phone": effect(Status.CALL, Availability.BUSY),
    "busy": effect(Status.BUSY, Availability.BUSY),
    "steering": effect(Status.BUSY, Availability.BUSY),
    "worship": effect(Status.BUSY, Availability.BUSY),
    "performance": effect(Status.BUSY, Availability.BUSY, scheduled=ITEM),
    "spectator": effect(Status.BUSY, Availability.BUSY, scheduled=ITEM),
    "appointment": effect(ITEM, Availability.BUSY),
    "breakfast": MEAL,
    "lunch": MEAL,
    "dinner": MEAL,
    "meal": MEAL,
    "travel": effect(Status.INACTIVE, Availability.AWAY, scheduled=ITEM),
    "in-transit": effect(Status.INACTIVE, Availability.AWAY),
    "away": effect(Status.INACTIVE, Availability.AWAY),
    "shopping": effect(Status.INACTIVE, Availability.BE_RIGHT_BACK),
    "x:be-right-back": effect(None, Availability.BE_RIGHT_BACK),
}

ORDER = (
    Status.OUT_OF_OFFICE,
    Status.DND,
    Status.QUIET,
    Status.PRESENTING,
    Status.MEETING,
    Status.CALL,
    Status.BUSY,
    Status.CALENDAR_ITEM,
    Status.INACTIVE,
    Status.ACTIVE,
    Status.UNKNOWN,
)

WEBEX_ORDER = (
    Status.OUT_OF_OFFICE,
    Status.INACTIVE,
    Status.BUSY,
    Status.DND,
    Status.QUIET,
    Status.PRESENTING,
    Status.MEETING,
    Status.CALL,
    Status.CALENDAR_ITEM,
    Status.ACTIVE,
    Status.UNKNOWN,
)
"""As Webex publishes it: out of office, away from desk, busy, do not disturb, quiet hours, sharing, …"""

AVAILABILITY_ORDER = (
    Availability.OFFLINE,
    Availability.DO_NOT_DISTURB,
    Availability.BUSY,
    Availability.BE_RIGHT_BACK,
    Availability.AWAY,
)
"""Strongest first: only permanent absence gives offline here; a call beats a meal, a meal beats away."""
