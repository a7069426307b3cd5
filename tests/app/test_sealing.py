"""SIP passwords at rest."""

import stat
from pathlib import Path

import pytest

from sipbridge.app.sealing import Seal
from sipbridge.errors import ConfigurationError


def test_the_key_is_made_when_it_is_needed_and_read_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "state.db.key"
    seal = Seal(path)
    assert not path.exists()
    sealed = seal.close("alicepw")
    assert "alicepw" not in sealed
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]
    assert Seal(path).open(sealed) == "alicepw"


def test_another_key_opens_nothing(tmp_path: Path) -> None:
    sealed = Seal(tmp_path / "one").close("alicepw")
    other = Seal(tmp_path / "two")
    other.close("x")
    with pytest.raises(ConfigurationError, match=r"store\.key_file: .*two: is not the key"):
        other.open(sealed)


def test_a_lost_key_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "key"
    sealed = Seal(path).close("alicepw")
    path.unlink()
    with pytest.raises(ConfigurationError, match="No such file"):
        Seal(path).open(sealed)
    assert not path.exists()


def test_a_file_that_is_no_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("not a key")
    with pytest.raises(ConfigurationError, match="is no key"):
        Seal(path).close("alicepw")


def test_a_folder_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"store\.key_file"):
        Seal(tmp_path / "nowhere" / "key").close("alicepw")


def test_without_a_file_the_key_lives_as_long_as_the_process() -> None:
    seal = Seal(None)
    assert seal.open(seal.close("alicepw")) == "alicepw"
