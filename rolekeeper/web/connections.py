"""Connections of clients that are slow, or too many: uvicorn waits for headers for ever, and accepts whoever comes."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from rolekeeper.errors import RolekeeperError, TooSlow, Unavailable
from rolekeeper.web.errors import ANSWERS, error_response

HEADER_SECONDS = 10.0
"""From the first byte of a request, or from the connection's start, until its headers are complete."""
MAX_CONNECTIONS = 4096


class BoundedProtocol(H11Protocol):
    """HTTP/1.1 with a deadline for headers (408) and a bound on open connections (503). Both close the connection."""

    header_seconds = HEADER_SECONDS
    max_connections = MAX_CONNECTIONS
    _header_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection, or turn it away."""
        super().connection_made(cast(asyncio.Transport, transport))
        if len(self.connections) > self.max_connections:
            self._turn_away(Unavailable("too many connections are open; try again in a few seconds"))
        else:
            self._header_timer = self.loop.call_later(self.header_seconds, self._give_up)

    def data_received(self, data: bytes) -> None:
        """Take bytes. The deadline ends with the headers, and begins again with the next request's first byte."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._stop_timer()
        elif self._header_timer is None and not self.transport.is_closing():
            self._header_timer = self.loop.call_later(self.header_seconds, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_timer()
        super().connection_lost(exc)

    def _stop_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _give_up(self) -> None:
        self._header_timer = None
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
