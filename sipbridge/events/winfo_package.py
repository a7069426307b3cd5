"""The event package `presence.winfo` (RFC 3857 §4)."""

from sipbridge.events.package import EventPackage

WATCHERINFO = "application/watcherinfo+xml"

PRESENCE_WINFO = EventPackage(
    "presence.winfo", (WATCHERINFO,), default_expires=3600, rfc="RFC 3857"
)
