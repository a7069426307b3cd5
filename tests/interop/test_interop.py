"""The interop cases as tests; `make test` leaves them out, they need the real peers."""

import shutil
from typing import Any

import pytest

from tests.interop.runner import Case, all_cases, play, variant_name

PLAYED = [(case, variant) for case in all_cases() for variant in case.variants]


@pytest.mark.interop
@pytest.mark.parametrize(
    ("case", "variant"), PLAYED, ids=[f"{c.name}-{variant_name(v)}" for c, v in PLAYED]
)
async def test_case(case: Case, variant: dict[str, Any]) -> None:
    if shutil.which("kamailio") is None:
        pytest.skip("the real peers are not installed: make interop")
    verdict = await play(case, variant)
    assert verdict.verdict == "pass", verdict.seen
