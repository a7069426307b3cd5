"""The case files themselves, read without any peer: what each proves, its steps; what brief plays."""

import re
from collections.abc import Sequence

import pytest

from tests.interop.run import brief, modules, sections_of
from tests.interop.runner import VERBS, Case, all_cases, variant_name

CASES = all_cases()
SECTION = re.compile(r"RFC \d{4} [0-9A-Z.]+|Bayeux 1\.0")


def both(cases: Sequence[Case], does: str) -> dict[str, set[bool]]:
    """Phone to the digest choices its cases of this kind are played with: publishes-to-us or watches-us."""
    found: dict[str, set[bool]] = {}
    for case in cases:
        phone, _, what = case.name[3:].partition("-")
        if what == does:
            found[phone] = {bool(v.get("digest")) for v in case.variants}
    return found


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_case_says_what_it_proves_and_by_which_sections(case: Case) -> None:
    assert len(case.proves) > 80, "a sentence or two, in plain words"
    assert case.sections and all(SECTION.fullmatch(s) for s in case.sections)
    assert all(step["do"] in VERBS for step in case.steps)
    names = [variant_name(variant) for variant in case.variants]
    assert len(set(names)) == len(names)


def test_a_module_that_meets_peers_says_by_which_sections() -> None:
    assert modules()
    for module in modules():
        sections = sections_of(module.stem)
        assert sections and all(SECTION.fullmatch(s) for s in sections), module


def test_numbers_are_given_once() -> None:
    numbers = [case.name[:2] for case in CASES]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("does", ["publishes-to-us", "watches-us"])
def test_every_phone_does_it_with_digest_and_without(does: str) -> None:
    phones = both(CASES, does)
    assert phones.pop("sipp", None) is not None
    eight = {
        "baresip",
        "liblinphone",
        "linphonec",
        "libpurple",
        "pjsua",
        "twinkle",
        "sipjs",
        "jssip",
    }
    assert set(phones) == eight | {"aiovoip", "sippy"}
    assert all(choices == {False, True} for choices in phones.values()), phones


def test_brief_plays_each_phone_once_in_turns_with_digest_and_without() -> None:
    chosen = brief(CASES)
    played = [chosen[c.name] for c in CASES if any(v.get("digest") for v in c.variants)]
    assert all(len(variants) == 1 for variants in played)
    with_digest = [bool(variants[0].get("digest")) for variants in played]
    assert with_digest == [bool(n % 2) for n in range(len(played))]
    assert all(chosen[case.name] for case in CASES)
