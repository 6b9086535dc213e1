"""How many requests may be inside at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Gauge

from rolekeeper.errors import Unavailable


class Admission:
    """Lets a bounded number of requests in and turns the others away. Used by the event loop's thread only."""

    def __init__(self, max_requests: int, gauge: Gauge) -> None:
        self._max_requests = max_requests
        self._gauge = gauge
        self._inside = 0

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Be inside until the block ends. Raises Unavailable if there is no place."""
        if self._inside >= self._max_requests:
            message = (
                f"{self._inside} requests are being scored, as many as may be; send this one again in a few seconds"
            )
            raise Unavailable(message, code="overloaded")
        self._inside += 1
        self._gauge.inc()
        try:
            yield
        finally:
            self._inside -= 1
            self._gauge.dec()
