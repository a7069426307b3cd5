"""`sipbridge tables`: what is assumed in translation, and the codes of what is tolerated in documents."""

from collections.abc import Iterator, Mapping, Sequence

from sipbridge.mapping.ocsg import effective_tables
from sipbridge.mapping.table import DEFAULT, Tables
from sipbridge.presence.deviations import DEVIATIONS

HEADINGS = {
    "activity": "Activity: RPID activities",
    "place": "Place: place types (RFC 4589)",
    "privacy": "Privacy: RPID privacy",
    "sphere": "Sphere: RPID sphere",
}


def as_json(tables: Tables = DEFAULT) -> dict[str, object]:
    """The effective tables as `mapping` gives them, with `deviations` beside them."""
    codes = [
        {"code": code, "rfc": rule.rfc, "meaning": rule.meaning}
        for code, rule in DEVIATIONS.items()
    ]
    return effective_tables(tables) | {"deviations": codes}


def as_text(tables: Tables = DEFAULT) -> str:
    """The same for people: one block for each table, tokens strongest first, folds marked."""
    told = as_json(tables)
    lines: list[str] = []
    for name, heading in HEADINGS.items():
        lines += ["", heading, *token_lines(told[name])]
    lines += ["", "Effects on Webex status (and what it is when scheduled) and BEMS availability"]
    lines += columns(effect_rows(told["effects"]))
    for name in ("schemes", "services", "reserved", "scheduled", "switches"):
        lines += ["", name.capitalize(), *columns(pairs(told[name]))]
    lines += ["", "Order of Webex statuses", f"  {joined(told['order'])}"]
    lines += ["", "Order of BEMS availabilities", f"  {joined(told['availability_order'])}"]
    lines += ["", "Deviations: what is tolerated in documents, and counted"]
    lines += columns([(code, rule.rfc, rule.meaning) for code, rule in DEVIATIONS.items()])
    return "\n".join(lines[1:]) + "\n"


def token_lines(table: object) -> list[str]:
    if not isinstance(table, Mapping):
        return []
    arrows = {"pair": "<->", "fold": "-->"}
    rows = [
        (row["token"], arrows[row["relation"]], row["word"], row.get("companion", ""))
        for row in table["tokens"]
    ]
    return columns([(token, arrow, word, with_it(other)) for token, arrow, word, other in rows])


def with_it(companion: str) -> str:
    return f"written with {companion}" if companion else ""


def effect_rows(effects: object) -> Iterator[tuple[str, ...]]:
    if isinstance(effects, Mapping):
        for token, effect in effects.items():
            yield token, effect["webex"] or "-", effect["webex_scheduled"] or "-", effect["bems"]


def pairs(values: object) -> Iterator[tuple[str, ...]]:
    if isinstance(values, Mapping):
        for name, value in values.items():
            yield name, joined(value)


def joined(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value).removesuffix("\n")


def columns(rows: Iterator[tuple[str, ...]] | Sequence[tuple[str, ...]]) -> list[str]:
    """Rows of texts, aligned."""
    cells = list(rows)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  " + "  ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
