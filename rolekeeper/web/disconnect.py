"""Work in a thread, for as long as its client waits for the answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

import anyio
from anyio import to_thread
from starlette.requests import Request

from rolekeeper.errors import ClientGone

T = TypeVar("T")


async def run_for_client(
    request: Request, work: Callable[[Callable[[], None]], T], limiter: anyio.CapacityLimiter
) -> T:
    """Return what `work` returns; it runs in a thread of `limiter`.

    `work` gets a function that it calls between its steps: it raises ClientGone once the client has closed its
    connection, or the server stops waiting. The body of the request must have been read.
    """
    gone = threading.Event()

    def check() -> None:
        if gone.is_set():
            raise ClientGone("the client closed its connection before it was answered")

    async def listen() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone.set()

    listener = asyncio.create_task(listen())
    try:
        return await to_thread.run_sync(work, check, limiter=limiter)
    finally:
        gone.set()  # also where the server cancels this request: its thread must not go on alone
        listener.cancel()
