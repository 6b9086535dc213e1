"""A relay between a client and a server that can fall silent, as a network does that drops every packet."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Iterator

from local.ports import HOST

TICK_SECONDS = 0.05


class Relay:
    """Takes connections at `port` and passes bytes on in both directions, unless it is `silent`."""

    def __init__(self, target_port: int) -> None:
        self.silent = threading.Event()
        self._target = (HOST, target_port)
        self._server = socket.create_server((HOST, 0))
        self._closed = threading.Event()
        self.port: int = self._server.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        """End all connections."""
        self._closed.set()
        for thread in self._threads:
            thread.join()
        self._server.close()

    def _accept(self) -> None:
        while not self._closed.is_set():
            if select.select([self._server], [], [], TICK_SECONDS)[0]:
                client, _ = self._server.accept()
                thread = threading.Thread(target=self._pass_on, args=(client,))
                self._threads.append(thread)
                thread.start()

    def _pass_on(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._target) as server, contextlib.suppress(ConnectionError):
            other = {client: server, server: client}
            while not self._closed.is_set():
                for source in select.select(list(other), [], [], TICK_SECONDS)[0]:
                    while self.silent.is_set() and not self._closed.wait(TICK_SECONDS):
                        pass
                    data = source.recv(1 << 16)
                    if not data:
                        return
                    other[source].sendall(data)


@contextlib.contextmanager
def relaying(target_port: int) -> Iterator[Relay]:
    """A relay, closed when the block ends."""
    relay = Relay(target_port)
    try:
        yield relay
    finally:
        relay.close()
