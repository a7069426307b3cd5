"""Resource list meta-information (RFC 4662 §5): the table of contents of a list notification.

It names the resources of a list, for each the state of its virtual subscription, and by content id the body
part that holds its document. The drafts' misspelt namespace (`rmli`) and their `name` attribute are read.
"""

from dataclasses import dataclass, field

from sipbridge.errors import DocumentError
from sipbridge.presence import markup
from sipbridge.presence.deviations import Notebook
from sipbridge.presence.markup import Element, attribute, split
from sipbridge.presence.model import Deviation, Note
from sipbridge.presence.namespaces import RLMI, RLMI_MISSPELT
from sipbridge.presence.rpid import print_note, read_note
from sipbridge.presence.watcherinfo import number

ROOTS = frozenset({f"{{{RLMI}}}list", f"{{{RLMI_MISSPELT}}}list"})
TRUE = frozenset({"true", "1"})


@dataclass(frozen=True, slots=True)
class Instance:
    """One virtual subscription. `state` active, pending or terminated; `cid` without angle brackets."""

    id: str
    state: str
    reason: str | None = None
    cid: str | None = None


@dataclass(frozen=True, slots=True)
class Resource:
    """One member of the list. Without instance nothing is known of it yet."""

    uri: str
    names: tuple[Note, ...] = ()
    instances: tuple[Instance, ...] = ()


@dataclass(frozen=True, slots=True)
class ResourceList:
    """One document. `full`: every member is listed, who is missing is no member any more."""

    uri: str
    version: int
    full: bool
    resources: tuple[Resource, ...] = ()
    names: tuple[Note, ...] = ()
    deviations: tuple[Deviation, ...] = field(default=(), compare=False)


def parse(body: bytes, charset: str | None = None) -> ResourceList:
    """Read a list document. Raises DocumentError."""
    return from_root(markup.parse(body, charset), Notebook())


def from_root(root: Element, notes: Notebook) -> ResourceList:
    """The document under this root element. Raises DocumentError."""
    namespace, name = split(str(root.tag))
    if str(root.tag) not in ROOTS:
        raise DocumentError(f"{str(root.tag)[:120]} is no list document", path=name)
    if namespace != RLMI:
        notes.note("old-namespace", root)
    version = number(root, "version", notes)
    if version is None:
        notes.note("bad-number", root, "a list document without version")
    resources = []
    for child in root:
        if str(child.tag) == f"{{{namespace}}}resource":
            resource = read_resource(child, namespace, notes)
            if resource is not None:
                resources.append(resource)
    return ResourceList(
        root.get("uri", "").strip(),
        version or 0,
        root.get("fullState", "").strip().lower() in TRUE,
        tuple(resources),
        read_names(root, namespace, notes),
        tuple(notes.deviations),
    )


def read_names(element: Element, namespace: str, notes: Notebook) -> tuple[Note, ...]:
    """Names in several languages; the drafts' attribute."""
    names = [
        read_note(child, notes) for child in element if str(child.tag) == f"{{{namespace}}}name"
    ]
    shown = element.get("name")
    if shown is not None:
        notes.note("draft-form", element, "the name stands in an attribute")
        names.append(Note(str(shown)))
    return tuple(names)


def read_resource(element: Element, namespace: str, notes: Notebook) -> Resource | None:
    """One member, None if it does not say who."""
    uri = element.get("uri", "").strip()
    if not uri:
        notes.note("empty-element", element, "a resource without uri is left out")
        return None
    instances = [
        read_instance(child) for child in element if str(child.tag) == f"{{{namespace}}}instance"
    ]
    return Resource(uri, read_names(element, namespace, notes), tuple(instances))


def read_instance(element: Element) -> Instance:
    """One virtual subscription."""
    reason, cid = element.get("reason"), element.get("cid")
    return Instance(
        element.get("id", "").strip(),
        element.get("state", "").strip().lower(),
        None if reason is None else reason.strip(),
        None if cid is None else cid.strip().removeprefix("<").removesuffix(">"),
    )


def serialise(document: ResourceList) -> bytes:
    """The document as UTF-8 text."""
    full = "true" if document.full else "false"
    head = attribute("uri", document.uri) + f' version="{document.version}" fullState="{full}"'
    out = [f'<?xml version="1.0" encoding="UTF-8"?>\n<list xmlns="{RLMI}"{head}>']
    out += [print_note("name", note) for note in document.names]
    out += map(print_resource, document.resources)
    out.append("</list>\n")
    return "".join(out).encode()


def print_resource(resource: Resource) -> str:
    """One member."""
    inner = "".join(print_note("name", note) for note in resource.names)
    for each in resource.instances:
        head = attribute("id", each.id) + attribute("state", each.state)
        head += attribute("reason", each.reason) + attribute("cid", each.cid)
        inner += f"<instance{head}/>"
    head = attribute("uri", resource.uri)
    return f"<resource{head}>{inner}</resource>" if inner else f"<resource{head}/>"
