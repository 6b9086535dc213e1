"""How many large uploads are read at once: each keeps a thread and a core busy for seconds."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from rolekeeper.errors import Unavailable

LARGE_BYTES = 1 << 20
MAX_OF_OWNER = 2
MAX_IN_ALL = 8


class Readings:
    """The large uploads that are being read now. Small ones are not counted: they are over at once."""

    def __init__(self, max_of_owner: int = MAX_OF_OWNER, max_in_all: int = MAX_IN_ALL) -> None:
        self._max_of_owner = max_of_owner
        self._max_in_all = max_in_all
        self._by_owner: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def enter(self, owner: str, num_bytes: int) -> Iterator[None]:
        """Read an upload of this size until the block ends. Raises Unavailable if there are too many large ones."""
        if num_bytes <= LARGE_BYTES:
            yield
            return
        self._count_in(owner)
        try:
            yield
        finally:
            with self._lock:
                self._by_owner -= Counter((owner,))

    def _count_in(self, owner: str) -> None:
        with self._lock:
            if self._by_owner[owner] >= self._max_of_owner:
                which = f"{self._by_owner[owner]} of your large uploads are"
            elif self._by_owner.total() >= self._max_in_all:
                which = f"{self._by_owner.total()} large uploads are"
            else:
                self._by_owner[owner] += 1
                return
        raise Unavailable(f"{which} being read, as many as may be; send this one again in a few seconds", "overloaded")
