"""Reads a presence body, whatever it is: the root element decides, the media type only advises.

Deployed servers send PIDF under odd types and XPIDF without a word, so the type's charset parameter is used
and a type that belongs to another document is noted, no more. Bodies of several parts are taken apart by the
caller, who knows MIME; each part comes here alone.
"""

from functools import lru_cache
from typing import TypeAlias

from sipbridge.errors import DocumentError
from sipbridge.presence import markup, pidf, pidf_diff, rlmi, watcherinfo, xpidf
from sipbridge.presence.deviations import Notebook
from sipbridge.presence.markup import Element, split
from sipbridge.presence.model import Presence
from sipbridge.presence.namespaces import CPIM, PIDF, PIDF_DIFF, RLMI, RLMI_MISSPELT, WATCHERINFO
from sipbridge.presence.pidf_diff import PidfDiff
from sipbridge.presence.rlmi import ResourceList
from sipbridge.presence.watcherinfo import WatcherInfo

Document: TypeAlias = Presence | WatcherInfo | ResourceList | PidfDiff

TYPES: dict[str, frozenset[str]] = {
    "application/pidf+xml": frozenset({PIDF}),
    "application/cpim-pidf+xml": CPIM,
    "application/pidf-diff+xml": frozenset({PIDF_DIFF, PIDF}),
    "application/watcherinfo+xml": frozenset({WATCHERINFO}),
    "application/rlmi+xml": frozenset({RLMI, RLMI_MISSPELT}),
    "application/xpidf+xml": frozenset({""}),
}
"""Media types and the namespaces of the roots that belong to them."""


@lru_cache(maxsize=256)  # there are few, in every NOTIFY
def split_type(content_type: str | None) -> tuple[str, str | None]:
    """A media type without parameters, in lower case, and its charset parameter."""
    essence, _, rest = (content_type or "").partition(";")
    charset = None
    for parameter in rest.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and charset is None:
            charset = value.strip().strip('"').strip() or None
    return essence.strip().lower(), charset


def open_root(body: bytes, content_type: str | None) -> tuple[Element, Notebook]:
    """The root of a document of any of our formats, and the notebook begun. Raises DocumentError.

    Only XPIDF may have a document type declaration (one without internal subset).
    """
    essence, charset = split_type(content_type)
    root, skipped = markup.parse_any(body, charset)
    notes = Notebook()
    if skipped:
        if not xpidf.is_xpidf(root):
            raise DocumentError("document type declaration", line=1)
        notes.note("doctype", root)
    expected = TYPES.get(essence)
    if expected is not None and split(str(root.tag))[0] not in expected:
        notes.note("media-type", root, f"{essence}, but the document is {str(root.tag)[:120]}")
    return root, notes


def read(body: bytes, content_type: str = "") -> Document:
    """Read one document. XPIDF is given as the presence document that says the same.

    content_type: as in the header field, with parameters; "" if there is none. Raises DocumentError.
    """
    root, notes = open_root(body, content_type)
    return from_root(root, notes)


def from_root(root: Element, notes: Notebook) -> Document:
    """The document under this root element. Raises DocumentError."""
    tag = str(root.tag)
    if tag == pidf.ROOT:
        return pidf.from_root(root, notes)
    namespace = split(tag)[0]
    if namespace == WATCHERINFO:
        return watcherinfo.from_root(root, notes)
    if namespace in (RLMI, RLMI_MISSPELT):
        return rlmi.from_root(root, notes)
    if tag == pidf_diff.ROOT:
        return pidf_diff.from_root(root, notes)
    if xpidf.is_xpidf(root):
        return xpidf.to_presence(xpidf.from_root(root, notes))
    return pidf.from_root(root, notes)


def resource_states(
    listed: ResourceList, parts: dict[str, tuple[bytes, str]]
) -> dict[str, tuple[str | None, Presence | None]]:
    """For each resource of a list document its state and its presence.

    parts: body and content type by content id (without angle brackets). Of several instances the first that
    has a document counts, else the first. A document that has to be refused leaves its resource without one.
    """
    states: dict[str, tuple[str | None, Presence | None]] = {}
    for resource in listed.resources:
        state: str | None = resource.instances[0].state if resource.instances else None
        presence: Presence | None = None
        for instance in resource.instances:
            found = None if instance.cid is None else parts.get(instance.cid)
            presence = None if found is None else presence_or_none(*found)
            if presence is not None:
                state = instance.state
                break
        states[resource.uri] = (state, presence)
    return states


def presence_or_none(body: bytes, content_type: str) -> Presence | None:
    """The presence document of a part, None if it is none or has to be refused."""
    try:
        document = read(body, content_type)
    except DocumentError:
        return None
    return document if isinstance(document, Presence) else None
