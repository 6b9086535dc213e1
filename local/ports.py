"""Free ports of this machine."""

from __future__ import annotations

import contextlib
import random
import socket
from pathlib import Path

HOST = "127.0.0.1"
RANGE_PATH = Path("/proc/sys/net/ipv4/ip_local_port_range")
LOWEST = 10_000


def free_ports(count: int) -> list[int]:
    """`count` different ports that nobody listens on.

    Taken from below the range that the kernel gives to outgoing connections, since a service may need seconds until it
    binds its port.
    """
    with contextlib.ExitStack() as stack:
        ports: list[int] = []
        while len(ports) < count:
            listener = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                listener.bind((HOST, _candidate()))
                ports.append(listener.getsockname()[1])
        return ports


def _candidate() -> int:
    highest = int(RANGE_PATH.read_text().split()[0]) if RANGE_PATH.exists() else 0
    return random.randrange(LOWEST, highest) if highest > LOWEST else 0
