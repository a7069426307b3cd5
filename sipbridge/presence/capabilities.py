"""Service and device capabilities (RFC 5196): servcaps in tuples, devcaps in devices.

A switch (`audio`, `video` …) is stated as "true" or "false"; a set (`methods`, `languages` …) as a comma list
of what is supported. Ranges, what is explicitly not supported, descriptions and foreign elements do not fit
that form: an element that has any of them is kept whole beside it, and printed as it was.
"""

from sipbridge.presence.fragments import fragment, standing_alone
from sipbridge.presence.markup import Element, escape, split, text_of
from sipbridge.presence.model import Capabilities
from sipbridge.presence.namespaces import CAPS

SERVICE_ORDER = """
    actor application audio automata class control data description duplex event-packages extensions
    isfocus message methods languages priority schemes text type video
"""
RANK = {name: rank for rank, name in enumerate([*SERVICE_ORDER.split(), "mobility"])}
SWITCHES = frozenset(
    ("application", "audio", "automata", "control", "data", "isfocus", "message", "text", "video")
)
TEXTS = {"languages": "l", "schemes": "s"}
"""Sets whose members are texts, by the name of the element that holds one."""
SETS = frozenset(
    ["actor", "class", "duplex", "event-packages", "extensions", "methods", "mobility"]
)


def read_capabilities(element: Element) -> Capabilities:
    """servcaps or devcaps, of RFC 5196 or of its drafts."""
    namespace, plain = split(str(element.tag))
    supported: list[tuple[str, str]] = []
    whole = namespace == CAPS and not element.attrib
    for child in element:
        name = split(str(child.tag))
        value = read_feature(child) if name[0] == namespace else None
        if value is None:
            whole = False
            value = loose_feature(child, name[1]) if name[0] == namespace else None
        if value is not None:
            supported.append((name[1], value))
    stated = tuple(supported)
    return Capabilities(plain == "devcaps", stated, None if whole else fragment(element))


def read_feature(element: Element) -> str | None:
    """What one feature element states, None if a comma list does not say all of it."""
    namespace, name = split(str(element.tag))
    if element.attrib:
        return None
    if name in SWITCHES and not len(element):
        text = (element.text or "").strip()
        return text if text in ("true", "false") else None
    if (
        (name in SETS or name in TEXTS)
        and len(element) == 1
        and str(element[0].tag) == f"{{{namespace}}}supported"
    ):
        return read_set(element[0], namespace, TEXTS.get(name))
    return None


def read_set(element: Element, namespace: str, item: str | None) -> str | None:
    """The members of `supported`, None if they are more than names."""
    members = []
    for child in element:
        inside, plain = split(str(child.tag))
        text = (child.text or "").strip()
        if (
            inside != namespace
            or len(child)
            or bool(child.attrib)
            or (plain == item) is not bool(text)
        ):
            return None
        if "," in text:
            return None
        members.append(text or plain)
    return ",".join(members) if members and not element.attrib else None


def loose_feature(element: Element, name: str) -> str | None:
    """As much of a feature as fits, for an element that is kept whole anyway."""
    if name in SWITCHES or name in ("description", "type"):
        return text_of(element).strip().lower() if name in SWITCHES else text_of(element).strip()
    for part in element:
        if split(str(part.tag))[1] == "supported":
            members = [(child.text or "").strip() or split(str(child.tag))[1] for child in part]
            return ",".join(members)
    return None


def print_capabilities(value: Capabilities) -> str:
    """The element as it was, or made from what is stated."""
    if value.xml is not None:
        return standing_alone(value.xml)
    tag = "devcaps" if value.device else "servcaps"
    inner = "".join(print_feature(name, text) for name, text in value.supported)
    return f"<caps:{tag}>{inner}</caps:{tag}>"


def print_feature(name: str, text: str) -> str:
    """One feature."""
    if name in ("description", "type") or text in ("true", "false"):
        return f"<caps:{name}>{escape(text)}</caps:{name}>"
    item = TEXTS.get(name)
    members = [
        f"<caps:{item}>{escape(member)}</caps:{item}>" if item else f"<caps:{member}/>"
        for member in text.split(",")
        if member
    ]
    return f"<caps:{name}><caps:supported>{''.join(members)}</caps:supported></caps:{name}>"


def place(member: str) -> str:
    """What to sort the members of a set by: the schema's alphabet has two slips."""
    return {"rel100": "", "reg": "refe"}.get(member, member.lower())


def in_order(value: Capabilities) -> Capabilities:
    """The same in the schema's order: of its features, and by the alphabet of what a set holds."""
    stated = sorted(value.supported, key=lambda pair: RANK.get(pair[0], 99))
    return Capabilities(
        value.device,
        tuple(
            (name, ",".join(sorted(text.split(","), key=place)) if name in SETS else text)
            for name, text in stated
        ),
        value.xml,
    )
