"""What a shell may offer after an option: words that are fixed. Commands and options it knows already."""

from collections.abc import Callable

MAPPINGS = ("attributes", "webex", "bems", "document")
TRANSPORTS = ("udp", "tcp", "tls", "ws", "wss")

Complete = Callable[[str], list[str]]


def one_of(*known: str) -> Complete:
    """A completer for a list of words."""
    return lambda incomplete: [word for word in known if word.startswith(incomplete)]


def values_of(kind: str) -> Complete:
    """A completer for the values of an attribute, fetched when it is asked."""

    def complete(incomplete: str) -> list[str]:
        from sipbridge.mapping import attributes

        return one_of(*getattr(attributes, kind))(incomplete)

    return complete
