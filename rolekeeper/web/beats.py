"""Answers with signs of progress before them, for clients that ask for those (rolekeeper/contracts/beats.py)."""

from __future__ import annotations

import asyncio
import time

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rolekeeper.contracts.beats import BEAT, MEDIA_TYPE, Envelope, seal
from rolekeeper.pulse import num_beats

BEAT_SECONDS = 1.0


def send_beats(app: FastAPI, stall_seconds: float) -> None:
    """Have an app send beats, and /livez say when it has made no progress for `stall_seconds` with a request inside."""
    stall = Stall(stall_seconds)
    app.state.hangs = stall.has_begun
    app.add_middleware(SendBeats, stall=stall)


class Stall:
    """Tells whether work hangs: requests are inside, and the process has made no progress for `max_seconds`."""

    def __init__(self, max_seconds: float) -> None:
        self._max_seconds = max_seconds
        self._seen = num_beats()
        self._changed_at = time.monotonic()
        self._inside = 0

    def enter(self) -> None:
        """Count a request in. The first one starts the clock."""
        if not self._inside:
            self._changed_at = time.monotonic()
        self._inside += 1

    def leave(self) -> None:
        """Count a request out."""
        self._inside -= 1

    def has_begun(self) -> bool:
        """Whether the process hangs. To be asked more often than `max_seconds`, as each progress is seen here only."""
        if (now := num_beats()) != self._seen:
            self._seen, self._changed_at = now, time.monotonic()
        return self._inside > 0 and time.monotonic() - self._changed_at > self._max_seconds


class SendBeats:
    """ASGI middleware: while the app works on such a request, sends a beat for each second with progress."""

    def __init__(self, app: ASGIApp, stall: Stall) -> None:
        self.app = app
        self._stall = stall

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or Headers(scope=scope).get("accept") != MEDIA_TYPE:
            await self.app(scope, receive, send)
            return
        answer = _Answer()
        task = asyncio.create_task(answer.of(self.app, scope, receive))
        self._stall.enter()
        try:
            await _start(send)
            await _beat_until(task, send)
            task.result()
            await send({"type": "http.response.body", "body": seal(answer.envelope, bytes(answer.body))})
        finally:
            task.cancel()
            self._stall.leave()


class _Answer:
    """Takes what an app sends. Whole: no route that works for long streams its answer."""

    def __init__(self) -> None:
        self.envelope = Envelope(status=500)
        self.body = bytearray()

    async def of(self, app: ASGIApp, scope: Scope, receive: Receive) -> None:
        """Run the app for one request."""
        await app(scope, receive, self._take)

    async def _take(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in message["headers"]}
            self.envelope = Envelope(status=message["status"], headers=headers)
        else:
            self.body += message.get("body", b"")


async def _start(send: Send) -> None:
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def _beat_until(task: asyncio.Task[None], send: Send) -> None:
    before = num_beats()
    while not (await asyncio.wait({task}, timeout=BEAT_SECONDS))[0]:
        if (now := num_beats()) != before:
            before = now
            await send({"type": "http.response.body", "body": BEAT, "more_body": True})
