"""A presence document as a BEMS availability, and a status word as attributes to publish.

Strongest first: offline by permanent absence, do not disturb, busy, be right back, away, from the activities
that hold; then all tuples closed is offline, idle is away, a tuple open or input active is available, and a
document that says nothing is offline. An activity outranks `closed`: somebody away with closed services is
signed in but away. Busy before away: a call on one device is the more useful fact. Without a document, or
while the subscription is not active, the contact is unknown (-1).

The codes are compared for equality by clients, so exactly these are sent; as input a range counts as its
code. Words are read without regard to case, blanks and hyphens. `personal_message` is the person's note.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sipbridge.errors import InvalidValue
from sipbridge.mapping import activity, communication, ocsg, webex
from sipbridge.mapping.attributes import Activity, Attribute, AttributeKind, Other
from sipbridge.mapping.reading import Reading
from sipbridge.mapping.rows import Availability, letters
from sipbridge.mapping.table import DEFAULT, Tables
from sipbridge.presence.model import Presence
from sipbridge.presence.namespaces import SIPBRIDGE
from sipbridge.uri import Uri

CODES = {
    Availability.AVAILABLE: 3500,
    Availability.BUSY: 6000,
    Availability.DO_NOT_DISTURB: 9000,
    Availability.BE_RIGHT_BACK: 12000,
    Availability.AWAY: 15500,
    Availability.OFFLINE: 18000,
    Availability.UNKNOWN: -1,
}


@dataclass(frozen=True, slots=True)
class BemsPresence:
    """presence: the word; availability: its code; personal_message: "" when there is none."""

    presence: Availability
    availability: int
    personal_message: str = ""

    def to_json(self) -> dict[str, object]:
        """`{presence, availability, personalMessage}`."""
        return {
            "presence": self.presence.value,
            "availability": self.availability,
            "personalMessage": self.personal_message,
        }


UNKNOWN = BemsPresence(Availability.UNKNOWN, CODES[Availability.UNKNOWN])


def derive(
    document: Presence | None,
    *,
    at: datetime,
    subscription: str = "active",
    languages: Sequence[str] = (),
    tables: Tables = DEFAULT,
) -> tuple[BemsPresence, datetime | None]:
    """The availability as of `at`, and when it changes by itself (None: never).

    subscription: "active", "pending", "terminated" or "" (none yet); pending is unknown, whatever its
    placeholder document says.
    """
    if document is None or subscription == "pending":
        return UNKNOWN, None
    reading = Reading(document, at, "", tables, languages)
    communication.read(reading)
    effects = webex.effects_of(activity.gather(reading), tables)
    said = {effect.availability for _, effect, _ in effects}
    word = next((a for a in tables.availability_order if a in said), None)
    word = word or without_activity(reading)
    return BemsPresence(word, CODES[word], reading.person_note() or ""), reading.soon


def without_activity(reading: Reading) -> Availability:
    """What `basic` and input alone say."""
    if reading.any_closed and not reading.any_open:
        return Availability.OFFLINE
    idle = webex.is_idle(reading.document)
    if idle is True:
        return Availability.AWAY
    if reading.any_open or idle is False:
        return Availability.AVAILABLE
    return Availability.OFFLINE


def word_of(code: int) -> Availability:
    """The word of a code; a code between two is the lower one's, as Microsoft's ranges have it."""
    words = [word for word, known in CODES.items() if known >= 0]
    if code < CODES[words[0]] - 500:
        return Availability.UNKNOWN
    below = [word for word in words if CODES[word] <= max(code, CODES[words[0]])]
    return below[-1]


# --- setting a status ---------------------------------------------------------------------------------

SETTABLE: dict[Availability, tuple[Activity, tuple[tuple[str, str], ...]]] = {
    Availability.AVAILABLE: (Activity.AVAILABLE, ()),
    Availability.BUSY: (Activity.BUSY, ()),
    Availability.DO_NOT_DISTURB: (Activity.DO_NOT_DISTURB, ()),
    Availability.BE_RIGHT_BACK: (
        Activity.AWAY,
        (("rpid.activity", f"{{{SIPBRIDGE}}}be-right-back"),),
    ),
    Availability.AWAY: (Activity.AWAY, ()),
    Availability.OFFLINE: (Activity.NONE, (("pidf.basic", "closed"),)),
}
"""How each word that can be set is published: the Activity and its pairs."""


def read_word(text: str) -> Availability:
    """A status word as clients write it. Raises InvalidValue, part "presence", also for `unknown`."""
    spelt = letters(text)
    for word in SETTABLE:
        if word.value == spelt:
            return word
    valid = tuple(word.value for word in SETTABLE)
    raise InvalidValue(f"{text[:60]!r} can not be set", part="presence", valid=valid)


def to_attributes(
    word: str, *, at: datetime, personal_message: str | None = None
) -> tuple[Attribute, ...]:
    """The attributes that publish a status word. Raises InvalidValue, part "presence".

    personal_message: None or "" write no note; whether None means to keep the former one is the caller's.
    """
    activity_word, pairs = SETTABLE[read_word(word)]
    others = (Attribute(AttributeKind.OTHER, Other(n, v), None, at) for n, v in pairs)
    return (
        Attribute(AttributeKind.ACTIVITY, activity_word, personal_message or None, at),
        *others,
    )


def to_document(
    word: str,
    *,
    presentity: Uri | str,
    at: datetime,
    personal_message: str | None = None,
    tables: Tables = DEFAULT,
) -> Presence:
    """The document that publishes a word and nothing else. Raises as `to_attributes`."""
    attributes = to_attributes(word, at=at, personal_message=personal_message)
    return ocsg.to_document(attributes, presentity=presentity, at=at, tables=tables)
