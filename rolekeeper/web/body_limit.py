"""Limits of request bodies, counted as the bytes arrive, so that a chunked body is held to them too.

Of size, and of time: who sends a byte now and then would else hold a connection, and what is kept for it, for ever.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rolekeeper.errors import TooLarge, TooSlow
from rolekeeper.web.errors import ANSWERS, error_response

MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class BodyLimits:
    """Bytes that a request body may have: `max_bytes`, or what `by_path` says for that exact path.

    It must come at `bytes_per_second` on average, after a grace.
    """

    max_bytes: int = 64 * MEBIBYTE
    by_path: Mapping[str, int] = field(default_factory=dict)
    grace_seconds: float = 30.0
    bytes_per_second: int = 16 * 1024

    def seconds_for(self, num_bytes: int) -> float:
        """Return how long after the headers a body of more bytes than these must have gone on."""
        return self.grace_seconds + num_bytes / self.bytes_per_second

    def of(self, path: str) -> int:
        """Return the limit of a path, in bytes."""
        return self.by_path.get(path, self.max_bytes)


class BodyLimit:
    """ASGI middleware: answers 413 before or while too large a body comes in."""

    def __init__(self, app: ASGIApp, limits: BodyLimits) -> None:
        self.app = app
        self.limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self.limits.of(scope["path"])
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            response = error_response(scope.get("state", {}).get("request_id"), _too_large(limit), ANSWERS)
            await response(scope, receive, send)
            return
        await self.app(scope, _Counted(receive, limit, self.limits), send)


class _Counted:
    """The `receive` of one request, while its body is counted and timed."""

    def __init__(self, receive: Receive, limit: int, limits: BodyLimits) -> None:
        self._receive, self._limit, self._limits = receive, limit, limits
        self._num_bytes, self._is_whole = 0, False
        self._asked_at: float | None = None

    async def __call__(self) -> Message:
        if self._is_whole:  # what comes now is the end of the connection, which may take its time
            return await self._receive()
        message = await self._in_time()
        self._num_bytes += len(message.get("body", b""))
        self._is_whole = not message.get("more_body", False)
        if self._num_bytes > self._limit:
            raise _too_large(self._limit)
        return message

    async def _in_time(self) -> Message:
        now = time.monotonic()
        self._asked_at = self._asked_at or now  # what we take until we ask is no fault of the client's
        left = self._asked_at + self._limits.seconds_for(self._num_bytes) - now
        try:
            async with asyncio.timeout(max(0.0, left)):
                return await self._receive()
        except TimeoutError as error:
            raise _too_slow(self._num_bytes, self._limits) from error


def _too_slow(num_bytes: int, limits: BodyLimits) -> TooSlow:
    return TooSlow(
        f"only {num_bytes} bytes of the body came in {limits.seconds_for(num_bytes):.0f} s; send at least "
        f"{limits.bytes_per_second} bytes a second"
    )


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is larger than {limit} bytes, the limit of this route; send it in smaller parts")
