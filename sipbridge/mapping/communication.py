"""Tuples and Communication (RFC 3863 §4.1, RFC 4479 §3.2, RFC 5196).

A tuple is a means of the person if it is not closed, reaches the person (`relationship` self or absent) and
is electronic (`service-class`). Its contact is `contact`; a tuple without one is a means at the presentity's
own address only if it says what it can do (RFC 5196 capabilities, a known OMA service), else it is a *status
tuple* that states `basic` and nothing more. What kind of means it is, the first of these says: our own
`x:means`, OMA's service-id, the scheme of the contact; a sip contact with capabilities is one means for each
of audio (Phone), video (Video), message or text (Chat).

What the means do not say goes into pairs with the tuple's id: `caps[id]` where the capabilities are not what
our writer would write for the types, `pidf.device[id]`, `rpid.relationship[id]`, `rpid.service-class[id]`,
`rpid.class[id]`, `rpid.privacy[id]`; the contact of a closed tuple is `pidf.closed-contact`. On the way back
a pair's tuple is found by its id, which our own documents keep; for a document of others that has several
tuples, `pidf.contact[id]` names the contact of such a tuple (empty: none).

Written is one tuple for each contact, and always the status tuple first, since some servers can not build
their offline document without a `basic`. Types that the scheme and the capabilities can not express, and a
second priority of the same contact, travel as `x:means` elements; so does the note of Communication, which
belongs to all means and thus to no tuple's note: it is an attribute of the first of these elements.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from html import escape
from urllib.parse import quote, unquote

from msgspec import Struct

from sipbridge.errors import DocumentError, ParseError
from sipbridge.mapping.attributes import ANY_URI, AttributeKind, Means, MeansType, uri_fault
from sipbridge.mapping.privacy import set_of
from sipbridge.mapping.privacy import tokens_of as privacy_tokens
from sipbridge.mapping.reading import NOTE, Reading, Said
from sipbridge.mapping.schedule import parse_token, scheduled_pair
from sipbridge.mapping.table import Tables
from sipbridge.mapping.vocabulary import FEATURES, RELATIONSHIPS, SERVICE_CLASSES
from sipbridge.mapping.writing import Writing, stable_id
from sipbridge.presence.capabilities import in_order
from sipbridge.presence.fragments import from_fragment
from sipbridge.presence.markup import quote as quoted
from sipbridge.presence.model import (
    Basic,
    Capabilities,
    Choice,
    Contact,
    Extension,
    Note,
    ServiceDescription,
    Timestamp,
    Token,
    TokenList,
    Tuple,
)
from sipbridge.presence.namespaces import RPID, SIPBRIDGE
from sipbridge.uri import Uri, normal_tel, normal_user

KIND = AttributeKind.COMMUNICATION
MEANS = f"{{{SIPBRIDGE}}}means"

STATUS = "status"
"""What the id of the status tuple is made of."""

BARE = f"{{{RPID}}}"
SELF, ELECTRONIC, OTHER = f"{BARE}self", f"{BARE}electronic", f"{BARE}other"
OPEN, CLOSED, OTHER_MEANS = Basic.OPEN, Basic.CLOSED, MeansType.OTHER
"""By short names: to look up the member of an enumeration takes as long as to make a value."""
CAPABLE = (("audio", MeansType.PHONE), ("video", MeansType.VIDEO))
WRITTEN_CAPABILITIES = {
    MeansType.PHONE: ("audio",),
    MeansType.VIDEO: ("audio", "video"),
    MeansType.CHAT: ("message",),
}
"""What our writer says a sip contact can do, by type of means."""

SERVICE_OF = {
    MeansType.CHAT: "org.openmobilealliance:IM-session",
    MeansType.PHONE: "org.3gpp.urn:urn-7:3gpp-service.ims.icsi.mmtel",
    MeansType.VIDEO: "org.gsma.videoshare",
    MeansType.MMS: "org.openmobilealliance:MMS",
}
"""service-id written in OMA mode, where a contact has one type only."""

PRIORITY = re.compile(r"[01](?:\.[0-9]{0,3})?")


# --- to JSON ------------------------------------------------------------------------------------------


def read(reading: Reading) -> list[Said]:
    """The means with the time of the newest tuple; nothing if there are none. Knows `basic` afterwards."""
    reading.bound = None
    found: list[Means] = []
    newest: datetime | None = None
    note: str | None = None
    for service in reading.document.tuples:
        types = types_of(service, reading.tables)
        if note is None and service.extensions:
            note = next((own.note for own in own_elements_of(service) if own.note), None)
        if service.basic is not None:
            state_basic(reading, service.basic, service.contact is None and not types)
        if types:
            changed = reading.changed(service.timestamp)
            if newest is None or changed > newest:
                newest = changed
            means_of(reading, service, types, changed, found)
        service_pairs(reading, service, types)
    if reading.status_basic is None and (reading.any_open or reading.any_closed):
        reading.status_basic = reading.any_open
    if not found or newest is None:
        return []
    if len(found) > 1:
        found = sorted(dict.fromkeys(found), key=lambda m: (-m.priority, m.contact, m.type))
    return [((KIND, tuple(found), note), newest)]


def state_basic(reading: Reading, basic: Basic, status: bool) -> None:
    """Keep what a tuple's basic says, for all and for status tuples: open if any is."""
    opened = basic is OPEN
    if opened:
        reading.any_open = True
    else:
        reading.any_closed = True
    if status:
        reading.status_basic = opened or bool(reading.status_basic)


def types_of(service: Tuple, tables: Tables) -> tuple[tuple[MeansType, float | None], ...]:
    """The types of means a tuple is, with priorities of their own; empty for one without contact that
    does not say what it can do."""
    if service.extensions:
        own = own_elements_of(service)
        if own:
            return tuple((each.type, each.priority) for each in own)
    for description in service.service_descriptions:
        kind = tables.services.get(description.service_id.strip().lower())
        if kind is not None:
            return ((kind, None),)
    uri = service.contact.uri if service.contact is not None else None
    if uri is None and service.capabilities is None:
        return ()
    scheme = scheme_of(uri) if uri is not None else "sip"
    if service.capabilities is not None and scheme in ("sip", "sips"):
        types = capable(dict(service.capabilities.supported))
        if types:
            return types
    return ((tables.schemes.get(scheme, OTHER_MEANS), None),)


@lru_cache(maxsize=8192)
def scheme_of(uri: str) -> str:
    return uri.partition(":")[0].strip().lower()


def capable(supported: dict[str, str]) -> tuple[tuple[MeansType, float | None], ...]:
    """One type for each capability that is not denied."""

    def says(feature: str) -> bool:
        return feature in supported and supported[feature] != "false"

    types: list[tuple[MeansType, float | None]] = [(t, None) for f, t in CAPABLE if says(f)]
    if says("message") or says("text"):
        types.append((MeansType.CHAT, None))
    return tuple(types)


class OwnMeans(Struct, frozen=True):
    """What an `x:means` element says: type, a priority of its own, the note of all means."""

    type: MeansType
    priority: float | None
    note: str | None


def own_elements_of(service: Tuple) -> list[OwnMeans]:
    """Our own elements in a tuple."""
    return [m for e in service.extensions if e.name == MEANS and (m := own_means(e))]


@lru_cache(maxsize=1024)
def own_means(element: Extension) -> OwnMeans | None:
    """An `x:means` element of ours; None if it is not one of those we write."""
    try:
        found = from_fragment(element.xml)
    except DocumentError:  # larger than a document may be, once written as a fragment
        return None
    kind = (found.text or "").strip()
    if kind not in set(MeansType):
        return None
    priority = (found.get("priority") or "").strip()
    weight = float(priority) if PRIORITY.fullmatch(priority) else None
    return OwnMeans(MeansType(kind), weight, found.get(NOTE))


def means_of(
    reading: Reading,
    service: Tuple,
    types: Iterable[tuple[MeansType, float | None]],
    changed: datetime,
    found: list[Means],
) -> None:
    """Add the means of one tuple, or the pair of a closed one."""
    contact = service.contact
    uri = contact.uri.strip() if contact is not None else ""
    uri = uri or reading.presentity
    if service.basic is CLOSED:
        reading.pair("pidf.closed-contact", uri, changed)
        return
    if not reaches_person(service):
        return
    weight = contact.weight if contact is not None else 0.0
    for kind, priority in types:
        found.append(Means(uri, weight if priority is None else priority, kind))
        if reading.explain is not None:
            reading.say(KIND, kind, container=service.id, contact=uri, priority=weight)


def reaches_person(service: Tuple) -> bool:
    """Is it the person's own, and electronic?"""
    relationship, service_class = service.relationship, service.service_class
    return (relationship is None or reaches(relationship, SELF)) and (
        service_class is None or reaches(service_class, ELECTRONIC)
    )


def reaches(choice: Choice, only: str) -> bool:
    """Does the element say nothing but the default?"""
    tokens = choice.tokens
    if len(tokens) == 1:
        return tokens[0].name == only
    return all(token.name == only for token in tokens)


def service_pairs(
    reading: Reading, service: Tuple, types: tuple[tuple[MeansType, float | None], ...]
) -> None:
    """What the means do not say, by the tuple's id; and which tuple that is, where it is not plain."""
    for note in service.notes:
        reading.pair("ServiceNote", note.text, reading.changed(service.timestamp))
    said = refinements(reading, service, types)
    if not said:
        return
    changed = reading.changed(service.timestamp)
    id = service.id or ""
    for name, value in said:
        reading.pair(f"{name}[{id}]", value, changed)
    for name, value in whose(reading, service, types):
        reading.pair(f"{name}[{id}]", value, changed)


def refinements(
    reading: Reading, service: Tuple, types: tuple[tuple[MeansType, float | None], ...]
) -> list[tuple[str, str]]:
    """Names without id, and values."""
    said: list[tuple[str, str]] = []
    if service.capabilities is not None or service.service_descriptions:
        caps = caps_text(service)
        if caps and caps != caps_text(expected(service, types, reading.tables)):
            said.append(("caps", caps))
    said += [("pidf.device", urn) for urn in service.device_ids]
    if service.relationship is not None:
        choice_pairs("rpid.relationship", service.relationship, said)
    if service.service_class is not None:
        choice_pairs("rpid.service-class", service.service_class, said)
    if service.classes:
        said += [("rpid.class", word) for word in service.classes]
    for element in service.privacy:
        if reading.current(element):
            said.append(("rpid.privacy", set_of(element)))
        else:
            scheduled_pair(reading, "privacy", element, service.timestamp)
    return said


def whose(
    reading: Reading, service: Tuple, types: tuple[tuple[MeansType, float | None], ...]
) -> list[tuple[str, str]]:
    """Which tuple these pairs are about, where its id and the means will not tell."""
    told = not types or service.basic is CLOSED or reaches_person(service)
    if told and len(reading.document.tuples) < 2:
        return []
    uri = service.contact.uri.strip() if service.contact is not None else ""
    where = uri or (reading.presentity if types else "")
    if not told:
        basic = [("pidf.basic", "open")] if service.basic is OPEN else []
        return [("pidf.contact", where), *basic]
    purpose = contact_key(where) if where else STATUS
    plain = service.id == stable_id("t", reading.presentity, purpose)
    return [] if plain else [("pidf.contact", where)]


def choice_pairs(name: str, choice: Choice, said: list[tuple[str, str]]) -> None:
    """Tokens as pair values; `other:` and text for free text."""
    for token in choice.tokens:
        if token.name == OTHER:
            said.append((name, f"other:{token.text or ''}"))
        else:
            said.append((name, token.name.removeprefix(BARE)))
    if choice.text and choice.text.strip():
        said.append((name, f"other:{choice.text.strip()}"))


def caps_text(service: Tuple) -> str:
    """Capabilities and services as a compact list: `audio,video=false,duplex=full|half,service=id/1.0`."""
    parts = []
    if service.capabilities is not None:
        for feature, value in sorted(service.capabilities.supported):
            said = "|".join(quote(v, safe=SAFE) for v in value.split(","))
            parts.append(feature if said == "true" else f"{feature}={said}")
    for description in service.service_descriptions:
        version = quote(description.version or "", safe=SAFE)
        parts.append(f"service={quote(description.service_id.strip(), safe=SAFE)}/{version}")
    return ",".join(parts)


SAFE = ":.-_~@!*'()#?&$+ "


def expected(
    service: Tuple, types: Iterable[tuple[MeansType, float | None]], tables: Tables
) -> Tuple:
    """The tuple our writer would make for these types."""
    uri = service.contact.uri if service.contact is not None else "sip:"
    kinds = [kind for kind, _ in types]
    return Tuple(
        service.id,
        capabilities=capabilities_for(uri, kinds),
        service_descriptions=descriptions_for(kinds, tables),
    )


# --- from JSON ----------------------------------------------------------------------------------------


@dataclass(slots=True)
class Service:
    """A tuple in the making."""

    id: str
    uri: str | None = None
    basic: Basic | None = None
    means: list[Means] = field(default_factory=list)
    caps: str | None = None
    note: str | None = None
    """The note of Communication as a whole."""
    devices: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    privacy: list[TokenList] = field(default_factory=list)
    relationship: list[Token] = field(default_factory=list)
    service_class: list[Token] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Hints:
    """What pairs say of tuples that no means names: contact and basic by id."""

    contacts: dict[str, str] = field(default_factory=dict)
    basics: dict[str, Basic] = field(default_factory=dict)


class Services:
    """All tuples in the making. The first is the status tuple."""

    def __init__(self, writing: Writing) -> None:
        self.writing = writing
        self.by_id: dict[str, Service] = {}
        self.status = self.add(writing.id("t", STATUS))

    def add(self, name: str, uri: str | None = None, basic: Basic | None = None) -> Service:
        service = self.by_id.get(name)
        if service is None:
            service = self.by_id[name] = Service(name, uri, basic)
        return service

    def contact(self, uri: str, basic: Basic | None) -> Service:
        return self.add(self.writing.id("t", contact_key(uri)), uri, basic)

    def closed(self, uri: str) -> None:
        """A closed tuple, one of its own beside an open one of the same contact."""
        key = contact_key(uri)
        name = self.writing.id("t", key)
        if name in self.by_id:
            name = self.writing.id("t", f"{key} closed")
        self.add(name, uri, Basic.CLOSED)

    def find(self, name: str, hints: Hints) -> Service:
        """The tuple that pairs with this id mean."""
        known = self.by_id.get(name)
        if known is not None:
            return known
        if name in hints.contacts:
            uri = hints.contacts[name]
            return self.contact(uri, hints.basics.get(name)) if uri else self.status
        contacts = [s for s in self.by_id.values() if s.uri is not None]
        return contacts[0] if len(contacts) == 1 else self.status


def open_means(writing: Writing) -> bool:
    """Will any tuple but the status tuple be open?"""
    if any(a.value for a in writing.of(KIND) if isinstance(a.value, tuple)):
        return True
    return any(n.startswith("pidf.basic[") and "open" in v for n, v in writing.pairs.items())


def write(writing: Writing) -> tuple[Tuple, ...]:
    """All tuples, the status tuple first. `writing.closed` must be decided."""
    services = Services(writing)
    services.status.basic = Basic.CLOSED if writing.closed else Basic.OPEN
    attributes = writing.of(KIND)
    for attribute in attributes:
        if isinstance(attribute.value, tuple):
            for means in attribute.value:
                services.contact(means.contact, Basic.OPEN).means.append(means)
    give_note(writing, services)
    for uri in writing.take("pidf.closed-contact"):
        if uri_fault(uri) is None:
            services.closed(uri)
        else:
            writing.keep("pidf.closed-contact", uri)
    take_id_pairs(writing, services)
    services.status.notes += writing.take("ServiceNote")
    stamp = writing.stamp(attributes)
    status_stamp = writing.stamp(writing.of(AttributeKind.ACTIVITY))
    return tuple(
        made(service, writing, status_stamp if service is services.status else stamp)
        for service in services.by_id.values()
    )


def give_note(writing: Writing, services: Services) -> None:
    """The note of Communication goes to the first tuple that has means."""
    note = next((a.note for a in writing.of(KIND) if a.note), None)
    if note is None:
        return
    for service in services.by_id.values():
        if service.means:
            service.note = note
            return
    writing.dropped("Communication note", note, "there are no means")


ID_PAIR = re.compile(
    r"(caps|pidf\.device|rpid\.relationship|rpid\.service-class|rpid\.class|rpid\.privacy)\[(.*)\]",
    re.DOTALL,
)


def take_id_pairs(writing: Writing, services: Services) -> None:
    """Give the pairs with an id to their tuples."""
    if not writing.pairs:
        return
    person = writing.id("p", "person")
    named = [(name, match) for name in writing.pairs if (match := ID_PAIR.fullmatch(name))]
    named = [(name, match) for name, match in named if match[2] != person]
    hints = take_hints(writing, {match[2] for _, match in named})
    for name, match in named:
        service = services.find(match[2], hints)
        for value in writing.take(name):
            if not give(service, match[1], value, service is services.status):
                writing.keep(name, value)


def take_hints(writing: Writing, ids: Iterable[str]) -> Hints:
    """The pairs that say which tuple an id means."""
    hints = Hints()
    for name in ids:
        for uri in writing.take(f"pidf.contact[{name}]"):
            if not uri or uri_fault(uri) is None:
                hints.contacts[name] = uri
            else:
                writing.keep(f"pidf.contact[{name}]", uri)
        for basic in writing.take(f"pidf.basic[{name}]"):
            if basic in ("open", "closed"):
                hints.basics[name] = Basic(basic)
            else:
                writing.keep(f"pidf.basic[{name}]", basic)
    return hints


def give(service: Service, name: str, value: str, is_status: bool) -> bool:
    """One pair into its tuple; False if the value can not be written there."""
    match name:
        case "caps":
            # On a tuple without contact they would make it a means.
            if is_status or service.caps is not None or caps_of(value) is None:
                return False
            service.caps = value
            return True
        case "rpid.relationship":
            return add_choice(service.relationship, value, RELATIONSHIPS, True)
        case "rpid.service-class":
            return add_choice(service.service_class, value, SERVICE_CLASSES, False)
    return give_text(service, name, value)


def give_text(service: Service, name: str, value: str) -> bool:
    """A device, class or privacy."""
    if name == "rpid.privacy":
        tokens = privacy_tokens(value)
        if tokens is not None:
            service.privacy.append(TokenList(tokens=tokens))
        return tokens is not None
    if not value.strip() or (name == "pidf.device" and not ANY_URI.fullmatch(value)):
        return False
    (service.devices if name == "pidf.device" else service.classes).append(value)
    return True


def add_choice(tokens: list[Token], value: str, words: frozenset[str], text: bool) -> bool:
    """One token of relationship or service-class: a listed word, free text, or foreign elements."""
    if text and value.startswith("other:"):
        token: Token | None = Token(f"{{{RPID}}}other", value[6:])
    elif value in words:
        token = Token(f"{{{RPID}}}{value}")
    else:
        token = parse_token(value, RPID) if value.startswith("{") else None
        if token is not None and token.name.startswith(f"{{{RPID}}}"):
            token = None
    foreign = token is not None and not token.name.startswith(f"{{{RPID}}}")
    if token is None or (tokens and not (foreign and not tokens[0].name.startswith(f"{{{RPID}}}"))):
        return False
    tokens.append(token)
    return True


def made(service: Service, writing: Writing, stamp: Timestamp | None) -> Tuple:
    """The finished tuple."""
    kinds = [m.type for m in service.means]
    capabilities: Capabilities | None = None
    descriptions: tuple[ServiceDescription, ...] = ()
    contact: Contact | None = None
    extensions: tuple[Extension, ...] = ()
    if service.uri is not None:
        weight = max((m.priority for m in service.means), default=0.0)
        contact = Contact(service.uri, print_priority(weight) if weight else None)
        capabilities = capabilities_for(service.uri, kinds)
        descriptions = descriptions_for(kinds, writing.tables)
        if service.caps is not None and (given := caps_of(service.caps)) is not None:
            capabilities, descriptions = given
        bare = Tuple(
            service.id,
            contact=contact,
            capabilities=capabilities,
            service_descriptions=descriptions,
        )
        extensions = own_elements(bare, service, weight, writing.tables)
    return Tuple(
        service.id,
        service.basic,
        contact,
        tuple(Note(text) for text in service.notes),
        stamp,
        tuple(service.devices),
        tuple(service.classes),
        tuple(service.privacy),
        Choice(tuple(service.relationship)) if service.relationship else None,
        Choice(tuple(service.service_class)) if service.service_class else None,
        capabilities=capabilities,
        service_descriptions=descriptions,
        extensions=extensions,
    )


def own_elements(
    bare: Tuple, service: Service, weight: float, tables: Tables
) -> tuple[Extension, ...]:
    """`x:means` for each means, if there is a note or the tuple would be read as something else without."""
    said = {(kind, weight) for kind, _ in types_of(bare, tables)}
    wanted = list(dict.fromkeys((m.type, rounded(m.priority)) for m in service.means))
    plain = {(kind, rounded(p)) for kind, p in said} == set(wanted)
    if not wanted or (plain and service.note is None):
        return ()
    notes = [service.note] + [None] * (len(wanted) - 1)
    return tuple(
        own_element(kind, p, rounded(weight), note)
        for (kind, p), note in zip(wanted, notes, strict=True)
    )


@lru_cache(maxsize=1024)
def own_element(
    kind: MeansType, priority: float, weight: float, note: str | None = None
) -> Extension:
    own = "" if note is None else f' x:note="{quoted(note)}"'
    if priority != weight:
        own += f' priority="{print_priority(priority)}"'
    return Extension(
        MEANS,
        f'<x:means xmlns:x="{escape(SIPBRIDGE)}"{own}>{kind.value}</x:means>',
    )


def capabilities_for(uri: str, kinds: Iterable[MeansType]) -> Capabilities | None:
    """servcaps for a sip contact with these types; None where the scheme says it all."""
    if scheme_of(uri) not in ("sip", "sips"):
        return None
    features = {f for kind in kinds for f in WRITTEN_CAPABILITIES.get(kind, ())}
    if not features:
        return None
    return Capabilities(supported=tuple((f, "true") for f in FEATURES if f in features))


def descriptions_for(kinds: Iterable[MeansType], tables: Tables) -> tuple[ServiceDescription, ...]:
    """The OMA description, for peers in OMA mode and one type only."""
    only = set(kinds)
    if not tables.oma or len(only) != 1 or not (ids := SERVICE_OF.keys() & only):
        return ()
    return (ServiceDescription(SERVICE_OF[ids.pop()], "1.0"),)


def caps_of(text: str) -> tuple[Capabilities | None, tuple[ServiceDescription, ...]] | None:
    """Read a compact list; None if it is none."""
    supported: list[tuple[str, str]] = []
    descriptions: list[ServiceDescription] = []
    for part in text.split(","):
        feature, equals, value = part.partition("=")
        if feature == "service" and equals:
            name, _, version = value.rpartition("/")
            descriptions.append(ServiceDescription(unquote(name), unquote(version) or "1.0"))
        elif feature in FEATURES and feature not in dict(supported):
            values = [unquote(v) for v in value.split("|")] if equals else ["true"]
            allowed = FEATURES[feature]
            if not values or (allowed and not set(values) <= allowed) or "" in values:
                return None
            supported.append((feature, ",".join(dict.fromkeys(values))))
        else:
            return None
    stated = in_order(Capabilities(supported=tuple(supported))) if supported else None
    return stated, tuple(descriptions)


def rounded(priority: float) -> float:
    return round(min(1.0, max(0.0, priority)), 3)


def print_priority(priority: float) -> str:
    """A qvalue of PIDF: 0 to 1, at most three decimals."""
    return f"{rounded(priority):.3f}".rstrip("0").rstrip(".") or "0"


@lru_cache(maxsize=8192)
def contact_key(text: str) -> str:
    """Equal for contacts that are equal after normalising (RFC 3261 §19.1.4, RFC 3966 §4)."""
    try:
        uri = Uri.parse(text)
    except ParseError:
        return text
    if uri.scheme == "tel":
        return f"tel:{normal_tel(uri.opaque)}"
    if not uri.is_address:
        return str(uri)
    parameters = ";".join(sorted(f"{k}={v or ''}".lower() for k, v in uri.parameters))
    port = "" if uri.port is None else f":{uri.port}"
    headers = "&".join(f"{k}={v or ''}" for k, v in uri.headers)
    return f"{uri.scheme}:{normal_user(uri.user) or ''}@{uri.host.lower()}{port};{parameters}?{headers}"
