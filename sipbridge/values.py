"""Frozen values that are quick to make.

A frozen dataclass sets each field by a call of `object.__setattr__`, which takes longer than everything else
about it. A message makes some forty values with ten fields each. `quick` gives such a class an `__init__`
that for its duration turns the new object into one of a twin class with the same slots but without the lock,
sets the fields as any object does, and turns it back. Outside it is the same: frozen, equal, hashable.
"""

import dataclasses
from typing import Any, TypeVar

T = TypeVar("T")


def quick(cls: type[T]) -> type[T]:
    """Decorates a dataclass made with `frozen=True, slots=True`, above `@dataclass`."""
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    twin = type(
        f"{cls.__name__}InTheMaking",
        cls.__bases__,
        {
            "__slots__": cls.__dict__["__slots__"],
            "__setattr__": object.__setattr__,
            "__delattr__": object.__delattr__,
        },
    )
    scope: dict[str, Any] = {"_twin": twin, "_cls": cls, "_set": object.__setattr__}
    parameters = []
    body = []
    for one in fields:
        if not one.init or one.kw_only or one.default_factory is not dataclasses.MISSING:
            raise TypeError(f"{cls.__name__}.{one.name}: quick knows plain fields only")
        if one.default is not dataclasses.MISSING:
            scope[f"default_{one.name}"] = one.default
            parameters.append(f"{one.name}=default_{one.name}")
        else:
            parameters.append(one.name)
        body.append(f"    self.{one.name} = {one.name}\n")
    source = (
        f"def __init__(self, {', '.join(parameters)}):\n"
        "    _set(self, '__class__', _twin)\n" + "".join(body) + "    self.__class__ = _cls\n"
    )
    exec(source, scope)
    made, before = scope["__init__"], cls.__init__
    made.__qualname__, made.__annotations__ = before.__qualname__, before.__annotations__
    cls.__init__ = made  # type: ignore[method-assign]
    return cls
