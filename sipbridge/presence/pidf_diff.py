"""Partial presence documents (RFC 5262): a whole one with its version, or what changed since the last.

Two forms of application/pidf-diff+xml: `pidf-full` is a presence document under another name and with a
version, `pidf-diff` holds the operations (`patching`) that make the next version of the last. Who keeps a
document keeps it as plain PIDF: `plain` takes the version off a full one, `applied` carries out a difference.
Selectors of a difference may call the root `*`, `presence` or `pidf-full`, whatever the document came as.

To write them: `full` turns a print of ours into the full form, `difference` compares two prints. A difference
is worth its name only if it is shorter than the document, and is made only of documents that can be read
again (printing makes texts longer, composing adds documents up). Differences know no version by themselves,
so that watchers who see the same document may share them. An outline (`from_root`) is what `inspect` shows.
"""

from dataclasses import dataclass, field
from functools import lru_cache

from lxml import etree

from sipbridge.errors import DocumentError, LocalProtocolError
from sipbridge.presence import differing, markup
from sipbridge.presence.deviations import Notebook
from sipbridge.presence.markup import Element, local, split
from sipbridge.presence.model import Deviation
from sipbridge.presence.namespaces import PIDF, PIDF_DIFF
from sipbridge.presence.patching import patch
from sipbridge.presence.selecting import Fault, fail

ROOT = f"{{{PIDF_DIFF}}}pidf-diff"
FULL = f"{{{PIDF_DIFF}}}pidf-full"
PRESENCE = f"{{{PIDF}}}presence"
OPERATIONS = frozenset({"add", "replace", "remove"})

HEAD = b'<?xml version="1.0" encoding="UTF-8"?>\n'

MAX_VERSION = 2**32 - 1
"""§3.1: an unsigned int."""

VERSION = "4294967295.5"
"""Stands where a version will be."""


@dataclass(frozen=True, slots=True)
class PidfDiff:
    """The outline of a difference: `operations` are pairs of word and selector, in document order."""

    entity: str | None
    version: str | None
    operations: tuple[tuple[str, str], ...] = ()
    deviations: tuple[Deviation, ...] = field(default=(), compare=False)


def from_root(root: Element, notes: Notebook) -> PidfDiff:
    """The outline of the difference under this root element. Raises DocumentError."""
    if str(root.tag) != ROOT:
        raise DocumentError("no difference document", path=local(str(root.tag)))
    operations: list[tuple[str, str]] = []
    for child in root:
        namespace, name = split(str(child.tag))
        if namespace == PIDF_DIFF and name in OPERATIONS:
            operations.append((name, str(child.get("sel", ""))))
        else:
            notes.note("unknown-element", child)
    entity, version = root.get("entity"), root.get("version")
    if entity is None:
        notes.note("no-entity", root)
    return PidfDiff(
        None if entity is None else str(entity),
        None if version is None else str(version),
        tuple(operations),
        tuple(notes.deviations),
    )


# ---- reading ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Partial:
    """A partial document: `root` of the full or the difference form; version None if it has none."""

    root: Element
    version: int | None

    @property
    def is_full(self) -> bool:
        return str(self.root.tag) == FULL


def parse(body: bytes, charset: str | None = None) -> Partial:
    """Read a partial document, comments and all. Raises DocumentError if it is none."""
    root = markup.parse_whole(body, charset)
    if str(root.tag) not in (FULL, ROOT):
        raise DocumentError("no partial document", path=local(str(root.tag))[:80])
    text = str(root.get("version", "")).strip()
    if not text:
        return Partial(root, None)
    digits = text.lstrip("0") or "0"
    if not text.isdecimal() or not text.isascii() or len(digits) > 10 or int(digits) > MAX_VERSION:
        raise DocumentError(f"version {text[:20]!r} is no number", line=markup.line_of(root))
    return Partial(root, int(digits))


def plain(full: Partial) -> bytes:
    """The presence document that a full one is."""
    full.root.tag = PRESENCE
    if "version" in full.root.attrib:
        del full.root.attrib["version"]
    return printed(full.root)


def applied(base: bytes, difference: Partial, charset: str | None = None) -> bytes:
    """The next version of the presence document `base`. Raises PatchError, DocumentError.

    charset: the parameter of the media type of `base`; the next version is in UTF-8.

    A difference about another entity does not fit (§3.2).
    """
    root = markup.parse_whole(base, charset)
    entity, ours = difference.root.get("entity"), root.get("entity")
    if entity is not None and ours is not None and str(entity).strip() != str(ours).strip():
        fail(Fault.DIRECTIVE, "it is about another entity")
    changes = [child for child in difference.root if isinstance(child.tag, str)]
    for change in changes:
        namespace, name = split(str(change.tag))
        if namespace != PIDF_DIFF or name not in OPERATIONS:
            fail(Fault.DIFF_FORMAT, str(change.tag))
    whole = root.tag
    after = patch(root, changes, also_root=frozenset({PRESENCE, FULL}))
    if after.tag != whole:
        fail(Fault.ROOT, "no presence document any more")
    written = printed(after)
    if len(written) > markup.MAX_BYTES:
        fail(Fault.DIFF_FORMAT, "the document would be too long")
    return written


def printed(root: Element) -> bytes:
    """A document as we print them."""
    written: bytes = etree.tostring(root, encoding="UTF-8", xml_declaration=False)
    return HEAD + written + b"\n"


# ---- writing ---------------------------------------------------------------------------------------------


def full(document: bytes, version: int) -> bytes:
    """The full form of a presence document of our own print (`pidf.serialise`)."""
    head, start, rest = document.partition(b"<presence ")
    inner, end, _ = rest.rpartition(b"</presence>")
    if not start or not end:
        raise LocalProtocolError("no print of ours")
    names = f'<p:pidf-full xmlns:p="{PIDF_DIFF}" version="{version}" '
    return head + names.encode() + inner + b"</p:pidf-full>\n"


@dataclass(frozen=True, slots=True)
class Difference:
    """What changed between two documents; it becomes a document with a version."""

    before: bytes
    after: bytes

    def document(self, version: int | None) -> bytes:
        """The `pidf-diff`. version None: for a publication, where the entity-tag says it (RFC 5264)."""
        said = b"" if version is None else f' version="{version}"'.encode()
        return self.before + said + self.after


@lru_cache(maxsize=64)  # watchers with the same view are told one after the other
def difference(old: bytes, new: bytes) -> Difference | None:
    """What makes `new` of `old`, both prints of ours; None if the whole is not longer, or clearer."""
    try:
        before, after = markup.parse(old), markup.parse(new)
    except DocumentError:  # beyond the limits
        return None
    entity = after.get("entity")
    if before.get("entity") != entity:
        return None
    out = differing.difference(before, after)
    if out is None:
        return None
    out = with_few_names(out)
    if entity is not None:
        out.set("entity", entity)
    out.set("version", VERSION)
    written = printed(out)
    if len(written) >= len(new):
        return None
    head, _, rest = written.partition(f' version="{VERSION}"'.encode())
    return Difference(head, rest)


def with_few_names(out: Element) -> Element:
    """The same difference, but only namespaces that it uses are declared, PIDF's always."""
    said = " ".join(str(o.get(name, "")) for o in out for name in ("sel", "type"))
    used = {split(name)[0] for e in out.iter() for name in (str(e.tag), *map(str, e.keys()))}
    names = {
        prefix: uri
        for prefix, uri in out.nsmap.items()
        if prefix is None or uri in used or f"{prefix}:" in said
    }
    fresh = etree.Element(out.tag, nsmap=names)  # type: ignore[arg-type]  # None is a prefix too
    fresh.extend(list(out))
    return fresh
