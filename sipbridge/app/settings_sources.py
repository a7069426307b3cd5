"""Where configuration values come from, and which keys there are.

Defaults are overlaid by the TOML file, that by environment variables, those by the command line. An
environment variable is `SIPBRIDGE_` and the key in capitals with two underscores for each dot:
`SIPBRIDGE_HTTP__PORT=8081`; a number picks one of several tables: `SIPBRIDGE_APPLICATIONS__0__PASSWORD`.
Variables without two underscores are not configuration. Lists are JSON or separated by commas.

A key that nobody knows is a fault, with the nearest known key as a hint; so is a key of a later version,
unless it has the value that means "off" there.
"""

import difflib
import json
import tomllib
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from sipbridge.app.settings_tree import NOT_YET, Settings
from sipbridge.errors import ConfigurationError

Raw = dict[str, Any]
"""Sections and keys as read, before any check."""
ENVIRONMENT_PREFIX = "SIPBRIDGE_"
MAX_TABLES = 10_000
"""Highest index an environment variable may name: beyond it a typing error would fill the memory."""

EMPTY: tuple[object, ...] = ("", [], {})
LATER: dict[str, tuple[object, ...]] = {
    "presence_server.xcap_root": EMPTY,
    "presence_servers[].xcap_root": EMPTY,
}
"""Keys that will exist, and the values that already mean "off" and may be written today."""


def read_toml(path: Path) -> Raw:
    """Raises ConfigurationError that names the file."""
    try:
        return tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise ConfigurationError(str(path), error.strerror or "cannot be read") from None
    except UnicodeDecodeError:
        raise ConfigurationError(str(path), "is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(str(path), f"is not TOML: {error}") from None


def read_environment(environ: Mapping[str, str]) -> list[tuple[list[str], Any]]:
    """(path, value) of each configuration variable, in the order of their names."""
    found: list[tuple[list[str], Any]] = []
    for name in sorted(environ):
        if name.startswith(ENVIRONMENT_PREFIX) and "__" in name:
            path = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
            found.append((path, environment_value(environ[name])))
    return found


def environment_value(text: str) -> Any:
    if text[:1] in ("[", "{"):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def put(raw: Raw, path: list[str], value: Any) -> None:
    """Set one value in a tree of tables; digits pick a table of an array. Raises ConfigurationError."""
    here: Any = raw
    for place, step in enumerate(path):
        if not isinstance(here, dict | list):
            raise ConfigurationError(".".join(path), "its parent is a value, not a section")
        key: Any = int(step) if isinstance(grown(here, path, step), list) else step
        if place == len(path) - 1:
            here[key] = value
        elif isinstance(here, list):
            here = here[key]
        else:
            here = here.setdefault(key, [] if path[place + 1].isdigit() else {})


def grown(tables: Any, path: list[str], step: str) -> Any:
    """An array long enough for table number `step`; anything else as it is."""
    if not isinstance(tables, list):
        return tables
    if not step.isdigit() or int(step) > MAX_TABLES:
        raise ConfigurationError(".".join(path), f"{step!r} does not number a table")
    while len(tables) <= int(step):
        tables.append({})
    return tables


def merge(below: Raw, above: Mapping[str, Any]) -> Raw:
    """Tables are laid over each other key by key; every other value, arrays too, replaces."""
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        both = isinstance(old, dict) and isinstance(value, Mapping)
        result[key] = merge(old, value) if both and isinstance(old, dict) else value
    return result


def tables_copied(raw: Any) -> Any:
    if isinstance(raw, Mapping):
        return {key: tables_copied(value) for key, value in raw.items()}
    return [tables_copied(item) for item in raw] if isinstance(raw, list) else raw


def gather(
    file: Mapping[str, Any], environ: Mapping[str, str], overrides: Mapping[str, object]
) -> Raw:
    """All sources laid over each other. Keys of `overrides` may be dotted (`http.port`)."""
    raw: Raw = tables_copied(file)
    for path, value in read_environment(environ):
        put(raw, path, value)
    for key, value in overrides.items():
        if isinstance(value, Mapping):
            raw = merge(raw, {key: value})
        else:
            put(raw, key.split("."), value)
    return raw


# --- which keys there are -----------------------------------------------------------------------------


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The model behind a field, also when it is a tuple of them."""
    for candidate in (annotation, *typing.get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def known_keys(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[str]:
    """Every key, dotted; keys of repeated tables as `applications[].id`."""
    for name, field in model.model_fields.items():
        inner = section_of(field.annotation)
        if inner is None:
            yield prefix + (field.alias or name)
        else:
            many = "" if field.annotation is inner else "[]"
            yield from known_keys(inner, f"{prefix}{name}{many}.")


KNOWN = frozenset(known_keys())
ALL = KNOWN | LATER.keys()
PARENTS = frozenset(
    key[:end] for key in ALL for end, letter in enumerate(key) if letter == "." and end
)


def foreign_keys(raw: Raw) -> tuple[Raw, list[ConfigurationError]]:
    """Takes out what is unknown or of a later version; returns the rest and one fault for each."""
    faults: list[ConfigurationError] = []
    kept = sift(raw, "", "", faults)
    return kept, faults


def sift(table: Raw, shape: str, shown: str, faults: list[ConfigurationError]) -> Raw:
    """`shape` is the prefix as in `KNOWN`, `shown` the same with the numbers of tables."""
    kept: Raw = {}
    for name, value in table.items():
        key, full = shape + name, shown + name
        if key in LATER:
            if value not in LATER[key]:
                faults.append(ConfigurationError(full, NOT_YET))
        elif key in PARENTS and isinstance(value, dict):
            inner = sift(value, f"{key}.", f"{full}.", faults)
            if inner or key in Settings.model_fields:
                kept[name] = inner
        elif f"{key}[]" in PARENTS and isinstance(value, list):
            kept[name] = [
                sift(item, f"{key}[].", f"{full}[{n}].", faults) if isinstance(item, dict) else item
                for n, item in enumerate(value)
            ]
        elif key in KNOWN or key in Settings.model_fields:
            kept[name] = value
        elif key in PARENTS:
            faults.append(ConfigurationError(full, "is a section, not a value"))
        elif isinstance(value, dict) and value:
            sift(value, f"{key}.", f"{full}.", faults)
        else:
            faults.append(ConfigurationError(full, f"unknown key{hint(key)}"))
    return kept


def hint(key: str) -> str:
    near = difflib.get_close_matches(key, [*KNOWN, *PARENTS], n=1, cutoff=0.75)
    return f"; did you mean {near[0]}?" if near else ""
