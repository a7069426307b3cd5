"""Ports for processes that have to be told one. Who can, binds port 0 instead."""

import itertools
import os
import random
import socket

PORTS = range(20_000, 30_000)
"""Below those that systems hand out by themselves, so that no other socket gets one in the meantime."""
TURNS = itertools.count(random.Random(os.getpid()).randrange(len(PORTS)))


def free_port() -> int:
    """A port that nobody uses for UDP or TCP at the moment."""
    for turn in itertools.islice(TURNS, len(PORTS)):
        port = PORTS[turn % len(PORTS)]
        try:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with socket.socket(socket.AF_INET, kind) as one:
                    one.bind(("127.0.0.1", port))
        except OSError:
            continue
        return port
    raise OSError("no port is free")
