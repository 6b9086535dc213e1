"""Signs of progress of this process: by them, who waits for its work tells slow from hung.

A beat is one piece of work that was done, such as a forward pass. A process that computes beats many times a second.
One that hangs does not beat, whatever its other threads do.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class _Pulse:
    """One process has one."""

    num_beats = 0


def beat(*_ignored: object) -> None:
    """Note that something was done. Takes whatever a hook is called with."""
    _Pulse.num_beats += 1  # two threads may lose one: it has moved all the same


def num_beats() -> int:
    """Return how often this process has noted that something was done."""
    return _Pulse.num_beats


@contextmanager
def steady(max_seconds: float, interval_seconds: float = 1.0) -> Iterator[None]:
    """Beat while the block runs, for so long at most: for work that can't say how far it is, such as loading."""

    def beat_along(ended: threading.Event) -> None:
        for _ in range(int(max_seconds / interval_seconds)):
            if ended.wait(interval_seconds):
                return
            beat()

    with alongside(beat_along):
        yield


@contextmanager
def alongside(work: Callable[[threading.Event], None]) -> Iterator[None]:
    """Run `work` in a thread beside the block. It gets an event that is set when the block ends, and is waited for."""
    ended = threading.Event()
    thread = threading.Thread(target=work, args=(ended,), name="pulse", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
