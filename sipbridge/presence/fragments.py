"""Elements nobody knows, kept as text: each stands on its own and is always written the same way.

The form is exclusive canonical XML (W3C xml-exc-c14n, without comments): namespaces are declared where they
are first used, attributes are sorted, empty elements have an end tag. libxml2 could write it too, but sorts
attributes in quadratic time, and strangers choose how many. Prefixes that only values use (`xsi:type`,
selectors) are declared on the outermost element as well.
"""

import re

from sipbridge.presence.markup import Element, pairs_of, parse, split
from sipbridge.presence.model import Extension
from sipbridge.presence.namespaces import XML

UNPREFIXED = re.compile(r"<[^\s/>:!?]+[\s/>]")
NAME = re.compile(r"<[^\s/>]+")


def fragment(element: Element) -> str:
    """The element, without what follows it."""
    out: list[str] = []
    write(element, {"": ""}, {}, out)
    text = "".join(out)
    used = {
        prefix: str(name)
        for prefix, name in element.nsmap.items()
        if prefix and f"{prefix}:" in text and f"xmlns:{prefix}=" not in text
    }
    if used:
        out = []
        write(element, {"": ""}, used, out)
        text = "".join(out)
    return text


def write(
    element: Element, scope: dict[str, str], declared: dict[str, str], out: list[str]
) -> None:
    """One element and what is in it.

    scope: namespaces by prefix, as declared further out. declared: those to be declared here in any case.
    """
    namespace, plain = split(str(element.tag))
    prefix = element.prefix or ""
    fresh = dict(declared)
    if scope.get(prefix) != namespace:
        fresh[prefix] = namespace
    pairs = written_pairs(element, scope, fresh)
    tag = f"{prefix}:{plain}" if prefix else plain
    out.append(f"<{tag}")
    out += [
        f' xmlns{":" if name else ""}{name}="{attribute_text(fresh[name])}"'
        for name in sorted(fresh)
    ]
    if pairs:
        pairs.sort(key=lambda pair: (pair[0], pair[1].rpartition(":")[2]))
        out += [f' {shown}="{attribute_text(value)}"' for _, shown, value in pairs]
    out.append(">")
    if element.text:
        out.append(character_data(element.text))
    inner = {**scope, **fresh} if fresh else scope
    for child in element:
        write(child, inner, {}, out)
        if child.tail:
            out.append(character_data(child.tail))
    out.append(f"</{tag}>")


def written_pairs(
    element: Element, scope: dict[str, str], fresh: dict[str, str]
) -> list[tuple[str, str, str]]:
    """Attributes as namespace, name as written, value. Prefixes are the document's; new ones are declared."""
    out: list[tuple[str, str, str]] = []
    prefixes: dict[str, str] | None = None
    for key, value in pairs_of(element):
        home, name = split(key)
        if not home:
            out.append(("", name, value))
        elif home == XML:
            out.append((XML, f"xml:{name}", value))
        else:
            if prefixes is None:
                inside = {str(p): str(name) for p, name in element.nsmap.items() if p}
                prefixes = {inside[p]: p for p in sorted(inside, reverse=True)}
            prefix = prefixes[home]
            if scope.get(prefix) != home:
                fresh[prefix] = home
            out.append((home, f"{prefix}:{name}", value))
    return out


def character_data(text: str) -> str:
    """Text as canonical XML writes it."""
    if "&" in text:
        text = text.replace("&", "&amp;")
    if "<" in text:
        text = text.replace("<", "&lt;")
    if ">" in text:
        text = text.replace(">", "&gt;")
    return text.replace("\r", "&#xD;") if "\r" in text else text


def attribute_text(text: str) -> str:
    """An attribute value as canonical XML writes it."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return text.replace("\t", "&#x9;").replace("\n", "&#xA;").replace("\r", "&#xD;")


def extension(element: Element) -> Extension:
    """An element nobody knows, whole."""
    return Extension(str(element.tag), fragment(element))


def from_fragment(xml: str) -> Element:
    """The element that a fragment describes. Raises DocumentError."""
    return parse(xml.encode())


def standing_alone(xml: str) -> str:
    """A fragment, fit to be put where PIDF is the default namespace."""
    if ' xmlns="' in xml[: xml.find(">")] or UNPREFIXED.search(xml) is None:
        return xml
    name = NAME.match(xml)
    at = name.end() if name else 1
    return f'{xml[:at]} xmlns=""{xml[at:]}'
