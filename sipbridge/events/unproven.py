"""Watchers who have proven nothing: who they are, nobody knows, and where they are, only they say.

The dialog of such a stranger has a `credit` (`sip.dialog`): until he has answered a NOTIFY there, what goes
to an address he names is a small multiple of what named it, at the beginning as well as when he moves. A
connection shows where its other end is. Of those whose SUBSCRIBE came as a datagram, whose sender may be
anybody, there may be only so many at a time, from one address and in all, like half-open connections: a flood
of forged SUBSCRIBEs fills a bounded place.
"""

from sipbridge.sip.dialog import CREDIT, Dialog
from sipbridge.sip.usage import ServerRequest

MAX_UNPROVEN = 32_768
"""About 4 kB each. Whoever is there answers within a round trip, whoever is not is forgotten after 32 s."""

MAX_PER_ADDRESS = 4096
"""A proxy with all its watchers is one address; so many begin within 100 ms only if 40,000 do in a second."""


def doubt(dialog: Dialog, incoming: ServerRequest, proven: bool) -> bool:
    """A SUBSCRIBE has come: is its sender a stranger of whom nobody has heard yet?"""
    flow = incoming.flow
    if proven or flow.protocol == "memory":
        dialog.credit = None
        return False
    if dialog.credit is None:
        dialog.credit = CREDIT * len(bytes(incoming.request))
    if flow.reliable:
        dialog.proven = flow.remote[0]
    return dialog.is_doubtful


class Unproven:
    """How many there are, by the address that their SUBSCRIBE came from."""

    def __init__(self, most: int = MAX_UNPROVEN, per_address: int = MAX_PER_ADDRESS) -> None:
        self.most = most
        self.per_address = per_address
        self.by_address: dict[str, int] = {}
        self.number = 0

    def has_room(self, incoming: ServerRequest) -> bool:
        """May one more come from there? Only datagrams count."""
        if incoming.flow.protocol != "udp" or not self.number:
            return True
        there = self.by_address.get(incoming.flow.remote[0], 0)
        return self.number < self.most and there < self.per_address

    def add(self, address: str) -> None:
        self.number += 1
        self.by_address[address] = self.by_address.get(address, 0) + 1

    def remove(self, address: str) -> None:
        self.number -= 1
        left = self.by_address.pop(address) - 1
        if left:
            self.by_address[address] = left
