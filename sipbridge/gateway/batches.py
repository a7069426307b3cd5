"""Requests that depend on each other within one batch: which of them can be performed at all.

A request that depends on itself, at once or round a circle, is refused, and so is one that names a request
its batch does not have. What depends on a refused request is not performed either. All others are performed;
who waits for whom is looked at when they run (`remote_presence.py`).
"""

from collections.abc import Mapping, Sequence

from sipbridge.errors import (
    DependencyFailed,
    DependsOnItself,
    GatewayError,
    UnknownDependency,
)

Dependencies = Mapping[str, Sequence[str]]
"""The ids that each request names."""


def refusals(depends: Dependencies, failed: frozenset[str]) -> dict[str, GatewayError]:
    """Why requests cannot be performed, by id. failed: ids of the batch that are refused already."""
    found: dict[str, GatewayError] = {}
    for id, named in depends.items():
        unknown = [other for other in named if other not in depends and other not in failed]
        if circles(id, depends):
            found[id] = DependsOnItself(f"{id} depends on itself", part="dependencies")
        elif unknown:
            found[id] = UnknownDependency(f"{unknown[0][:80]} is not here", part="dependencies")
    gone = failed | found.keys()
    while lost := [id for id in depends.keys() - gone if gone & set(depends[id])]:
        for id in lost:
            found[id] = DependencyFailed(f"{id} depends on a request that failed")
        gone |= set(lost)
    return found


def circles(id: str, depends: Dependencies) -> bool:
    """Does one come back to a request by following what it depends on?"""
    seen: set[str] = set()
    left = list(depends[id])
    while left:
        other = left.pop()
        if other == id:
            return True
        if other not in seen:
            seen.add(other)
            left += depends.get(other, ())
    return False
