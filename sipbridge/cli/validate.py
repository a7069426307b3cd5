"""`sipbridge validate`: is a document what its schemas allow?

One JSON-able object a file. `valid` is the schemas' verdict; `deviations` are rules that our reader tolerates
being broken, some of which no schema can state (times that lie, values only the prose forbids). With strict a
document that has any is not valid either, and each is an error too: that is what a peer that follows every
rule would say.
"""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from sipbridge.presence.model import Deviation
from sipbridge.presence.schema import Verdict, validate

T = TypeVar("T")
Object = dict[str, object]


def with_progress(work: Iterable[T], total: int) -> Iterator[T]:
    """The same, with a bar on standard error if that is a terminal and there is more than one thing to do."""
    if total < 2 or not sys.stderr.isatty():
        yield from work
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(work, "validating", total, transient=True, console=Console(stderr=True))


def validate_file(path: str, strict: bool = False) -> Object:
    """Check one file. Raises OSError if it cannot be read."""
    with open(path, "rb") as file:
        return validate_bytes(file.read(), path, strict)


def validate_bytes(body: bytes, name: str, strict: bool = False) -> Object:
    """`{"file", "well_formed", "valid", "errors": [{"line", "path", "message"}], "deviations": [...]}`.

    `name` is what `file` says.
    """
    verdict = validate(body)
    errors = [{"line": e.line, "path": e.path, "message": e.message} for e in verdict.errors]
    if strict:
        errors += [
            {"line": d.line, "path": d.path, "message": f"{d.message} ({d.rfc})"}
            for d in verdict.deviations
        ]
    return {
        "file": name,
        "well_formed": verdict.well_formed,
        "valid": is_good(verdict, strict),
        "errors": errors,
        "deviations": [as_object(d) for d in verdict.deviations],
    }


def is_good(verdict: Verdict, strict: bool) -> bool:
    return verdict.valid and not (strict and verdict.deviations)


def as_object(deviation: Deviation) -> Object:
    return {
        "code": deviation.code,
        "rfc": deviation.rfc,
        "path": deviation.path,
        "line": deviation.line,
        "message": deviation.message,
    }
