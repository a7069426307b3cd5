"""A presence document as a Webex status with its three fields, and a status as attributes to publish.

First of these that applies: the strongest effect of the activities that hold (`availability.py`; scheduled
means that their element has `until`); idle user input of the person, or of all devices and tuples, is
Inactive; all tuples closed is Inactive; a tuple open, or input active, is Active; else Unknown. Surroundings
and privacy have no effect: where somebody is says nothing about what they want. Pending is what an undecided
subscription shows, whatever its placeholder document says.

`expires_time` is the latest `until` of the elements that made the status, never the expiry of a subscription
or publication; `last_active_time` is a `last-input`, never computed from an idle threshold, which is only an
upper bound. Both are UTC milliseconds. Status and times do not depend on the order of elements.

Setting a status goes through attributes, so that there is one writer of documents. With a time to live the
activities end by themselves, which is announced in the document; the caller publishes again without them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sipbridge.errors import InvalidValue
from sipbridge.mapping import activity, communication, ocsg
from sipbridge.mapping.attributes import Activity, Attribute, AttributeKind, Other
from sipbridge.mapping.reading import CLOCK_TOLERANCE, Reading
from sipbridge.mapping.rows import Effect, Status, letters
from sipbridge.mapping.table import DEFAULT, Tables
from sipbridge.mapping.writing import print_instant
from sipbridge.presence.model import Basic, Presence, Timestamp, TokenList, UserInput
from sipbridge.presence.namespaces import RPID, SIPBRIDGE
from sipbridge.uri import Uri

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)

OTHER = f"{{{RPID}}}other"
DND = "x:do-not-disturb"

NAMES = {
    Status.ACTIVE: ("available", "online"),
    Status.INACTIVE: ("offline", "away"),
    Status.DND: ("donotdisturb",),
    Status.CALL: ("onthephone", "oncall"),
}
"""What else a note says that merely repeats the status."""

Effective = tuple[Status | None, Effect, activity.Found]


@dataclass(frozen=True, slots=True)
class WebexPresence:
    """custom_status is "" when there is none; times are UTC milliseconds or None."""

    status: Status
    custom_status: str = ""
    last_active_time: int | None = None
    expires_time: int | None = None

    def to_json(self, contact_id: str) -> dict[str, object]:
        """The Presence object of the SDK."""
        return {
            "contactId": contact_id,
            "status": self.status.value,
            "customStatus": self.custom_status,
            "lastActiveTime": self.last_active_time,
            "expiresTime": self.expires_time,
        }


def derive(
    document: Presence | None,
    *,
    at: datetime,
    subscription: str = "active",
    languages: Sequence[str] = (),
    tables: Tables = DEFAULT,
) -> tuple[WebexPresence, datetime | None]:
    """The status as of `at`, and when it changes by itself (None: never).

    subscription: "active", "pending", "terminated" or "" (none yet). A document that outlived its
    subscription may be handed in as long as the caller trusts it.
    """
    if subscription == "pending":
        return WebexPresence(Status.PENDING), None
    if document is None:
        return WebexPresence(Status.UNKNOWN), None
    reading = Reading(document, at, "", tables, languages)
    communication.read(reading)
    found = activity.gather(reading)
    effects = effects_of(found, tables)
    status = strongest(effects, tables)
    if status is None:
        status, winning = without_activity(reading), []
    else:
        winning = [e for e in effects if e[0] is status]
    presence = WebexPresence(
        status,
        custom_status(reading, status, [e[2] for e in winning]),
        last_active(reading),
        latest_until([e[2][3] for e in winning]),
    )
    return presence, reading.soon


def effects_of(found: list[activity.Found], tables: Tables) -> list[Effective]:
    """The effect of each activity that has one, with the status it makes here."""
    made = []
    for entry in found:
        effect = effect_of(entry, tables)
        if effect is not None:
            element = entry[3]
            scheduled = element is not None and element.until is not None
            made.append((effect.scheduled if scheduled else effect.status, effect, entry))
    return made


def effect_of(entry: activity.Found, tables: Tables) -> Effect | None:
    row, token = entry[1], entry[2]
    if row.word is Activity.DO_NOT_DISTURB:
        return tables.effects.get(DND)
    if (
        token is not None
        and token.name == OTHER
        and letters(token.text or "") in tables.brb_phrases
    ):
        return tables.effects.get("x:be-right-back")
    return tables.effects_by_name.get(row.name)


def strongest(effects: list[Effective], tables: Tables) -> Status | None:
    said = [e[0] for e in effects if e[0] is not None]
    return min(said, key=tables.order.index) if said else None


def without_activity(reading: Reading) -> Status:
    """What input and `basic` alone say."""
    idle = is_idle(reading.document)
    if idle is True:
        return Status.INACTIVE
    if reading.any_closed and not reading.any_open:
        return Status.INACTIVE
    return Status.ACTIVE if reading.any_open or idle is False else Status.UNKNOWN


def is_idle(document: Presence) -> bool | None:
    """True idle, False active, None not said. What a person says beats what devices and tuples say."""
    said = [p.user_input for p in document.persons if p.user_input is not None]
    if not any(states(said)):
        said = [t.user_input for t in document.tuples if t.user_input is not None]
        said += [d.user_input for d in document.devices if d.user_input is not None]
    known = [s for s in states(said) if s]
    return all(s == "idle" for s in known) if known else None


def states(said: Sequence[UserInput]) -> list[str]:
    """The states that are known words."""
    words = (u.state.strip().lower() for u in said)
    return [w for w in words if w in ("active", "idle")]


# --- fields -------------------------------------------------------------------------------------------


def custom_status(reading: Reading, status: Status, winning: list[activity.Found]) -> str:
    """Free text of the winning element, its note, the person's, the best open tuple's, the document's."""
    text = None
    elements = [e[3] for e in winning if e[3] is not None]
    if elements:
        text = next((t for e in elements if (t := free_text(e))), None) or next(
            (n for e in elements if (n := reading.best_note(e.notes))), None
        )
    text = text or reading.person_note() or tuple_note(reading)
    text = text or reading.best_note(reading.document.notes)
    if not text or not text.strip():
        return ""
    names = {status.value, *(e[1].token for e in winning), *NAMES.get(status, ())}
    repeats = reading.tables.drop_status_notes and letters(text) in {letters(n) for n in names}
    return "" if repeats else text


def free_text(element: TokenList) -> str | None:
    return next((t.text for t in element.tokens if t.name == OTHER and t.text), None)


def tuple_note(reading: Reading) -> str | None:
    """The note of the open tuple with the highest priority."""
    noted = [t for t in reading.document.tuples if t.notes and t.basic is Basic.OPEN]
    if not noted:
        return None
    first = max(noted, key=lambda t: t.contact.weight if t.contact is not None else 0.0)
    return reading.best_note(first.notes)


def last_active(reading: Reading) -> int | None:
    """`last-input` of the person, else the newest of tuples and devices; never in the future."""
    document = reading.document
    of_person = [p.user_input for p in document.persons]
    of_others = [t.user_input for t in document.tuples] + [d.user_input for d in document.devices]
    for group in (of_person, of_others):
        times = [
            t
            for u in group
            if u is not None
            and (t := instant(u.last_input)) is not None
            and t - reading.at <= CLOCK_TOLERANCE
        ]
        if times:
            return milliseconds(min(max(times), reading.at))
    return None


def latest_until(elements: Sequence[TokenList | None]) -> int | None:
    """The latest `until`; an element without one never ends, but says nothing either."""
    ends = [instant(e.until) for e in elements if e is not None and e.until is not None]
    known = [e for e in ends if e is not None]
    return milliseconds(max(known)) if known else None


def instant(stamp: Timestamp | None) -> datetime | None:
    return stamp.at if stamp is not None else None


def milliseconds(at: datetime) -> int:
    return (at - EPOCH) // MILLISECOND


# --- setting a status ---------------------------------------------------------------------------------

SETTABLE: dict[Status, tuple[Activity, tuple[tuple[str, str], ...]]] = {
    Status.ACTIVE: (Activity.AVAILABLE, (("rpid.user-input", "active"),)),
    Status.INACTIVE: (Activity.AWAY, ()),
    # The reason is not known, so it is not `vacation`.
    Status.OUT_OF_OFFICE: (
        Activity.AWAY,
        (("rpid.activity", f"{{{SIPBRIDGE}}}out-of-office"),),
    ),
    Status.DND: (Activity.DO_NOT_DISTURB, ()),
    Status.QUIET: (Activity.AWAY, (("rpid.activity", f"{{{SIPBRIDGE}}}quiet"),)),
    Status.BUSY: (Activity.BUSY, ()),
    Status.CALL: (Activity.ON_THE_PHONE, ()),
    Status.MEETING: (Activity.MEETING, ()),
    Status.PRESENTING: (Activity.PERFORMANCE, (("rpid.activity", "presentation"),)),
    Status.CALENDAR_ITEM: (Activity.BUSY, (("rpid.activity", "appointment"),)),
}
"""How each status that can be set is published: the Activity and its pairs."""


def to_attributes(
    status: Status | str,
    *,
    at: datetime,
    custom_status: str = "",
    until: datetime | None = None,
) -> tuple[Attribute, ...]:
    """The attributes that publish a status. Unknown and Pending raise InvalidValue, part "status".

    until: when the status ends by itself; Active has no end.
    """
    wanted = next((s for s in Status if s.value == str(status)), None)
    if wanted is None or wanted not in SETTABLE:
        valid = tuple(s.value for s in SETTABLE)
        raise InvalidValue(f"{status} can not be set", part="status", valid=valid)
    word, said = SETTABLE[wanted]
    pairs = list(said)
    if until is not None and wanted is not Status.ACTIVE:
        pairs.append(("rpid.activity.until", print_instant(until)))
    others = (Attribute(AttributeKind.OTHER, Other(n, v), None, at) for n, v in pairs)
    return (Attribute(AttributeKind.ACTIVITY, word, custom_status or None, at), *others)


def to_document(
    status: Status | str,
    *,
    presentity: Uri | str,
    at: datetime,
    custom_status: str = "",
    until: datetime | None = None,
    tables: Tables = DEFAULT,
) -> Presence:
    """The document that publishes a status and nothing else. Raises as `to_attributes`."""
    attributes = to_attributes(status, at=at, custom_status=custom_status, until=until)
    return ocsg.to_document(attributes, presentity=presentity, at=at, tables=tables)


# --- the other two vocabularies -------------------------------------------------------------------------

REST = {
    Status.ACTIVE: "active",
    Status.INACTIVE: "inactive",
    Status.DND: "DoNotDisturb",
    Status.QUIET: "DoNotDisturb",
    Status.OUT_OF_OFFICE: "OutOfOffice",
    Status.CALL: "call",
    Status.MEETING: "meeting",
    Status.PRESENTING: "presenting",
    Status.PENDING: "pending",
    Status.UNKNOWN: "unknown",
}
"""Words of the People API. Busy and CalendarItem have none there, see `rest_status`."""

SERVICE = {
    Status.ACTIVE: "active",
    Status.CALENDAR_ITEM: "calendarItem",
    Status.CALL: "call",
    Status.DND: "dnd",
    Status.INACTIVE: "inactive",
    Status.MEETING: "meeting",
    Status.OUT_OF_OFFICE: "ooo",
    Status.PRESENTING: "presenting",
}
"""Words of the presence service. Busy, Quiet, Unknown and Pending have none there."""


def rest_status(
    presence: WebexPresence, document: Presence | None, *, at: datetime, tables: Tables = DEFAULT
) -> str:
    """The People API's word. Busy and CalendarItem: what input and basic alone say, never `unknown`."""
    word = REST.get(presence.status)
    if word is not None:
        return word
    if document is None:
        return "active"
    reading = Reading(document, at, "", tables)
    communication.read(reading)
    return "inactive" if without_activity(reading) is Status.INACTIVE else "active"


def service_status(presence: WebexPresence, rest: str) -> str:
    """The presence service's word; `rest`: the People API's. What has none there is told by effect.

    Quiet hours mute as Dnd does; Busy is active or inactive as without it; Pending is unknown.
    """
    word = SERVICE.get(presence.status)
    if word is not None:
        return word
    if presence.status is Status.QUIET:
        return "dnd"
    return rest if presence.status is Status.BUSY else "unknown"


def settable(word: str) -> Status | None:
    """What a word of the presence service sets; None if it is none that can be set.

    `clear` takes back what was set by hand, which leaves Active.
    """
    if word == "clear":
        return Status.ACTIVE
    status = next((s for s, known in SERVICE.items() if known == word), None)
    return status if status in SETTABLE else None
