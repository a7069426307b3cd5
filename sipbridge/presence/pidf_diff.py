"""Partial presence documents (RFC 5262), as far as their outline: whose, which version, which operations.

The full form (`pidf-full`) is a presence document and read as one (`pidf`). Applying a difference is not done
here: we do not offer application/pidf-diff+xml in Accept, so no notifier sends one in earnest.
"""

from dataclasses import dataclass, field

from sipbridge.errors import DocumentError
from sipbridge.presence.deviations import Notebook
from sipbridge.presence.markup import Element, local, split
from sipbridge.presence.model import Deviation
from sipbridge.presence.namespaces import PIDF_DIFF

ROOT = f"{{{PIDF_DIFF}}}pidf-diff"
OPERATIONS = frozenset({"add", "replace", "remove"})


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
