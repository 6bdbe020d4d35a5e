"""A UDP socket where StatsD would listen, for tests that look at packets."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

TIMEOUT_S = 60.0


class Packets:
    """What has come in, packet by packet."""

    def __init__(self, port: int = 0) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.bind(("127.0.0.1", port))
        self.socket.settimeout(TIMEOUT_S)
        self.port: int = self.socket.getsockname()[1]

    def next(self) -> str:
        """Wait for a packet; TimeoutError when none comes."""
        return self.socket.recv(65535).decode()

    def until(self, part: str) -> str:
        """Wait for a packet with a part, past all others."""
        while part not in (packet := self.next()):
            pass
        return packet


@contextmanager
def listening(port: int = 0) -> Iterator[Packets]:
    packets = Packets(port)
    try:
        yield packets
    finally:
        packets.socket.close()
