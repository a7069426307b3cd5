"""SIP's sockets: UDP, TCP and in-memory transports round a sans-IO core.

What stands in `__all__` may be used by other packages; everything else is private to this one.
"""

from sipbridge.transports.driver import Bound, Driver, Tap, bind
from sipbridge.transports.memory import MemoryNetwork

__all__ = ["Bound", "Driver", "MemoryNetwork", "Tap", "bind"]
