"""`sipbridge validate`: the shape of a line, and what --strict adds."""

import io
import json
import sys
from pathlib import Path

import pytest

from sipbridge.cli import main
from sipbridge.cli.validate import validate_bytes, validate_file, with_progress

GOOD = b"<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:a@example.com'/>"
NO_ID = GOOD.replace(b"/>", b"><tuple><status/></tuple></presence>")
# A time without a zone has the right type and yet says no instant
BACKWARDS = GOOD.replace(
    b"/>",
    b"><tuple id='t'><status/><timestamp>2024-05-01T12:00:00</timestamp></tuple></presence>",
)


def test_a_good_document() -> None:
    assert validate_bytes(GOOD, "name") == {
        "file": "name",
        "well_formed": True,
        "valid": True,
        "errors": [],
        "deviations": [],
    }


def test_a_fault_has_line_path_and_message() -> None:
    told = validate_bytes(NO_ID, "name")
    assert told["valid"] is False
    assert told["errors"] == [
        {"line": 1, "path": "/presence/tuple", "message": "missing required attribute 'id'"}
    ]


def test_strict_makes_every_deviation_an_error() -> None:
    relaxed, strict = validate_bytes(BACKWARDS, "n"), validate_bytes(BACKWARDS, "n", strict=True)
    assert relaxed["valid"] is True and relaxed["errors"] == []
    assert strict["valid"] is False
    assert isinstance(strict["errors"], list) and isinstance(strict["deviations"], list)
    assert strict["deviations"] == relaxed["deviations"]
    assert len(strict["errors"]) == len(strict["deviations"]) > 0
    assert set(strict["deviations"][0]) == {"code", "rfc", "path", "line", "message"}


def test_what_is_no_xml_is_not_well_formed() -> None:
    told = validate_bytes(b"v=0\r\n", "n")
    assert (told["well_formed"], told["valid"]) == (False, False)


def test_the_command_prints_a_line_a_file_and_fails_if_one_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = tmp_path / "good.xml", tmp_path / "bad.xml"
    good.write_bytes(GOOD)
    bad.write_bytes(NO_ID)
    assert main(["validate", str(good)]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [
        validate_file(str(good))
    ]
    assert main(["validate", str(good), str(bad)]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["valid"] for line in lines] == [True, False]
    assert main(["validate", str(tmp_path / "none")]) == 2


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_many_files_have_a_bar_on_a_terminal_and_one_has_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    shown: dict[int, str] = {}
    for number in (1, 3):
        screen = Terminal()
        monkeypatch.setattr(sys, "stderr", screen)
        assert list(with_progress(range(number), number)) == list(range(number))
        shown[number] = screen.getvalue()
    assert shown[1] == ""
    assert "validating" in shown[3]


def test_programs_see_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(with_progress(range(3), 3)) == [0, 1, 2]
    assert capsys.readouterr().err == ""
