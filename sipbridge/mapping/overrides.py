"""An integrator's own assumptions laid over the project's tables.

`load` takes what a TOML file says (`configs/mapping.toml` is an example with every key) and gives new tables.
For each of activity, place, privacy and sphere:

- `[x.folds]`: token = "Word": the token is read as that word; a reserved pair keeps it for the way back.
- `[x.pairs]`: token = "Word": read as that word, and written for it; the token that was written for the word
  so far becomes a fold.

A token is written short (`lunch`), `x:` for our own elements, or `{namespace}name`. `[activity] order` lists
tokens, strongest first, that shall stand before all others. Every word that could be written must stay so. A
mistake raises ConfigurationError with the full key.
"""

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from typing import TypeVar

from sipbridge.errors import ConfigurationError
from sipbridge.mapping.attributes import MeansType
from sipbridge.mapping.availability import ORDER, WEBEX_ORDER
from sipbridge.mapping.rows import Availability, Effect, Status, Table
from sipbridge.mapping.schedule import parse_token
from sipbridge.mapping.table import DEFAULT, Tables

Word = TypeVar("Word", bound=StrEnum)
Options = Mapping[str, object]

TABLES = ("activity", "place", "privacy", "sphere")
SWITCHES = ("multi", "sphere_text", "oma", "note_phrases", "drop_status_notes")
PHRASES = ("dnd_phrases", "brb_phrases")
ORDERS = {"sipbridge": ORDER, "webex": WEBEX_ORDER}
PRIVACY_QUIET = ("text", "place-is")
KEYS = frozenset(
    {*TABLES, *SWITCHES, *PHRASES, "schemes", "services", "effects", "order", "privacy_quiet"}
)


def load(options: Options, base: Tables = DEFAULT) -> Tables:
    """`base` with these options. Raises ConfigurationError."""
    for key in options:
        if key not in KEYS:
            raise ConfigurationError(key, f"unknown; known are {', '.join(sorted(KEYS))}")
    tables = replace(
        base,
        activity=overlay(base.activity, section(options, "activity"), "activity"),
        place=overlay(base.place, section(options, "place"), "place"),
        privacy=overlay(base.privacy, section(options, "privacy"), "privacy"),
        sphere=overlay(base.sphere, section(options, "sphere"), "sphere"),
        schemes={**base.schemes, **means(section(options, "schemes"), "schemes")},
        services={**base.services, **means(section(options, "services"), "services")},
        effects={**base.effects, **effects(section(options, "effects"))},
    )
    for key in SWITCHES:
        if key in options:
            tables = switched(tables, key, switch(options[key], key))
    for key in PHRASES:
        if key in options:
            tables = switched(tables, key, frozenset(phrases(options[key], key)))
    if "order" in options:
        tables = replace(tables, order=ORDERS[choice(options["order"], tuple(ORDERS), "order")])
    if "privacy_quiet" in options:
        quiet = choice(options["privacy_quiet"], PRIVACY_QUIET, "privacy_quiet")
        tables = replace(tables, privacy_quiet=quiet)
    return tables


def switched(tables: Tables, key: str, value: object) -> Tables:
    return replace(tables, **{key: value})  # type: ignore[arg-type]


def overlay(table: Table[Word], options: Options, key: str) -> Table[Word]:
    """One table with its pairs and folds replaced."""
    for name in options:
        if name not in ("pairs", "folds", "order"):
            raise ConfigurationError(f"{key}.{name}", "unknown; known are pairs, folds, order")
    pairs, folds, ranks = dict(table.pairs), dict(table.folds), dict(table.ranks)
    words = type(table.other)
    for token, word in words_of(section(options, "pairs", key), words, f"{key}.pairs"):
        for former in [t for t, w in pairs.items() if w is word and t != token]:
            folds[former] = pairs.pop(former)
        folds.pop(token, None)
        pairs[token] = word
    for token, word in words_of(section(options, "folds", key), words, f"{key}.folds"):
        pairs.pop(token, None)
        folds[token] = word
    if (order := options.get("order")) is not None:
        strongest = phrases(order, f"{key}.order", exact=True)
        first = min(ranks.values(), default=0.0) - len(strongest)
        ranks |= {token: first + i for i, token in enumerate(strongest)}
    changed = replace(table, pairs=pairs, folds=folds, ranks=ranks)
    for word in table.writes:
        if word not in changed.writes:
            raise ConfigurationError(key, f"nothing is left to write {word.value} with")
    return changed


def words_of(options: Options, words: type[Word], key: str) -> list[tuple[str, Word]]:
    """(token, word) pairs of a section."""
    made = []
    for token, text in options.items():
        if token and any(parse_token(t, "urn:x") is None for t in token.split(",")):
            raise ConfigurationError(f"{key}.{token}", "no token")
        try:
            made.append((token, words(text)))  # type: ignore[arg-type]
        except ValueError:
            valid = ", ".join(word.value for word in words)
            raise ConfigurationError(f"{key}.{token}", f"one of {valid}") from None
    return made


def means(options: Options, key: str) -> dict[str, MeansType]:
    return {token.lower(): word for token, word in named(options, MeansType, key)}


def named(options: Options, words: type[Word], key: str) -> list[tuple[str, Word]]:
    made = []
    for name, text in options.items():
        made.append((name, words(choice(text, tuple(w.value for w in words), f"{key}.{name}"))))
    return made


def effects(options: Options) -> dict[str, Effect]:
    """`token = {webex = "Busy", webex_scheduled = "CalendarItem", bems = "busy"}`."""
    made = {}
    statuses = tuple(s.value for s in Status)
    for token, given in options.items():
        key = f"effects.{token}"
        members = section(options, token, "effects")
        for name in members:
            if name not in ("webex", "webex_scheduled", "bems"):
                raise ConfigurationError(f"{key}.{name}", "unknown")
        if "bems" not in members or not isinstance(given, Mapping):
            raise ConfigurationError(f"{key}.bems", "missing")
        availability = Availability(
            choice(members["bems"], tuple(a.value for a in Availability), f"{key}.bems")
        )
        status = None
        if "webex" in members:
            status = Status(choice(members["webex"], statuses, f"{key}.webex"))
        scheduled = status
        if "webex_scheduled" in members:
            scheduled = Status(
                choice(members["webex_scheduled"], statuses, f"{key}.webex_scheduled")
            )
        made[token] = Effect(status, scheduled, availability)
    return made


def section(options: Options, name: str, prefix: str = "") -> Options:
    value = options.get(name, {})
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{prefix}.{name}" if prefix else name, "a table")
    return value


def switch(value: object, key: str) -> bool:
    if not isinstance(value, bool):
        raise ConfigurationError(key, "true or false")
    return value


def choice(value: object, valid: tuple[str, ...], key: str) -> str:
    if not isinstance(value, str) or value not in valid:
        raise ConfigurationError(key, f"one of {', '.join(valid)}")
    return value


def phrases(value: object, key: str, *, exact: bool = False) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise ConfigurationError(key, "a list of texts")
    return value if exact else ["".join(c for c in v if c.isalpha()).lower() for v in value]
