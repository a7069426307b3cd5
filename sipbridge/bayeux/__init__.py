"""Bayeux 1.0, the protocol by which applications receive notifications.

`channels` are names and who owns them, `words` what both ends share, `messages` fields and error strings,
`session` one client, `server` the sans-IO server, `asgi` its HTTP and WebSocket binding, `client` the sans-IO
client. Nothing is imported before it is asked for, so that a program that needs channel names alone does not
load a JSON library.
"""

from importlib import import_module

EXPORTS = {
    "BayeuxApp": "sipbridge.bayeux.asgi",
    "BayeuxClient": "sipbridge.bayeux.client",
    "BayeuxServer": "sipbridge.bayeux.server",
    "Ended": "sipbridge.bayeux.server",
    "Settings": "sipbridge.bayeux.server",
    "Subscribed": "sipbridge.bayeux.server",
}

__all__ = ["BayeuxApp", "BayeuxClient", "BayeuxServer", "Ended", "Settings", "Subscribed"]


def __getattr__(name: str) -> object:
    if name not in EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(EXPORTS[name]), name)
