"""sipbridge: SIP SIMPLE presence on one side, plain JSON on the other."""

from importlib import import_module

__version__ = "0.1.0"

EXPORTS = {"SipBridgeError": "errors", "Uri": "uri"}
"""Public name to the module that has it; loaded when it is first asked for."""

__all__ = ["__version__", *EXPORTS]


def __getattr__(name: str) -> object:
    module = EXPORTS.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{module}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *EXPORTS})
