"""Ctrl-C and SIGTERM in a shell: the first one asks for a checkpoint, the second one ends the run at once."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def stop_on_signal(say: Callable[[str], object]) -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether a signal has asked the block to stop; `say` is told so at once.

    A second signal raises KeyboardInterrupt in the block.
    """
    asked = threading.Event()

    def ask(_number: int, _frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        say("\nstopping after this step, with a checkpoint; once more to stop at once\n")

    before = {number: signal.signal(number, ask) for number in SIGNALS}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
