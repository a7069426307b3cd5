"""One input, judged: does it crash a target, take too long, or too much memory?

Time is CPU time of this thread. A machine is busy now and then, so what took too long is run again, and
the best of three counts. What never ends is interrupted by a signal. Memory is the growth of the process's
highest water mark, which the kernel is asked to forget whenever it has risen, so libraries in C count too.
"""

import resource
import signal
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

MAX_SECONDS = 0.1
MAX_BYTES = 64 << 20
NEVER = 5.0
"""CPU seconds after which an input is interrupted."""
FORGET = Path("/proc/self/clear_refs")

Step = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class Finding:
    """kind: "crash", "hang" or "memory". detail: for people. place: where, to tell findings apart."""

    kind: str
    detail: str
    place: str


class Endless(BaseException):
    """It was interrupted. Not an Exception, so that no target can swallow it."""


def interrupt(number: int, frame: FrameType | None) -> None:
    raise Endless


def judge(steps: Iterable[Step], data: bytes, slack: float = 1.0) -> Finding | None:
    """Run each once, more often if it was slow. Main thread only.

    slack: how many times slower than usual this process is, because something looks over its shoulder.
    """
    before = high_water()
    for step in steps:
        if (found := crash_of(step, data, MAX_SECONDS * slack)) is not None:
            return found
    grown = high_water() - before
    if grown > MAX_BYTES:
        return Finding("memory", f"{grown >> 20} MiB", "memory")
    if grown > MAX_BYTES // 16:
        forget_high_water()
    return None


def crash_of(step: Step, data: bytes, most: float) -> Finding | None:
    """An error or a hang."""
    fastest = NEVER
    for _ in range(3):
        signal.signal(signal.SIGPROF, interrupt)
        signal.setitimer(signal.ITIMER_PROF, NEVER)
        started = time.thread_time()
        try:
            step(data)
        except Endless:
            return Finding("hang", f"not at its end after {NEVER:g} s", f"in {name_of(step)}")
        except Exception as error:
            return Finding("crash", "".join(traceback.format_exception(error)), place_of(error))
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        fastest = min(fastest, time.thread_time() - started)
        if fastest <= most:
            return None
    detail = f"{fastest * 1000:.0f} ms for {len(data)} bytes"
    return Finding("hang", detail, f"in {name_of(step)}")


def name_of(step: Step) -> str:
    return getattr(step, "__name__", "?")


def place_of(error: BaseException) -> str:
    """The error's class and where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1] if frames else None
    return f"{type(error).__name__} {Path(last.filename).name}:{last.lineno}" if last else "?"


def high_water() -> int:
    """Bytes this process has taken at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def forget_high_water() -> None:
    try:
        FORGET.write_text("5")
    except OSError:
        return  # not Linux, or not allowed: the mark only ever rises then
