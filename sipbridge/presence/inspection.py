"""What a document states, as JSON: for `sipbridge inspect`, for bug reports, for comparing readers.

The facts are read with exact namespaces, apart from the tolerant reader: a person in a draft's namespace is
listed under `other`, where the reader takes it for a person and says so among the `deviations`. Numbers and
times stay text as written, members without content are left out. Long documents are summed up: the first
tuples and how many there are.

Shapes: presence gives entity, tuples, persons, devices, notes as [language, text], other; XPIDF its attribute
values; watcher information version, state, lists; a list document uri, version, fullState, resources; a
difference entity, version, operations; a document of an older namespace and a rule set only their root.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from sipbridge.errors import DocumentError
from sipbridge.presence import pidf_diff, reading, rlmi, watcherinfo, xpidf
from sipbridge.presence.cipid import FIELDS
from sipbridge.presence.deviations import DEVIATIONS
from sipbridge.presence.markup import Element, pairs_of, split, text_of
from sipbridge.presence.model import Basic, Deviation, Presence
from sipbridge.presence.namespaces import (
    CIPID,
    COMMON_POLICY,
    CPIM,
    DATA_MODEL,
    LOCATION_TYPE,
    OMA,
    PIDF,
    RLMI,
    RLMI_MISSPELT,
    RPID,
    TIMED_STATUS,
)
from sipbridge.presence.pidf import FULL, ROOT
from sipbridge.presence.rlmi import ResourceList
from sipbridge.presence.rpid import LANG

Json: TypeAlias = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
Facts: TypeAlias = dict[str, Json]

LONG = 100
"""Tuples from which on a document is summed up; a person's devices and services are a few dozen at most."""
SHOWN = 3
"""Tuples that are shown of a long document."""


def inspect(body: bytes, media_type: str | None = None) -> Facts:
    """The facts of one document and its deviations. Raises DocumentError if it has to be refused.

    media_type: with its parameters, as in a header field; None if it is not known.
    """
    root, notes = reading.open_root(body, media_type)
    facts = facts_of(root)
    if not str(root.tag).startswith(f"{{{COMMON_POLICY}}}"):
        notes.deviations[:] = reading.from_root(root, notes).deviations
    return {**facts, "deviations": [as_json(each) for each in notes.deviations]}


def inspect_parts(
    parts: Sequence[tuple[str | None, str | None, bytes]], start: str | None = None
) -> Facts:
    """The facts of a list notification (RFC 4662 §5), or of the presence document in a mixed body.

    parts: content id without angle brackets, content type, body. start: content id of the list document; if
    it is missing the first one is taken. Resources are given as uri: [state, basic]. Raises DocumentError.
    """
    listed, notes = find_list(parts, start)
    if listed is None:
        return find_single(parts)
    bodies = {name: (body, kind or "") for name, kind, body in parts if name is not None}
    states = reading.resource_states(listed, bodies)
    resources: Facts = {}
    for uri, (state, presence) in states.items():
        resources[uri] = [state, basic_of(presence)]
    deviations = [*notes, *refused(listed, bodies)]
    return {
        "root": f"{{{RLMI}}}list",
        "list_uri": listed.uri,
        "version": listed.version,
        "full": listed.full,
        "resources": resources,
        "deviations": [as_json(each) for each in deviations],
    }


def find_list(
    parts: Sequence[tuple[str | None, str | None, bytes]], start: str | None
) -> tuple[ResourceList | None, Iterable[Deviation]]:
    """The list document among the parts."""
    ordered = sorted(parts, key=lambda part: start is None or part[0] != start)
    for _, kind, body in ordered:
        if reading.split_type(kind)[0] == "application/rlmi+xml":
            document = reading.read(body, kind or "")
            if isinstance(document, ResourceList):
                return document, document.deviations
    return None, ()


def find_single(parts: Sequence[tuple[str | None, str | None, bytes]]) -> Facts:
    """The first part that is a document of ours. Raises the first part's complaint if none is."""
    complaint: DocumentError | None = None
    for _, kind, body in parts:
        essence = reading.split_type(kind)[0]
        if essence in reading.TYPES or essence.endswith("+xml"):
            try:
                return inspect(body, kind)
            except DocumentError as error:
                complaint = complaint or error
    raise complaint or DocumentError("no part holds a presence document")


def refused(listed: ResourceList, bodies: dict[str, tuple[bytes, str]]) -> list[Deviation]:
    """A deviation for each document of the list that has to be refused or is missing."""
    out = []
    for resource in listed.resources:
        for instance in resource.instances:
            if instance.cid is None:
                continue
            found = bodies.get(instance.cid)
            if found is not None and acceptable(*found):
                continue
            what = "is missing" if found is None else "has to be refused"
            message = f"the document {instance.cid} of {resource.uri} {what}"
            out.append(
                Deviation("part-refused", DEVIATIONS["part-refused"].rfc, message, "list/resource")
            )
    return out


def acceptable(body: bytes, kind: str) -> bool:
    """Is the part a presence document, or a list of its own (which is not opened here)?"""
    return kind.lower().startswith("multipart/") or reading.presence_or_none(body, kind) is not None


def basic_of(presence: Presence | None) -> str | None:
    """open if any tuple is open, else closed if any says so."""
    said = {each.basic for each in presence.tuples} if presence is not None else set()
    if Basic.OPEN in said:
        return "open"
    return "closed" if Basic.CLOSED in said else None


def as_json(deviation: Deviation) -> Json:
    """A deviation as an object."""
    return {
        "code": deviation.code,
        "rfc": deviation.rfc,
        "path": deviation.path,
        "line": deviation.line,
        "message": deviation.message,
    }


# ---- facts -----------------------------------------------------------------------------------------------


def facts_of(root: Element) -> Facts:
    """The facts of any document of ours. Raises DocumentError for other roots."""
    tag = str(root.tag)
    namespace, name = split(tag)
    if tag in (ROOT, FULL):
        return presence_facts(root, tag)
    if tag == pidf_diff.ROOT:
        return diff_facts(root, tag)
    if tag == watcherinfo.ROOT:
        return watcher_facts(root, tag)
    if tag in rlmi.ROOTS and namespace != RLMI_MISSPELT:
        return list_facts(root, tag)
    if xpidf.is_xpidf(root):
        return xpidf_facts(root)
    if (
        (namespace in CPIM and name == "presence")
        or tag in rlmi.ROOTS
        or tag == f"{{{COMMON_POLICY}}}ruleset"
    ):
        return {"root": tag}
    raise DocumentError(f"{tag[:120]} is no document of ours", path=name)


def plain(value: object) -> str | None:
    """An attribute value as text."""
    return None if value is None else str(value)


def with_content(pairs: Iterable[tuple[str, Json]]) -> Facts:
    """The pairs that have content."""
    return {name: value for name, value in pairs if value not in (None, [], {})}


def presence_facts(root: Element, tag: str) -> Facts:
    """A presence document."""
    facts: Facts = {"root": tag, "entity": plain(root.get("entity"))}
    if tag == FULL:
        facts["version"] = plain(root.get("version"))
    tuples: list[Json] = [
        tuple_facts(child) for child in root if str(child.tag) == f"{{{PIDF}}}tuple"
    ]
    persons: list[Json] = [
        container_facts(child, PERSON)
        for child in root
        if str(child.tag) == f"{{{DATA_MODEL}}}person"
    ]
    devices: list[Json] = [
        container_facts(child, DEVICE)
        for child in root
        if str(child.tag) == f"{{{DATA_MODEL}}}device"
    ]
    known = {
        f"{{{PIDF}}}tuple",
        f"{{{PIDF}}}note",
        f"{{{DATA_MODEL}}}person",
        f"{{{DATA_MODEL}}}device",
    }
    others: list[Json] = [str(child.tag) for child in root if str(child.tag) not in known]
    if len(tuples) > LONG:
        opened = [each for each in tuples if isinstance(each, dict) and each.get("basic") == "open"]
        facts |= {"tuples": tuples[:SHOWN], "tuple_count": len(tuples), "open_count": len(opened)}
        tuples = []
    facts |= with_content(
        (
            ("tuples", tuples),
            ("persons", persons),
            ("devices", devices),
            ("notes", notes_of(root, PIDF)),
            ("other", others),
        )
    )
    return facts


def notes_of(element: Element, namespace: str) -> Json:
    """The notes of an element as [language, text]."""
    return [
        [plain(child.get(LANG)), text_of(child)]
        for child in element
        if str(child.tag) == f"{{{namespace}}}note"
    ]


def values_of(element: Element, namespace: str) -> list[Json]:
    """Names of the values inside: local in the namespace they belong to, in full otherwise."""
    names: list[Json] = []
    for child in element:
        home, name = split(str(child.tag))
        if name == "note" and home in (RPID, DATA_MODEL, PIDF):
            continue
        names.append(name if home == namespace else str(child.tag))
    return names


def ranged(element: Element, facts: Facts) -> Facts:
    """With from and until."""
    for name in ("from", "until"):
        if element.get(name) is not None:
            facts[name] = plain(element.get(name))
    return facts


def list_fact(element: Element) -> Json:
    """mood, privacy."""
    facts: Facts = {"names": values_of(element, RPID)}
    return ranged(element, facts | with_content([("notes", notes_of(element, RPID))]))


def activities_fact(element: Element) -> Json:
    """activities."""
    facts: Facts = {"names": values_of(element, RPID)}
    texts: list[Json] = [
        text_of(child) for child in element if str(child.tag) == f"{{{RPID}}}other"
    ]
    facts |= with_content((("other", texts), ("notes", notes_of(element, RPID))))
    return ranged(element, facts)


def place_type_fact(element: Element) -> Json:
    """place-type: names of the registry, and apart from them those in the rpid namespace."""
    names: list[Json] = []
    strayed: list[Json] = []
    for child in element:
        namespace, name = split(str(child.tag))
        if namespace == RPID:
            if name != "note":
                strayed.append(name)
        else:
            names.append(name if namespace == LOCATION_TYPE else str(child.tag))
    facts: Facts = {"names": names}
    facts |= with_content((("in_rpid_namespace", strayed), ("notes", notes_of(element, RPID))))
    return ranged(element, facts)


def place_is_fact(element: Element) -> Json:
    """place-is: values by medium."""
    facts: Facts = {}
    for medium in ("audio", "video", "text"):
        for child in element:
            if str(child.tag) == f"{{{RPID}}}{medium}":
                facts[medium] = values_of(child, RPID)
    facts |= with_content([("notes", notes_of(element, RPID))])
    return ranged(element, facts)


def sphere_fact(element: Element) -> Json:
    """sphere: elements or text."""
    text = (element.text or "").strip()
    return ranged(
        element, with_content((("elements", values_of(element, RPID)), ("text", text or None)))
    )


def choice_fact(element: Element) -> Json:
    """relationship, service-class."""
    return values_of(element, RPID)


def text_fact(element: Element) -> Json:
    """Trimmed text."""
    return text_of(element).strip()


def user_input_fact(element: Element) -> Json:
    """user-input."""
    facts: Facts = {"state": text_of(element).strip()}
    for name in ("idle-threshold", "last-input"):
        if element.get(name) is not None:
            facts[name] = plain(element.get(name))
    return facts


def timed_fact(element: Element) -> Json:
    """timed-status."""
    facts = ranged(element, {})
    for child in element:
        if str(child.tag) == f"{{{TIMED_STATUS}}}basic":
            facts["basic"] = text_of(child)
    return facts


def willingness_fact(element: Element) -> Json:
    """The basic inside."""
    for child in element:
        if str(child.tag) == f"{{{OMA}}}basic":
            return text_of(child).strip()
    return None


SINGLE: dict[str, tuple[str, Callable[[Element], Json]]] = {
    f"{{{RPID}}}class": ("class", text_fact),
    f"{{{RPID}}}status-icon": ("status_icon", text_fact),
    f"{{{RPID}}}user-input": ("user_input", user_input_fact),
    f"{{{DATA_MODEL}}}deviceID": ("device_id", text_fact),
}
PERSON: dict[str, tuple[str, Callable[[Element], Json]]] = {
    **SINGLE,
    f"{{{RPID}}}time-offset": ("time_offset", text_fact),
    f"{{{OMA}}}overriding-willingness": ("overriding_willingness", willingness_fact),
    f"{{{DATA_MODEL}}}timestamp": ("timestamp", text_fact),
}
DEVICE = {**SINGLE, f"{{{DATA_MODEL}}}timestamp": ("timestamp", text_fact)}
SERVICE: dict[str, tuple[str, Callable[[Element], Json]]] = {
    **SINGLE,
    f"{{{RPID}}}relationship": ("relationship", choice_fact),
    f"{{{RPID}}}service-class": ("service_class", choice_fact),
    f"{{{OMA}}}willingness": ("willingness", willingness_fact),
    f"{{{TIMED_STATUS}}}timed-status": ("timed_status", timed_fact),
    f"{{{PIDF}}}timestamp": ("timestamp", text_fact),
}
REPEATED: dict[str, tuple[str, Callable[[Element], Json]]] = {
    f"{{{RPID}}}activities": ("activities", activities_fact),
    f"{{{RPID}}}mood": ("mood", list_fact),
    f"{{{RPID}}}place-is": ("place_is", place_is_fact),
    f"{{{RPID}}}place-type": ("place_type", place_type_fact),
    f"{{{RPID}}}privacy": ("privacy", list_fact),
    f"{{{RPID}}}sphere": ("sphere", sphere_fact),
}
IN_TUPLE: dict[str, tuple[str, Callable[[Element], Json]]] = {
    f"{{{RPID}}}privacy": ("privacy", list_fact)
}


def child_fact(
    child: Element,
    single: dict[str, tuple[str, Callable[[Element], Json]]],
    repeated: dict[str, tuple[str, Callable[[Element], Json]]],
    facts: Facts,
) -> None:
    """Add what one child of a container states."""
    tag = str(child.tag)
    namespace, name = split(tag)
    if tag in single:
        key, read = single[tag]
        facts[key] = read(child)
    elif tag in repeated:
        key, read = repeated[tag]
        append(facts, key, read(child))
    elif namespace == CIPID and name in FIELDS:
        card = facts.setdefault("cipid", {})
        if isinstance(card, dict):
            card[name] = text_of(child).strip()
    else:
        append(facts, "other", tag)


def append(facts: Facts, key: str, value: Json) -> None:
    """Add to a list of facts."""
    values = facts.setdefault(key, [])
    if isinstance(values, list):
        values.append(value)


def container_facts(
    element: Element, single: dict[str, tuple[str, Callable[[Element], Json]]]
) -> Json:
    """A person or device."""
    facts: Facts = {"id": plain(element.get("id"))}
    facts |= with_content([("notes", notes_of(element, DATA_MODEL))])
    for child in element:
        if str(child.tag) != f"{{{DATA_MODEL}}}note":
            child_fact(child, single, REPEATED if single is PERSON else {}, facts)
    return facts


def tuple_facts(element: Element) -> Json:
    """A tuple."""
    facts: Facts = {"id": plain(element.get("id")), "basic": None}
    facts |= with_content([("notes", notes_of(element, PIDF))])
    for child in element:
        tag = str(child.tag)
        if tag == f"{{{PIDF}}}status":
            status_facts(child, facts)
        elif tag == f"{{{PIDF}}}contact":
            facts["contact"] = text_of(child).strip()
            if child.get("priority") is not None:
                facts["priority"] = plain(child.get("priority"))
        elif tag == f"{{{OMA}}}service-description":
            service_facts(child, facts)
        elif tag != f"{{{PIDF}}}note":
            child_fact(child, SERVICE, IN_TUPLE, facts)
    return facts


def status_facts(element: Element, facts: Facts) -> None:
    """basic as written, and names of everything else."""
    for child in element:
        if str(child.tag) == f"{{{PIDF}}}basic":
            if facts["basic"] is None:
                facts["basic"] = text_of(child)
        else:
            append(facts, "status_other", str(child.tag))


def service_facts(element: Element, facts: Facts) -> None:
    """oma:service-description."""
    for child in element:
        if str(child.tag) == f"{{{OMA}}}service-id":
            facts["service_id"] = text_of(child)
        elif str(child.tag) == f"{{{OMA}}}version":
            facts["service_version"] = text_of(child)


def watcher_facts(root: Element, tag: str) -> Facts:
    """Watcher information: attributes as written."""
    lists: list[Json] = []
    for listed in root.iterchildren(watcherinfo.LIST):
        watchers: list[Json] = [
            {**dict(pairs_of(each)), "uri": text_of(each).strip()}
            for each in listed.iterchildren(watcherinfo.WATCHER)
        ]
        lists.append(
            {
                "resource": plain(listed.get("resource")),
                "package": plain(listed.get("package")),
                "watchers": watchers,
            }
        )
    return {
        "root": tag,
        "version": plain(root.get("version")),
        "state": plain(root.get("state")),
        "lists": lists,
    }


def list_facts(root: Element, tag: str) -> Facts:
    """A list document."""
    home = split(tag)[0]
    resources: list[Json] = []
    for resource in root.iterchildren(f"{{{home}}}resource"):
        instances: list[Json] = [
            dict(pairs_of(each)) for each in resource.iterchildren(f"{{{home}}}instance")
        ]
        names: list[Json] = [text_of(each) for each in resource.iterchildren(f"{{{home}}}name")]
        resources.append(
            {"uri": plain(resource.get("uri")), "names": names, "instances": instances}
        )
    return {
        "root": tag,
        "uri": plain(root.get("uri")),
        "version": plain(root.get("version")),
        "fullState": plain(root.get("fullState")),
        "resources": resources,
    }


def diff_facts(root: Element, tag: str) -> Facts:
    """The outline of a difference."""
    operations: list[Json] = [[split(str(child.tag))[1], plain(child.get("sel"))] for child in root]
    return {
        "root": tag,
        "entity": plain(root.get("entity")),
        "version": plain(root.get("version")),
        "operations": operations,
    }


def xpidf_facts(root: Element) -> Facts:
    """Attribute values of an XPIDF document."""

    def all_of(tag: str, name: str) -> list[Json]:
        return [str(each.get(name)) for each in root.iter(tag) if each.get(name) is not None]

    return {
        "root": "{}presence",
        "xpidf": {
            "presentity": all_of("presentity", "uri"),
            "address": all_of("address", "uri"),
            "status": all_of("status", "status"),
            "substatus": all_of("msnsubstatus", "substatus"),
        },
    }
