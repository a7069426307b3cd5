"""Presence documents for hypothesis: every class of the model, in the form that reading gives.

Texts are whatever XML can hold; where reading trims, they have no blanks around. Containers have no ids:
those must be unique, and are tried elsewhere.
"""

from datetime import UTC, datetime, timedelta
from typing import TypeVar

from hypothesis import strategies as st

from sipbridge.presence import rpid
from sipbridge.presence.model import (
    Attributes,
    Basic,
    Capabilities,
    Choice,
    Cipid,
    Contact,
    Device,
    Extension,
    Note,
    OtherInfo,
    Person,
    PlaceIs,
    Presence,
    ServiceDescription,
    StatusIcon,
    TimedStatus,
    TimeOffset,
    Timestamp,
    Token,
    TokenList,
    Tuple,
    UserInput,
)
from sipbridge.presence.namespaces import RPID, SIPBRIDGE

T = TypeVar("T")

# What XML 1.0 can hold (section 2.2): tab, line ends, and no surrogates or non-characters.
CHARACTERS = st.characters(
    exclude_categories=["Cs", "Cc"], include_characters="\t\n\r", exclude_characters="\ufffe\uffff"
)
TEXT = st.text(CHARACTERS, max_size=12)
TRIMMED = TEXT.map(str.strip)
WORDS = TRIMMED.filter(bool)
NAMES = st.from_regex(r"[a-z][a-z0-9\-]{0,8}", fullmatch=True)
URIS = st.builds("sip:{}@example.com".format, NAMES)
LANGS = st.none() | st.sampled_from(["en", "de", "pt-BR"])
VENDOR = "urn:vendor:example"


def few(strategy: st.SearchStrategy[T]) -> st.SearchStrategy[tuple[T, ...]]:
    """None to two of them."""
    return st.lists(strategy, max_size=2).map(tuple)


def maybe(strategy: st.SearchStrategy[T]) -> st.SearchStrategy[T | None]:
    """One or none."""
    return st.none() | strategy


def attributes(names: tuple[str, ...] = ("flag", "rank")) -> st.SearchStrategy[Attributes]:
    """Attributes of a vendor."""
    return st.lists(st.sampled_from(names), unique=True, max_size=2).flatmap(
        lambda chosen: st.tuples(
            *[st.tuples(st.just(f"{{{VENDOR}}}{name}"), TEXT) for name in chosen]
        )
    )


MORE = attributes()
TIMES = st.one_of(
    st.integers(0, 3 * 10**12).map(
        lambda ms: rpid.write_time(datetime(1990, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms))
    ),
    st.sampled_from(["yesterday", "", "2031-13-01T00:00:00Z"]).map(
        lambda text: Timestamp(text, None)
    ),
    st.just(Timestamp("2031-05-01T02:00:00+02:00", datetime(2031, 5, 1, tzinfo=UTC))),
)
NOTES = few(st.builds(Note, TEXT, LANGS, MORE))
EXTENSIONS = few(
    st.builds(
        lambda name, text: Extension(
            f"{{{VENDOR}}}{name}", f'<v:{name} xmlns:v="{VENDOR}">{text}</v:{name}>'
        ),
        NAMES,
        st.sampled_from(["", "plain", "<v:in>a &amp; b</v:in>", "<bare>x</bare>"]),
    )
)
FOREIGN = st.sampled_from(
    [
        Token(f"{{{VENDOR}}}juggling"),
        Token(f"{{{SIPBRIDGE}}}do-not-disturb"),
        Token("{urn:other:example}x"),
    ]
)


def tokens(known: frozenset[str], home: str = RPID) -> st.SearchStrategy[tuple[Token, ...]]:
    """Values of a vocabulary, and foreign ones."""
    plain = st.sampled_from(sorted(known - {"other"})).map(lambda word: Token(f"{{{home}}}{word}"))
    choices = plain | FOREIGN
    if "other" in known:
        choices |= st.builds(Token, st.just(f"{{{RPID}}}other"), TRIMMED.filter(bool), LANGS)
    return few(choices)


def lists(words: rpid.Vocabulary) -> st.SearchStrategy[tuple[TokenList, ...]]:
    """activities and its kin. The place registry has its `other` in RPID."""
    values = tokens(words.known, words.home)
    notes = st.just(()) if words is rpid.SPHERE else NOTES
    return few(
        st.builds(
            TokenList,
            since=maybe(TIMES),
            until=maybe(TIMES),
            attributes=MORE,
            tokens=values,
            notes=notes,
        )
    )


INPUT = st.builds(
    UserInput,
    st.sampled_from(["active", "idle"]),
    maybe(st.integers(1, 9999).map(str)),
    maybe(TIMES),
    st.none(),
    MORE,
)
ICONS = few(st.builds(StatusIcon, maybe(TIMES), maybe(TIMES), st.none(), MORE, URIS))
PLACE_IS = few(
    st.builds(
        PlaceIs,
        since=maybe(TIMES),
        attributes=MORE,
        audio=tokens(rpid.AUDIO_VALUES),
        video=tokens(rpid.VIDEO_VALUES),
        medium_text=tokens(rpid.TEXT_VALUES),
        notes=NOTES,
    )
)
CIPID = st.builds(Cipid, maybe(URIS), maybe(TRIMMED), *[maybe(URIS)] * 4).filter(
    lambda card: card != Cipid()
)
SERVCAPS = st.builds(
    Capabilities,
    st.just(False),
    st.lists(
        st.sampled_from(
            [
                ("audio", "true"),
                ("video", "false"),
                ("methods", "INVITE,BYE"),
                ("languages", "en,fi"),
            ]
        ),
        unique=True,
        max_size=3,
    ).map(tuple),
)
DEVCAPS = st.just(Capabilities(True, (("mobility", "mobile"),)))
TIMED = few(
    st.builds(
        TimedStatus,
        maybe(TIMES),
        maybe(TIMES),
        maybe(st.sampled_from(Basic)),
        NOTES,
        EXTENSIONS,
        MORE,
    )
)
CHOICE = st.builds(Choice, few(FOREIGN | st.just(Token(f"{{{RPID}}}unknown"))), NOTES, MORE)
CLASSES = few(TRIMMED)
DESCRIPTION = st.builds(ServiceDescription, WORDS, maybe(TRIMMED), maybe(TRIMMED), EXTENSIONS)
CONTACTS = st.builds(
    Contact, URIS | st.just(""), maybe(st.sampled_from(["0", "1", "0.8", "1.000", "2", ""])), MORE
)

TUPLES = st.builds(
    Tuple,
    id=st.none(),
    basic=maybe(st.sampled_from(Basic)),
    contact=maybe(CONTACTS),
    notes=NOTES,
    timestamp=maybe(TIMES),
    device_ids=few(URIS),
    classes=CLASSES,
    privacy=lists(rpid.PRIVACY),
    relationship=maybe(CHOICE),
    service_class=maybe(CHOICE),
    status_icons=ICONS,
    user_input=maybe(INPUT),
    cipid=maybe(CIPID),
    capabilities=maybe(SERVCAPS),
    willingness=maybe(st.sampled_from(Basic)),
    service_descriptions=few(DESCRIPTION),
    timed_status=TIMED,
    status_extensions=EXTENSIONS,
    extensions=EXTENSIONS,
    attributes=MORE,
    status_attributes=MORE,
)
PERSONS = st.builds(
    Person,
    id=st.none(),
    activities=lists(rpid.ACTIVITY),
    moods=lists(rpid.MOOD),
    place_is=PLACE_IS,
    place_types=lists(rpid.PLACE),
    privacy=lists(rpid.PRIVACY),
    spheres=lists(rpid.SPHERE),
    status_icons=ICONS,
    time_offsets=few(
        st.builds(
            TimeOffset,
            maybe(TIMES),
            maybe(TIMES),
            st.none(),
            MORE,
            st.integers(-720, 840).map(str),
            maybe(TEXT),
        )
    ),
    user_input=maybe(INPUT),
    classes=CLASSES,
    cipid=maybe(CIPID),
    overriding_willingness=maybe(st.sampled_from(Basic)),
    other_info=few(st.builds(OtherInfo, TEXT, TEXT)),
    notes=NOTES,
    timestamp=maybe(TIMES),
    extensions=EXTENSIONS,
    attributes=MORE,
)
DEVICES = st.builds(
    Device,
    id=st.none(),
    device_id=maybe(URIS),
    user_input=maybe(INPUT),
    classes=CLASSES,
    capabilities=maybe(DEVCAPS),
    notes=NOTES,
    timestamp=maybe(TIMES),
    extensions=EXTENSIONS,
    attributes=MORE,
)
DOCUMENTS = st.builds(
    Presence,
    entity=maybe(URIS),
    tuples=few(TUPLES),
    persons=few(PERSONS),
    devices=few(DEVICES),
    notes=NOTES,
    extensions=EXTENSIONS,
    attributes=MORE,
)
