"""OMA presence extensions: willingness and service description (namespace urn:oma:xml:prs:pidf:oma-pres).

`willingness` (tuple) and `overriding-willingness` (person) hold a `basic`; their attributes (`until` of
another OMA namespace) are kept. Session participation, registration state, barring state and network
availability are kept whole as extensions: no mapping reads them.
"""

from sipbridge.presence.deviations import Notebook
from sipbridge.presence.fragments import extension, standing_alone
from sipbridge.presence.markup import Element, attributes, attributes_of, escape, split, text_of
from sipbridge.presence.model import Attributes, Basic, Extension, ServiceDescription
from sipbridge.presence.namespaces import OMA


def read_willingness(element: Element, notes: Notebook) -> tuple[Basic | None, Attributes] | None:
    """The basic inside and the attributes. None if the element says anything else, or nothing."""
    basic = None
    for child in element:
        if str(child.tag) != f"{{{OMA}}}basic" or basic is not None:
            return None
        text = text_of(child)
        spelt = text.strip().lower()
        if spelt not in ("open", "closed"):
            notes.note("bad-basic", child)
            return None
        if spelt != text:
            notes.note("basic-spelling", child)
        basic = Basic(spelt)
    return None if basic is None else (basic, attributes_of(element))


def print_willingness(tag: str, basic: Basic, more: Attributes) -> str:
    """willingness or overriding-willingness."""
    return f"<op:{tag}{attributes(more)}><op:basic>{basic.value}</op:basic></op:{tag}>"


def read_service_description(element: Element, notes: Notebook) -> ServiceDescription:
    """service-id, version, description, and what else is there."""
    values: dict[str, str] = {}
    others: list[Extension] = []
    for child in element:
        namespace, plain = split(str(child.tag))
        if (
            namespace == OMA
            and plain in ("service-id", "version", "description")
            and plain not in values
        ):
            values[plain] = text_of(child).strip()
        else:
            others.append(extension(child))
    if "service-id" not in values:
        notes.note("empty-element", element)
    if element.attrib:
        notes.note("attribute-dropped", element)
    get = values.get
    return ServiceDescription(
        get("service-id") or "", get("version"), get("description"), tuple(others)
    )


def print_service_description(value: ServiceDescription) -> str:
    """In the schema's order."""
    out = f"<op:service-id>{escape(value.service_id)}</op:service-id>"
    if value.version is not None:
        out += f"<op:version>{escape(value.version)}</op:version>"
    if value.description is not None:
        out += f"<op:description>{escape(value.description)}</op:description>"
    out += "".join(standing_alone(kept.xml) for kept in value.extensions)
    return f"<op:service-description>{out}</op:service-description>"
