"""Limits of request bodies, counted as the bytes arrive, so that a chunked body is held to them too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rolekeeper.errors import TooLarge
from rolekeeper.web.errors import ANSWERS, error_response

MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class BodyLimits:
    """Bytes that a request body may have: `max_bytes`, or what `by_path` says for that exact path."""

    max_bytes: int = 64 * MEBIBYTE
    by_path: Mapping[str, int] = field(default_factory=dict)

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
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise _too_large(limit)
            return message

        await self.app(scope, counted, send)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is larger than {limit} bytes, the limit of this route; send it in smaller parts")
