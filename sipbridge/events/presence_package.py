"""The event package `presence` (RFC 3856 §6)."""

from sipbridge.events.package import EventPackage

PIDF = "application/pidf+xml"

PRESENCE = EventPackage("presence", (PIDF,), default_expires=3600, rfc="RFC 3856")
