"""How many requests may be inside at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Gauge

from rolekeeper.errors import Unavailable


class Admission:
    """Lets a bounded number of requests in and turns the others away. Used by the event loop's thread only."""

    def __init__(self, max_requests: int, gauge: Gauge, doing: str) -> None:
        """`doing` is what happens to requests inside, for the message to those turned away."""
        self._max_requests = max_requests
        self._gauge = gauge
        self._doing = doing
        self._inside = 0

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Be inside until the block ends. Raises Unavailable if there is no place."""
        if self._inside >= self._max_requests:
            inside = f"{self._inside} requests are being {self._doing}, as many as may be"
            raise Unavailable(f"{inside}; send this one again in a few seconds", code="overloaded")
        self._inside += 1
        self._gauge.inc()
        try:
            yield
        finally:
            self._inside -= 1
            self._gauge.dec()
