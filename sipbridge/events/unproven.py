"""Watchers that nobody has heard from: their SUBSCRIBE came as a datagram, and its sender may be anybody.

Until such a watcher has answered a NOTIFY, its dialog has a `credit` (`sip.dialog`): what goes to its address
is a small multiple of what asked for it. And there may be only so many of them at a time, from one address
and in all, like half-open connections: a flood of forged SUBSCRIBEs fills a bounded place.
"""

from sipbridge.sip.dialog import CREDIT, Dialog
from sipbridge.sip.usage import ServerRequest

MAX_UNPROVEN = 32_768
"""About 4 kB each. Whoever is there answers within a round trip, whoever is not is forgotten after 32 s."""

MAX_PER_ADDRESS = 4096
"""A proxy with all its watchers is one address; so many begin within 100 ms only if 40,000 do in a second."""


def doubt(dialog: Dialog, incoming: ServerRequest, proven: bool) -> bool:
    """A datagram of nobody in particular names an address: it may cost no more than so much. Is it so?"""
    if proven or incoming.flow.protocol != "udp":
        return False
    dialog.credit = CREDIT * len(bytes(incoming.request))
    return True


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
