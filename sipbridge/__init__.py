"""sipbridge: SIP SIMPLE presence on one side, plain JSON on the other."""

__version__ = "0.1.0"

__all__ = ["__version__"]
