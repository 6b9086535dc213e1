"""Connections of clients that are slow, or too many: uvicorn waits for headers for ever, and accepts whoever comes."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from rolekeeper.errors import RolekeeperError, TooLarge, TooSlow, Unavailable
from rolekeeper.web.errors import ANSWERS, error_response

HEADER_SECONDS = 10.0
"""From the first byte of a request, or from the connection's start, until its headers are complete."""
MAX_HEADER_BYTES = 64 * 1024
MAX_CONNECTIONS = 4096


class BoundedProtocol(HttpToolsProtocol):
    """HTTP/1.1 with bounds on headers, in time (408) and bytes (413), and on open connections (503). All close it."""

    header_seconds = HEADER_SECONDS
    max_header_bytes = MAX_HEADER_BYTES
    max_connections = MAX_CONNECTIONS
    _header_timer: asyncio.TimerHandle | None = None
    _header_bytes = 0
    _is_in_body = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection, or turn it away."""
        super().connection_made(cast(asyncio.Transport, transport))
        if len(self.connections) > self.max_connections:
            self._turn_away(Unavailable("too many connections are open; try again in a few seconds"))
        else:
            self._start_timer()

    def data_received(self, data: bytes) -> None:
        """Take bytes. Those that are of no body begin a request, or go on with its headers."""
        if self._header_timer is None and not self._is_in_body:
            self._start_timer()
        self._header_bytes += len(data)
        super().data_received(data)
        if self._header_timer is not None and self._header_bytes > self.max_header_bytes:
            self._turn_away(TooLarge(f"the request's headers have more than {self.max_header_bytes} bytes"))

    def on_message_begin(self) -> None:
        """Begin a request, which may have come right behind another."""
        super().on_message_begin()
        if self._header_timer is None:
            self._start_timer()

    def on_headers_complete(self) -> None:
        """Begin the answer."""
        self._stop_timer()
        self._is_in_body = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note the end of the body."""
        self._is_in_body = False
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_timer()
        super().connection_lost(exc)

    def _start_timer(self) -> None:
        self._header_bytes = 0
        self._header_timer = self.loop.call_later(self.header_seconds, self._give_up)

    def _stop_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _give_up(self) -> None:
        self._header_timer = None
        if self.cycle is not None and not self.cycle.response_complete:  # what came is of a request behind this one
            self._start_timer()
            return
        detail = f"the request's headers were not complete after {self.header_seconds:g} s; send them faster"
        self._turn_away(TooSlow(detail))

    def _turn_away(self, error: RolekeeperError) -> None:
        if not self.transport.is_closing():
            self.transport.write(_answer(error))
            self.transport.close()


def _answer(error: RolekeeperError) -> bytes:
    response = error_response(None, error, ANSWERS)
    response.headers["connection"] = "close"
    head = f"HTTP/1.1 {response.status_code} {HTTPStatus(response.status_code).phrase}".encode()
    lines = [head, *(name + b": " + value for name, value in response.raw_headers)]
    return b"\r\n".join([*lines, b"", bytes(response.body)])
