"""One id per request: taken from `x-request-id` or made here, sent back, and bound to every log line."""

from __future__ import annotations

import re
import time
import uuid

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "x-request-id"
# Anything else could forge log lines or grow them without end.
SANE = re.compile(r"[A-Za-z0-9._-]{1,128}")
# They are most of all requests where clients poll. The metrics count them.
NOT_MODIFIED = 304
QUIET = frozenset({"/livez", "/readyz", "/metrics"})


class RequestIds:
    """ASGI middleware: gives each request its id and writes one line about it, never its body or its headers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = accept_request_id(Headers(scope=scope).get(HEADER))
        scope.setdefault("state", {})["request_id"] = request_id
        started = time.perf_counter()
        status = 500

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self.app(scope, receive, send_with_id)
            finally:
                if (scope["path"] not in QUIET and status != NOT_MODIFIED) or status >= 400:
                    _log(scope, status, time.perf_counter() - started)


def accept_request_id(given: str | None) -> str:
    """Return the caller's id if it is sane, or a new one."""
    return given if given is not None and SANE.fullmatch(given) else f"req_{uuid.uuid4().hex}"


def route_path(scope: Scope) -> str:
    """Return the template of the matched route, such as /v1/jobs/{job_id}, or `unmatched`."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else "unmatched"


def _log(scope: Scope, status: int, seconds: float) -> None:
    structlog.get_logger().info(
        "request", method=scope["method"], route=route_path(scope), status=status, ms=round(seconds * 1000, 1)
    )
