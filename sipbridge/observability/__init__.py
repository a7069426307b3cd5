"""Watching from outside: logs, metrics, the SIP trace and health, all made from what others report.

Names are loaded when they are first asked for.
"""

from importlib import import_module

EXPORTS = {
    "Checks": "health",
    "Health": "health",
    "IndicationLog": "logs",
    "Metrics": "metrics",
    "SipTrace": "trace",
    "configure": "logs",
    "logger": "logs",
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
