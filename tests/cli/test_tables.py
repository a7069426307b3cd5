"""The tables as two parties compare them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sipbridge.presence.deviations import DEVIATIONS

Shell = Callable[..., Any]


def test_json_has_tables_and_deviation_codes(shell: Shell) -> None:
    told = shell("tables", "--json")
    assert told.status == 0
    found = json.loads(told.out)
    assert {"activity", "place", "privacy", "sphere", "effects", "switches"} <= set(found)
    assert [row["code"] for row in found["deviations"]] == list(DEVIATIONS)
    assert all(row["rfc"] and row["meaning"] for row in found["deviations"])


def test_people_see_every_token_and_every_code(shell: Shell) -> None:
    found = json.loads(shell("tables", "--json").out)
    text = shell("tables").out
    for name in ("activity", "place", "privacy", "sphere"):
        for row in found[name]["tokens"]:
            assert row["token"] in text
    for code in DEVIATIONS:
        assert f"  {code} " in text
    assert "  lunch              -->  Meal\n" in text
    assert "  meal               <->  Meal\n" in text


def test_what_an_integrator_lays_over_them_shows(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "mapping.toml").write_text('[activity.folds]\nlunch = "Busy"\n')
    path = tmp_path / "sipbridge.toml"
    path.write_text("mapping.file = 'mapping.toml'\n")
    text = shell("tables", "-c", str(path)).out
    assert "  lunch              -->  Busy\n" in text
