"""Two cores in one process, joined without sockets.

A `MemoryNetwork` is shared by the drivers of one process. A listener has a name instead of an IP address
(`memory:agent`), and a message sent to a name is handed to that listener's driver when the loop comes round,
never inside the call that sent it: the cores cannot recurse into each other. Nothing is lost or reordered, so
the flow counts as reliable; a name nobody listens on is a failure of the transport.
"""

import asyncio
from collections import deque
from typing import Protocol

from sipbridge.errors import ConfigurationError
from sipbridge.sip.flow import Address, Flow

BATCH = 256
"""Messages handed over before the loop gets its turn."""

PORT = 5060
"""The port in-memory listeners have where an address needs one."""


class MemoryUser(Protocol):
    """Who gets the messages: a driver."""

    def receive_message(self, data: bytes, flow: Flow) -> None: ...

    def send_failed(self, flow: Flow, error: str) -> None: ...

    def flush(self) -> None: ...


class MemoryNetwork:
    """The listeners of one process."""

    def __init__(self) -> None:
        self.listeners: dict[Address, MemoryUser] = {}
        self.under_way: deque[tuple[MemoryUser, bytes, Flow]] = deque()
        self.planned = False

    def listen(self, address: Address, user: MemoryUser) -> None:
        """Raises ConfigurationError when the name is taken."""
        if address in self.listeners:
            raise ConfigurationError("sip.listen", f"memory:{address[0]} is in use in this process")
        self.listeners[address] = user

    def close(self, address: Address, user: MemoryUser) -> None:
        """The name is free again, if it was this user's."""
        if self.listeners.get(address) is user:
            del self.listeners[address]

    def send(self, data: bytes, flow: Flow, sender: MemoryUser) -> None:
        """Deliver when the loop comes round."""
        self.under_way.append((sender, data, flow))
        self.plan()

    def plan(self) -> None:
        if not self.planned:
            self.planned = True
            asyncio.get_running_loop().call_soon(self.deliver)

    def deliver(self) -> None:
        self.planned = False
        reached: dict[int, MemoryUser] = {}
        for _ in range(min(BATCH, len(self.under_way))):
            sender, data, flow = self.under_way.popleft()
            there = self.listeners.get(flow.remote)
            if there is None:
                sender.send_failed(flow, f"nobody listens on memory:{flow.remote[0]}")
                there = sender
            else:
                there.receive_message(data, Flow("memory", flow.remote, flow.local))
            reached[id(there)] = there
        if self.under_way:
            self.plan()
        for user in reached.values():
            user.flush()
