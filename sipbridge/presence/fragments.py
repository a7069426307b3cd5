"""Elements nobody knows, kept as text: each stands on its own and is always written the same way.

The form follows exclusive canonical XML (W3C xml-exc-c14n, without comments): namespaces are declared where
they are first used, attributes are sorted, empty elements have an end tag. libxml2 could write it too, but
sorts attributes in quadratic time, and strangers choose how many. Elements keep their prefixes; attributes,
whose prefixes lxml does not tell, get the one in scope or a new one. The prefix in a value of `xsi:type` is
declared as well.
"""

import re

from sipbridge.presence.markup import Element, pairs_of, parse, split
from sipbridge.presence.model import Extension
from sipbridge.presence.namespaces import PREFIXES, XML, XSI

UNPREFIXED = re.compile(r"<[^\s/>:!?]+[\s/>]")
TYPE = f"{{{XSI}}}type"
USUAL = {XSI: "xsi", **{name: prefix for name, prefix in PREFIXES.items() if prefix}}
NAME = re.compile(r"<[^\s/>]+")


def fragment(element: Element) -> str:
    """The element, without what follows it."""
    out: list[str] = []
    write(element, {"": ""}, out)
    return "".join(out)


def write(element: Element, scope: dict[str, str], out: list[str]) -> None:
    """One element and what is in it. scope: namespaces by prefix, as declared further out."""
    namespace, plain = split(str(element.tag))
    prefix = element.prefix or ""
    fresh: dict[str, str] = {}
    if scope.get(prefix) != namespace:
        fresh[prefix] = namespace
    tag = f"{prefix}:{plain}" if prefix else plain
    out.append(f"<{tag}")
    pairs = written_pairs(element, scope, fresh) if element.attrib else None
    for name, uri in sorted(fresh.items()):
        out += (f" xmlns:{name}" if name else " xmlns", f'="{attribute_text(uri)}"')
    if pairs:
        pairs.sort()
        out += [f' {shown}="{attribute_text(value)}"' for _, _, shown, value in pairs]
    out.append(">")
    if element.text:
        out.append(character_data(element.text))
    inner = {**scope, **fresh} if fresh else scope
    for child in element:
        write(child, inner, out)
        if child.tail:
            out.append(character_data(child.tail))
    out.append(f"</{tag}>")


def written_pairs(
    element: Element, scope: dict[str, str], fresh: dict[str, str]
) -> list[tuple[str, str, str, str]]:
    """Attributes as namespace, local name, name as written, value. New prefixes are added to `fresh`."""
    out: list[tuple[str, str, str, str]] = []
    for key, value in pairs_of(element):
        home, name = split(key)
        if not home:
            out.append(("", name, name, value))
            continue
        out.append((home, name, f"{prefix_for(home, scope, fresh)}:{name}", value))
        if key == TYPE:
            prefix = value.strip().partition(":")[0]
            named = element.nsmap.get(prefix) if ":" in value else None
            if named is not None and scope.get(prefix) != named:
                fresh[prefix] = str(named)
    return out


def prefix_for(namespace: str, scope: dict[str, str], fresh: dict[str, str]) -> str:
    """The prefix of an attribute: the one in scope, the usual one, or a new one."""
    if namespace == XML:
        return "xml"
    usual = USUAL.get(namespace)
    if usual is None:
        for names in (fresh, scope):
            for prefix, name in names.items():
                if prefix and name == namespace and fresh.get(prefix, namespace) == namespace:
                    return prefix
    number = 0
    prefix = usual or "a0"
    while fresh.get(prefix, namespace) != namespace:
        number += 1
        prefix = f"a{number}"
    if scope.get(prefix) != namespace:
        fresh[prefix] = namespace
    return prefix


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
