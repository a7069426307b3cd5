"""Vocabularies, pure: presence documents as typeAndValue attributes, Webex and BEMS statuses, and back.

Names are loaded when they are first asked for, so that a client that only needs the vocabulary loads nothing
else.
"""

from importlib import import_module

EXPORTS = {
    "Activity": "attributes",
    "Attribute": "attributes",
    "AttributeKind": "attributes",
    "Means": "attributes",
    "MeansType": "attributes",
    "Other": "attributes",
    "Place": "attributes",
    "Privacy": "attributes",
    "Sphere": "attributes",
    "fingerprint": "attributes",
    "from_json": "attributes",
    "to_json": "attributes",
    "Memory": "ocsg",
    "Mapped": "ocsg",
    "effective_tables": "ocsg",
    "to_attributes": "ocsg",
    "to_document": "ocsg",
    "owner_of": "other",
    "load": "overrides",
    "kinds_visible": "permissions",
    "transformations_for": "permissions",
    "Availability": "rows",
    "Status": "rows",
    "DEFAULT": "table",
    "Tables": "table",
    "BemsPresence": "bems",
    "WebexPresence": "webex",
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
