"""Presence documents, one module for each format; what watchers may see of them; how several become one.

Formats are functions `parse` and `serialise` of their modules (`pidf`, `watcherinfo`, `rlmi`, ...); `read`
picks one by media type. Names are loaded when they are first asked for.
"""

from importlib import import_module

EXPORTS = {
    "Device": "model",
    "Note": "model",
    "Permission": "rules",
    "Person": "model",
    "Presence": "model",
    "RuleSet": "rules",
    "SubHandling": "rules",
    "Tuple": "model",
    "apply": "filtering",
    "compose": "composition",
    "evaluate": "rules",
    "inspect": "inspection",
    "read": "reading",
    "validate": "schema",
}
"""Public name to the module that has it."""

__all__ = list(EXPORTS)


def __getattr__(name: str) -> object:
    module = EXPORTS.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{module}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *EXPORTS})
