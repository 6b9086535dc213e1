"""How many requests are answered at once. The others wait outside in their order, and are turned away after a while.

Inside they share threads, connections and one interpreter. Were all of them inside, each would wait for each of its
threads behind all others, and all answers would come at the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar

from anyio import from_thread

from rolekeeper.errors import Unavailable

MAX_WAIT_SECONDS = 4.0

_INSIDE: ContextVar[asyncio.Semaphore | None] = ContextVar("_INSIDE", default=None)
"""The places of which a request has one. The threads that it is answered in see it too."""


class Doorway:
    """Used by the event loop's thread only."""

    def __init__(self, num_inside: int, max_wait_seconds: float = MAX_WAIT_SECONDS) -> None:
        self._places = asyncio.Semaphore(num_inside)
        self._max_wait_seconds = max_wait_seconds

    @asynccontextmanager
    async def enter(self) -> AsyncIterator[None]:
        """Be inside until the block ends. Raises Unavailable for who waited too long."""
        try:
            async with asyncio.timeout(self._max_wait_seconds):
                await self._places.acquire()
        except TimeoutError:
            detail = "more requests come in than can be answered; send this one again in a few seconds"
            raise Unavailable(detail, code="overloaded") from None
        token = _INSIDE.set(self._places)
        try:
            yield
        finally:
            _INSIDE.reset(token)
            self._places.release()


@contextmanager
def outside() -> Iterator[None]:
    """Leave one's place to somebody else while a file is read, which may take seconds. Used by endpoints' threads.

    Who comes back waits for a place, however long that is: the work is done. Who had no place is outside already.
    """
    places = _INSIDE.get()
    if places is None:
        yield
        return
    from_thread.run_sync(places.release)
    try:
        yield
    finally:
        from_thread.run(places.acquire)
