"""What `sipbridge watch` shows on a terminal: one row for each presentity, redrawn with every notification.

The rows are made of the very lines that programs get as JSON, so both say the same. With `--winfo` a row
tells who watches. Times are those of this machine, because people read them.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

COLOURS = {"active": "green", "pending": "yellow", "terminated": "red", "refused": "red"}
WAITING = "..."
"""The state of a subscription that has not been answered."""
VALUES = ("Activity", "Place", "Privacy", "Sphere")
"""Kinds with a column of their own; the rest stands together in the last one."""


class WatchTable:
    """The rows so far. A context manager: the table stays on the screen when it ends."""

    def __init__(self, presentities: Iterable[str], winfo: bool, console: Console) -> None:
        self.winfo = winfo
        self.lines: dict[str, Mapping[str, object]] = {
            uri: {"presentity": uri, "state": WAITING} for uri in presentities
        }
        self.live = Live(self.table(), console=console, auto_refresh=False)

    def __enter__(self) -> "WatchTable":
        self.live.start(refresh=True)
        return self

    def __exit__(self, *raised: object) -> None:
        self.live.stop()

    def show(self, line: Mapping[str, object]) -> None:
        """A notification as the JSON line has it; what it does not say stays as it was."""
        uri = str(line["presentity"])
        said = {name: value for name, value in line.items() if value not in (None, [])}
        if line.get("state") == "terminated":
            self.lines[uri] = said
        else:
            self.lines[uri] = {**self.lines.get(uri, {}), **said}
        self.live.update(self.table(), refresh=True)

    def end(self, uri: str, state: str) -> None:
        """A subscription was refused, or is over."""
        self.lines[uri] = {**self.lines.get(uri, {}), "state": state}
        self.live.update(self.table(), refresh=True)

    def table(self) -> Table:
        table = Table(expand=False)
        table.add_column("presentity", overflow="fold")
        table.add_column("state")
        table.add_column("since")
        for name in ("watchers",) if self.winfo else (*map(str.lower, VALUES), "note", "more"):
            table.add_column(name, overflow="fold")
        for line in self.lines.values():
            table.add_row(*self.row(line))
        return table

    def row(self, line: Mapping[str, object]) -> list[Text]:
        state = str(line.get("state", ""))
        told = f"{state} ({line['reason']})" if line.get("reason") else state
        cells = [str(line["presentity"]), told, clock(line.get("at"))]
        if self.winfo:
            cells.append("\n".join(f"{w['uri']} {w['status']}" for w in objects(line, "watchers")))
        else:
            cells += columns(objects(line, "attributes"))
        texts = [Text(cell) for cell in cells]  # never markup: it comes from others
        texts[1].stylize(COLOURS.get(state.partition(":")[0], ""))
        return texts


def columns(attributes: list[Mapping[str, object]]) -> list[str]:
    """Values by kind, notes, and everything else."""
    cells: dict[str, list[str]] = {name: [] for name in (*VALUES, "note", "more")}
    for attribute in attributes:
        union = attribute.get("typeAndValue")
        if not isinstance(union, Mapping):
            continue
        kind = str(union.get("unionElement"))
        value = union.get(kind.lower())
        if kind in VALUES:
            cells[kind].append(str(value))
        elif isinstance(value, Mapping):
            cells["more"] += others(value)
        note = attribute.get("note")
        if note and note not in cells["note"]:
            cells["note"].append(str(note))
    return [", ".join(values) for values in cells.values()]


def others(value: Mapping[str, object]) -> list[str]:
    """Means of communication, or a free name with its value."""
    if "means" in value:
        return [f"{m['type']} {m['contact']}" for m in objects(value, "means")]
    return [f"{value.get('name')}={value.get('value')}"]


def objects(holder: Mapping[str, object], name: str) -> list[Mapping[str, object]]:
    found = holder.get(name)
    return [item for item in found if isinstance(item, Mapping)] if isinstance(found, list) else []


def clock(at: object) -> str:
    """The time of day here; "" for nothing."""
    return (
        datetime.fromisoformat(at).astimezone().strftime("%H:%M:%S") if isinstance(at, str) else ""
    )
