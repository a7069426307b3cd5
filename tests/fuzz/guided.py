"""The same targets under atheris, which looks at what each input reaches and breeds on those that reach more.

Its loop takes the process over and never returns, so every target has a process of its own, and ends it by
itself when its time is over. It goes on after a finding: those are judged and kept by `Run`, as with
mutations.
"""

import contextlib
import io
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MAX_WORDS = 2000
SLACK = 3.0
"""Code that reports every branch takes about three times as long."""
MARGIN = 30
"""Seconds after which the engine ends it, should we not."""


def spawn(target: str, seconds: float, inputs: int | None, save: Path) -> bool:
    """Run one target in a process of its own; was everything well?"""
    with tempfile.TemporaryDirectory() as folder:
        amount = [str(seconds), str(inputs or 0)]
        done = subprocess.run(
            [sys.executable, "-m", "tests.fuzz.guided", target, *amount, str(save), folder],
            check=False,
        )
    return done.returncode == 0


def fuzz(target: str, seconds: float, inputs: int, save: Path, folder: Path) -> None:
    import atheris

    with (
        contextlib.redirect_stderr(io.StringIO()),  # a line for every module
        atheris.instrument_imports(include=["sipbridge"]),
    ):
        from tests.fuzz.__main__ import Run
        from tests.fuzz.seeds import seeds, words

    known = seeds(target)
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, data in enumerate(known):
        (corpus / str(number)).write_bytes(data)
    quoted = ("".join(f"\\x{byte:02x}" for byte in word) for word in words(target, known))
    dictionary = folder / "words"
    dictionary.write_text("".join(f'"{word}"\n' for word in list(quoted)[:MAX_WORDS]))
    run = Run(target, save, SLACK)
    end = run.started + seconds

    def one(data: bytes) -> None:
        run.one(data)
        if run.inputs >= inputs if inputs else time.monotonic() > end:
            well = run.report("atheris")
            os._exit(0 if well else 1)

    limit = [] if inputs else [f"-max_total_time={round(seconds) + MARGIN}"]
    quiet = ["-verbosity=0", "-print_final_stats=0", "-max_len=98304", f"-dict={dictionary}"]
    atheris.Setup([sys.argv[0], *limit, *quiet, str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    fuzz(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]), Path(sys.argv[5]))
