"""Event packages as values (RFC 6665 §5).

A package is handed to the subscriber and the notifier; adding one touches no code here.
"""

from dataclasses import dataclass

ANY_TYPE = "*/*"
"""A body type of a package whose bodies are not ours to judge (RFC 3261 §20.1)."""


@dataclass(frozen=True, slots=True)
class EventPackage:
    """What a specification says of one event package.

    name: as in the Event header. body_types: media types of NOTIFY bodies, the preferred one first; they are
    what we Accept. default_expires, min_expires, max_expires in seconds. forking: may several notifiers
    answer one SUBSCRIBE (RFC 6665 §5.4.9)? also_read: body types we understand though we do not ask for
    them; a notifier that sends them anyway is not answered 415. Body types may be ranges (`application/*`).
    whole_states: body types, as they are written, each of which says everything, whatever was said before.
    partial_type: the body type of partial documents, "" if there are none (`partial`).
    """

    name: str
    body_types: tuple[str, ...]
    default_expires: int = 3600
    min_expires: int = 60
    max_expires: int = 86400
    forking: bool = False
    rfc: str = ""
    also_read: tuple[str, ...] = ()
    whole_states: tuple[str, ...] = ()
    asked_with: tuple[str, ...] = ()
    partial_type: str = ""

    def reads(self, media_type: str) -> bool:
        """Do we understand this body type (lower case, without parameters)?"""
        return (
            media_type in self.body_types
            or media_type in self.also_read
            or ANY_TYPE in self.body_types
            or media_type.partition("/")[0] + "/*" in self.body_types
        )
