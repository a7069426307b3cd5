"""Which functions of the program ran, in order: the walks are told by this."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

import sipbridge

HOME = str(Path(sipbridge.__file__).parent) + "/"


class Walk:
    """Every call of a function of `sipbridge`, as ("transports/udp.py", "readable")."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    def record(self, frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(HOME):
            self.calls.append((code.co_filename[len(HOME) :], code.co_name))

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        before = sys.getprofile()
        sys.setprofile(self.record)
        try:
            yield
        finally:
            sys.setprofile(before)

    def files(self, watched: Sequence[str], first: tuple[str, str]) -> list[str]:
        """The watched files in the order in which control came to them from the call of `first` on."""
        calls = self.calls[self.calls.index(first) :]
        return list(dict.fromkeys(file for file, _ in calls if file in watched))

    def between(self, first: tuple[str, str], last: tuple[str, str]) -> set[str]:
        """The files that ran after the first call of `first` and before the next one of `last`."""
        begin = self.calls.index(first)
        end = self.calls.index(last, begin)
        return {file for file, _ in self.calls[begin:end]}
