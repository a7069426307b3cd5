"""What clients of remote presence are told, as values; how it looks is the front's affair."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sipbridge.gateway.sessions import Request
from sipbridge.mapping.bems import BemsPresence

Data = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Contact:
    """What a client is told of a contact, under the address it used."""

    contact: str
    state: BemsPresence


class Wording(Protocol):
    """How messages look; each is one JSON object with its number in it."""

    def completed(self, sequence: int, request: Request, data: Data) -> bytes: ...

    def failed(self, sequence: int, request: Request, error: Exception) -> bytes: ...

    def changed(self, sequence: int, contacts: Sequence[Contact]) -> bytes: ...

    def lost(self, sequence: int, missing: int) -> bytes: ...

    def contact(self, contact: Contact) -> Data: ...
