"""The only place that knows everybody: settings, wiring, life cycle, and the network on real SIP.

`running(load(path))` is a whole bridge as long as a block. Names are loaded when they are first asked for.
"""

from importlib import import_module

EXPORTS = {
    "Bridge": "lifecycle",
    "Listening": "lifecycle",
    "Settings": "settings",
    "SipClient": "sip_client",
    "load": "settings",
    "running": "lifecycle",
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
