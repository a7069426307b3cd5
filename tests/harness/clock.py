"""A clock turned by hand: monotonic seconds and the wall clock beside it."""

from datetime import UTC, datetime, timedelta

STARTED = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


class HandClock:
    """Both clocks. `now` and `at` move together and only when told."""

    def __init__(self, now: float = 1000.0, at: datetime = STARTED) -> None:
        self.started = now
        self.current = now
        self.at_start = at

    def now(self) -> float:
        return self.current

    def at(self) -> datetime:
        return self.wall(self.current)

    def wall(self, now: float) -> datetime:
        """The pure function from monotonic seconds to UTC that cores are given."""
        return self.at_start + timedelta(seconds=now - self.started)

    def advance_to(self, now: float) -> None:
        assert now >= self.current, "time does not run backwards"
        self.current = now
