"""Dependencies within a batch."""

import pytest

from sipbridge.errors import DependencyFailed, DependsOnItself, UnknownDependency
from sipbridge.gateway.batches import refusals

SELF, UNKNOWN, FAILED = DependsOnItself, UnknownDependency, DependencyFailed


@pytest.mark.parametrize(
    ("depends", "failed", "wanted"),
    [
        ({"a": (), "b": ("a",)}, "", {}),
        ({"a": ("a",)}, "", {"a": SELF}),
        ({"a": ("b",), "b": ("c",), "c": ("a",)}, "", {"a": SELF, "b": SELF, "c": SELF}),
        ({"a": ("b",), "b": ("b",)}, "", {"a": FAILED, "b": SELF}),
        ({"a": ("x",)}, "", {"a": UNKNOWN}),
        ({"a": ("x", "a")}, "", {"a": SELF}),
        ({"a": ("b",), "b": ("c",), "c": ("x",)}, "", {"a": FAILED, "b": FAILED, "c": UNKNOWN}),
        ({"a": ("x",)}, "x", {"a": FAILED}),
        ({"a": ("b", "x"), "b": ()}, "x", {"a": FAILED}),
        ({}, "x", {}),
    ],
)
def test_who_cannot_be_performed_and_why(
    depends: dict[str, tuple[str, ...]], failed: str, wanted: dict[str, type[Exception]]
) -> None:
    found = refusals(depends, frozenset(failed))
    assert {id: type(error) for id, error in found.items()} == wanted
