"""The vocabularies as tables: RPID activities, places, privacy, sphere, and what says a means' type.

Sources: RFC 4480 (RPID), RFC 4589 (location types), the Parlay X Presence enumerations. Nothing published
maps one to the other; where no listed value has the same meaning a token maps to a broader one (`lunch` is a
Meal), where none is broader to `…Other`, never to a neighbour. The few exceptions are commented "nearest".
"""

from sipbridge.mapping.attributes import Activity, MeansType, Place, Privacy, Sphere
from sipbridge.mapping.rows import ANY, Table, ranked
from sipbridge.presence.namespaces import LOCATION_TYPE, RPID, RPID_DRAFTS

ACTIVITY = Table(
    namespace=RPID,
    pairs={
        "permanent-absence": Activity.PERMANENT_ABSENCE,
        "x:do-not-disturb": Activity.DO_NOT_DISTURB,
        "on-the-phone": Activity.ON_THE_PHONE,
        "meeting": Activity.MEETING,
        "performance": Activity.PERFORMANCE,
        "steering": Activity.STEERING,
        "sleeping": Activity.SLEEPING,
        "meal": Activity.MEAL,
        "in-transit": Activity.IN_TRANSIT,
        "holiday": Activity.HOLIDAY,
        "travel": Activity.TRAVEL,
        "busy": Activity.BUSY,
        "away": Activity.AWAY,
        "x:other": Activity.OTHER,
        "x:none": Activity.NONE,
    },
    folds={
        "presentation": Activity.PERFORMANCE,  # RFC 4480 counts lectures, given or heard
        "breakfast": Activity.MEAL,
        "lunch": Activity.MEAL,
        "dinner": Activity.MEAL,
        "vacation": Activity.HOLIDAY,  # nearest: the RFC separates them, ordinary English does not
        "appointment": Activity.BUSY,  # the publisher declined to say what; Meeting would be a guess
        "worship": Activity.OTHER,
        "spectator": Activity.OTHER,
        "playing": Activity.OTHER,
        "shopping": Activity.OTHER,
        "tv": Activity.OTHER,
        "working": Activity.OTHER,
        "looking-for-work": Activity.OTHER,
        "other": Activity.OTHER,
        "unknown": Activity.NONE,
    },
    other=Activity.OTHER,
    ranks=ranked(
        [
            "permanent-absence",
            "x:do-not-disturb",
            "on-the-phone",
            "meeting",
            "presentation",
            "performance",
            "steering",
            "sleeping",
            "breakfast",
            "lunch",
            "dinner",
            "meal",
            "in-transit",
            "vacation",
            "holiday",
            "travel",
            "appointment",
            "busy",
            "away",
            "worship",
            "spectator",
            "playing",
            "shopping",
            "tv",
            "working",
            "looking-for-work",
            "x:other",
            "other",
            "*",
            "x:none",
            "unknown",
        ]
    ),
    companions={"x:do-not-disturb": "busy"},
)

CLOSED = frozenset({Activity.PERMANENT_ABSENCE})
"""Words that go with `basic` closed."""

SPECIFIC, SPECIFIC_OTHER, UMBRELLA, NOT_KNOWN = 1.0, 2.0, 3.0, 4.0
FOLD_FIRST = -0.5
"""Within a rank a fold comes before what the writer would choose."""

PAIRS = {
    "aircraft": Place.AIRCRAFT,
    "airport": Place.AIRPORT,
    "bus": Place.BUS,
    "hotel": Place.HOTEL,
    "industrial": Place.INDUSTRIAL,
    "office": Place.OFFICE,
    "residence": Place.HOME,  # nearest: may be a friend's
    "restaurant": Place.RESTAURANT,
    "school": Place.SCHOOL,
    "shopping-area": Place.MALL,  # nearest: streets of shops too
    "street": Place.STREET,
    "theater": Place.THEATRE,
    "train": Place.TRAIN,
    "watercraft": Place.SHIP,  # nearest: boats too
    "x:station": Place.STATION,
    "x:other": Place.OTHER,
    "outdoors": Place.OUTDOORS,
    "public": Place.PUBLIC_PLACE,
    "public-transport": Place.PUBLIC_TRANSPORT,
}

FOLDS = {
    "bus-station": Place.STATION,
    "train-station": Place.STATION,
    "cafe": Place.RESTAURANT,  # RFC 4589 counts cafés as restaurants
    "classroom": Place.SCHOOL,
    "construction": Place.INDUSTRIAL,
    "warehouse": Place.INDUSTRIAL,
    "unknown": Place.NONE,
} | dict.fromkeys(
    [
        "arena",
        "automobile",
        "bank",
        "bar",
        "bicycle",
        "club",
        "convention-center",
        "government",
        "hospital",
        "library",
        "motorcycle",
        "parking",
        "place-of-worship",
        "prison",
        "stadium",
        "store",
        "truck",
        "underway",
        "water",
    ],
    Place.OTHER,
)

UMBRELLAS = frozenset({"outdoors", "public", "public-transport", "underway", "water"})


def rank(token: str, word: Place, written: bool) -> float:
    if token == "unknown":
        return NOT_KNOWN
    specific = SPECIFIC_OTHER if word is Place.OTHER else SPECIFIC
    base = UMBRELLA if token in UMBRELLAS else specific
    return base if written else base + FOLD_FIRST


RANKS = (
    {t: rank(t, w, True) for t, w in PAIRS.items()}
    | {t: rank(t, w, False) for t, w in FOLDS.items()}
    | {ANY: SPECIFIC_OTHER + FOLD_FIRST}
)

DRAFT_WORDS = {
    "home": "residence",
    "theatre": "theater",
    "ship": "watercraft",
    "mall": "shopping-area",
    "station": "x:station",
    "publicplace": "public",
    "cycle": "bicycle",
    "bicyle": "bicycle",
    "motorcyle": "motorcycle",
}
"""Words of the RPID drafts and misprints of circulating registries."""

PLACE = Table(
    namespace=LOCATION_TYPE,
    pairs=PAIRS,
    folds=FOLDS,
    other=Place.OTHER,
    ranks=RANKS,
    companions={"x:station": "public"},
    aliases=DRAFT_WORDS
    | {
        f"{{{space}}}{word}": token
        for space in (RPID, *sorted(RPID_DRAFTS))
        for word, token in (
            *((t, t) for t in (*PAIRS, *FOLDS) if not t.startswith("x:")),
            *DRAFT_WORDS.items(),
        )
    },
)

PRIVACY = Table(
    namespace=RPID,
    pairs={
        "": Privacy.PUBLIC,
        "audio,text,video": Privacy.PRIVATE,
        "text": Privacy.QUIET,
        "x:other": Privacy.OTHER,
    },
    folds={"unknown": Privacy.NONE},
    other=Privacy.OTHER,
    aliases={"public": "", "private": "audio,text,video", "quiet": "text"},
)

SPHERE = Table(
    namespace=RPID,
    pairs={"work": Sphere.WORK, "home": Sphere.HOME, "x:other": Sphere.OTHER},
    folds={"unknown": Sphere.NONE},
    other=Sphere.OTHER,
)

SCHEMES = {
    "tel": MeansType.PHONE,
    "sip": MeansType.PHONE,
    "sips": MeansType.PHONE,
    "sms": MeansType.SMS,
    "smsto": MeansType.SMS,
    "mms": MeansType.MMS,
    "mmsto": MeansType.MMS,
    "mailto": MeansType.EMAIL,
    "http": MeansType.WEB,
    "https": MeansType.WEB,
    "im": MeansType.CHAT,
    "xmpp": MeansType.CHAT,
    "msrp": MeansType.CHAT,
    "msrps": MeansType.CHAT,
}
"""Type of a means by the scheme of its contact; any other is MeansOther."""

SERVICES = {
    "org.openmobilealliance:im-session": MeansType.CHAT,
    "org.openmobilealliance:im-pager-mode": MeansType.CHAT,
    "org.openmobilealliance:im-pager": MeansType.CHAT,
    "org.openmobilealliance:chatsession": MeansType.CHAT,
    "org.openmobilealliance:standalonemsg": MeansType.CHAT,
    "org.openmobilealliance:file-transfer": MeansType.CHAT,
    "org.openmobilealliance:file-transfer-http": MeansType.CHAT,
    "org.openmobilealliance:poc-session": MeansType.PHONE,
    "org.openmobilealliance:poc-alert": MeansType.PHONE,
    "org.openmobilealliance:mms": MeansType.MMS,
    "org.3gpp.urn:urn-7:3gpp-service.ims.icsi.mmtel": MeansType.PHONE,
    "org.3gpp.cs-speech": MeansType.PHONE,
    "org.3gpp.cs-videotelephony": MeansType.VIDEO,
    "org.gsma.videoshare": MeansType.VIDEO,
}
"""Type of a means by OMA service-id (lower case)."""

# --- what the schemas allow where the mapping only carries it through ---------------------------------

MOODS = frozenset(
    [
        "afraid",
        "amazed",
        "angry",
        "annoyed",
        "anxious",
        "ashamed",
        "bored",
        "brave",
        "calm",
        "cold",
        "confused",
        "contented",
        "cranky",
        "curious",
        "depressed",
        "disappointed",
        "disgusted",
        "distracted",
        "embarrassed",
        "excited",
        "flirtatious",
        "frustrated",
        "grumpy",
        "guilty",
        "happy",
        "hot",
        "humbled",
        "humiliated",
        "hungry",
        "hurt",
        "impressed",
        "in_awe",
        "in_love",
        "indignant",
        "interested",
        "invincible",
        "jealous",
        "lonely",
        "mean",
        "moody",
        "nervous",
        "neutral",
        "offended",
        "playful",
        "proud",
        "relieved",
        "remorseful",
        "restless",
        "sad",
        "sarcastic",
        "serious",
        "shocked",
        "shy",
        "sick",
        "sleepy",
        "stressed",
        "surprised",
        "thirsty",
        "worried",
        "unknown",
    ]
)

MEDIA = {
    "audio": frozenset({"noisy", "ok", "quiet", "unknown"}),
    "video": frozenset({"toobright", "ok", "dark", "unknown"}),
    "text": frozenset({"uncomfortable", "inappropriate", "ok", "unknown"}),
}
"""What the schema allows in place-is; the elements stand in this order."""

RELATIONSHIPS = frozenset(
    {"assistant", "associate", "family", "friend", "self", "supervisor", "unknown"}
)
SERVICE_CLASSES = frozenset({"electronic", "postal", "courier", "freight", "in-person", "unknown"})

SWITCH = frozenset({"true", "false"})

FEATURES: dict[str, frozenset[str]] = {
    "actor": frozenset({"attendant", "information", "msg-taker", "principal"}),
    "application": SWITCH,
    "audio": SWITCH,
    "automata": SWITCH,
    "class": frozenset({"business", "personal"}),
    "control": SWITCH,
    "data": SWITCH,
    "duplex": frozenset({"full", "half", "receive-only", "send-only"}),
    "isfocus": SWITCH,
    "message": SWITCH,
    "methods": frozenset(
        [
            "ACK",
            "BYE",
            "CANCEL",
            "INFO",
            "INVITE",
            "MESSAGE",
            "NOTIFY",
            "OPTIONS",
            "PRACK",
            "PUBLISH",
            "REFER",
            "REGISTER",
            "SUBSCRIBE",
            "UPDATE",
        ]
    ),
    "languages": frozenset(),
    "schemes": frozenset(),
    "text": SWITCH,
    "video": SWITCH,
}
"""Features of RFC 5196 servcaps that a pair can bring back, in the schema's order, with their values (empty:
any text)."""
