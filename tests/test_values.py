"""Quick values are what frozen dataclasses are: only faster to make."""

import copy
import pickle
from dataclasses import FrozenInstanceError, dataclass, field, replace

import pytest

from sipbridge.values import quick


@quick
@dataclass(frozen=True, slots=True)
class Base:
    """A value."""

    name: str
    set: int = 1


@quick
@dataclass(frozen=True, slots=True)
class Derived(Base):
    more: tuple[str, ...] = ()
    said: str = field(default="", compare=False)

    @property
    def whole(self) -> str:
        return f"{self.name}{self.more}"


def test_fields_come_by_place_name_and_default() -> None:
    value = Derived("a", more=("b",))
    assert (value.name, value.set, value.more, value.said) == ("a", 1, ("b",), "")
    assert value.whole == "a('b',)"
    assert type(value) is Derived
    assert repr(value).endswith("Derived(name='a', set=1, more=('b',), said='')")


def test_wrong_arguments_are_refused_by_name() -> None:
    with pytest.raises(TypeError, match="Derived.__init__.*name"):
        Derived()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="nonsense"):
        Derived("a", nonsense=1)  # type: ignore[call-arg]


@pytest.mark.parametrize("value", [Base("a"), Derived("a")])
def test_nobody_can_change_them(value: Base) -> None:
    with pytest.raises(FrozenInstanceError):
        value.name = "b"  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        del value.name
    with pytest.raises((AttributeError, TypeError)):
        value.other = 1  # type: ignore[attr-defined]
    assert value.name == "a"


def test_equal_values_are_equal_and_hash_alike() -> None:
    assert Derived("a", said="x") == Derived("a", said="y")
    assert hash(Derived("a")) == hash(Derived("a"))
    assert Derived("a") != Derived("b")
    assert len({Derived("a"), Derived("a"), Base("a")}) == 2


def test_copies_are_equal() -> None:
    value = Derived("a", 2, ("b",), "c")
    assert replace(value, set=3) == Derived("a", 3, ("b",))
    assert copy.copy(value) == value == copy.deepcopy(value)
    assert pickle.loads(pickle.dumps(value)).said == "c"


def test_fields_that_are_made_anew_are_refused() -> None:
    with pytest.raises(TypeError, match="Made.things"):

        @quick
        @dataclass(frozen=True, slots=True)
        class Made:
            things: list[str] = field(default_factory=list)
