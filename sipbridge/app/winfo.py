"""Who watches one presentity, kept up to date from presence.winfo NOTIFYs (RFC 3858 §3.2, §4).

A full document replaces the table, a partial one changes rows and must carry the next version; anything else
means something was missed, and a refresh brings the full state (RFC 3857 §4.6). Kamailio starts at version 1.
"""

from sipbridge.errors import ParseError
from sipbridge.gateway.ports import WatcherSeen
from sipbridge.presence import watcherinfo
from sipbridge.presence.watcherinfo import WatcherEntry
from sipbridge.uri import Uri


class WatcherTable:
    """Rows by watcher id."""

    def __init__(self) -> None:
        self.version: int | None = None
        self.rows: dict[str, WatcherEntry] = {}

    def receive(self, body: bytes) -> bool:
        """Apply a document. False: the state is incomplete, ask again. Raises DocumentError."""
        document = watcherinfo.parse(body)
        if self.version is not None and document.version <= self.version:
            # A lower version is an old document on a slow path, unless the server began anew.
            if document.state != "full":
                return True
        elif document.state != "full" and (
            self.version is None or document.version != self.version + 1
        ):
            return False
        if document.state == "full":
            self.rows = {}
        self.version = document.version
        for listed in document.lists:
            for entry in listed.watchers:
                if entry.status == "terminated":
                    self.rows.pop(entry.id or "", None)
                else:
                    self.rows[entry.id or ""] = entry
        return True

    def watchers(self) -> tuple[WatcherSeen, ...]:
        """The table, rows without a readable address left out."""
        seen: list[WatcherSeen] = []
        for entry in self.rows.values():
            try:
                uri = Uri.parse(entry.uri)
            except ParseError:
                continue
            name = entry.display_name or ""
            seen.append(WatcherSeen(uri, entry.status, entry.event, name, entry.id or ""))
        return tuple(seen)
