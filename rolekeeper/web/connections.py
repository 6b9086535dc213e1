"""Connections of clients that are slow, or too many: uvicorn waits for headers for ever, and accepts whoever comes."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from rolekeeper.contracts.problems import OpenAiError, Problem
from rolekeeper.web.errors import MEDIA_TYPE

HEADER_SECONDS = 10.0
"""From the first byte of a request, or from the connection's start, until its headers are complete."""
MAX_CONNECTIONS = 4096


class BoundedProtocol(H11Protocol):
    """HTTP/1.1 with a deadline for headers (408) and a bound on open connections (503). Both close the connection."""

    header_seconds = HEADER_SECONDS
    max_connections = MAX_CONNECTIONS
    _header_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or turn it away."""
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            self._turn_away(503, "unavailable", "too many connections are open; try again in a few seconds")
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
        self._turn_away(408, "too_slow", detail)

    def _turn_away(self, status: int, code: str, detail: str) -> None:
        if not self.transport.is_closing():
            self.transport.write(_response(status, code, detail))
            self.transport.close()


def _response(status: int, code: str, detail: str) -> bytes:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    error = OpenAiError(message=detail, type=kind, param=None, code=code)
    reason = {408: "Request Timeout", 503: "Service Unavailable"}[status]
    body = Problem(title=reason, status=status, detail=detail, request_id=None, errors=(), error=error)
    content = body.model_dump_json().encode()
    headers: dict[str, Any] = {"content-type": MEDIA_TYPE, "content-length": len(content), "connection": "close"}
    if status == 503:
        headers["retry-after"] = 2
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + content
