"""What a shell is offered, as a shell asks for it."""

import os
import subprocess
import sys

import pytest

from sipbridge.cli.completion import one_of, values_of


def offered(line: str) -> list[str]:
    """Completions of the last word of a command line, as bash gets them."""
    done = subprocess.run(
        [sys.executable, "-m", "sipbridge"],
        env=os.environ
        | {
            "_SIPBRIDGE_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(line.count(" ")),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("sipbridge wa", ["watch"]),
        ("sipbridge watch --tra", ["--transport", "--trace"]),
        ("sipbridge watch --transport t", ["tcp", "tls"]),
        ("sipbridge map --to b", ["bems"]),
        ("sipbridge publish --activity Me", ["Meeting", "Meal"]),
    ],
)
def test_commands_options_and_fixed_words_are_completed(line: str, words: list[str]) -> None:
    assert offered(line) == words


def test_every_shell_can_have_it() -> None:
    for shell in ("bash", "zsh", "fish"):
        done = subprocess.run(
            [sys.executable, "-m", "sipbridge"],
            env=os.environ | {"_SIPBRIDGE_COMPLETE": f"source_{shell}"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert "_SIPBRIDGE_COMPLETE=" in done.stdout, shell


def test_words_are_those_that_begin_so() -> None:
    assert one_of("udp", "tcp")("u") == ["udp"]
    assert values_of("Sphere")("") == ["SphereNone", "SphereWork", "SphereHome", "SphereOther"]
