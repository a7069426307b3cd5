"""Live and ready, as values; `rest` turns them into responses.

Live: the loop answers. Ready: what the bridge cannot work without works (listeners, the store). A peer that
does not answer degrades: others may still be served, so the status stays 200 and the body says which one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

Check = Callable[[], bool]


class Word(StrEnum):
    """How it is, worst last."""

    OK = "ok"
    DEGRADED = "degraded"
    DRAINING = "draining"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Health:
    """status: of the HTTP response. checks: each by name, "ok" or "failed"."""

    status: int
    word: Word
    checks: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """The body of the response."""
        told: dict[str, object] = {"status": self.word.value}
        return told | {"checks": dict(self.checks)} if self.checks else told


class Checks:
    """What readiness depends on. Checks are quick and never wait."""

    def __init__(self) -> None:
        self.needed: dict[str, Check] = {}
        self.wanted: dict[str, Check] = {}
        self.draining = False
        """Set when the bridge stops: whoever balances load should look elsewhere."""

    def need(self, name: str, check: Check) -> None:
        """Without it nothing works: 503."""
        self.needed[name] = check

    def want(self, name: str, check: Check) -> None:
        """Without it some things do not work: 200, degraded."""
        self.wanted[name] = check

    def live(self) -> Health:
        return Health(200, Word.OK)

    def ready(self) -> Health:
        needed = {name: check() for name, check in self.needed.items()}
        wanted = {name: check() for name, check in self.wanted.items()}
        shown = {name: "ok" if holds else "failed" for name, holds in (needed | wanted).items()}
        if not all(needed.values()):
            return Health(503, Word.FAILED, shown)
        if self.draining:
            return Health(503, Word.DRAINING, shown)
        return Health(200, Word.OK if all(wanted.values()) else Word.DEGRADED, shown)
