"""A worker that is told to shut down hands its stages back, instead of finishing them first.

SIGTERM reaches Celery's main process, which waits for its pool children then; they hold the stages. So it passes the
word on to them by a signal of their own: SIGTERM would end them on the spot.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from functools import cache
from types import FrameType
from typing import Any

from billiard.process import active_children
from celery.signals import worker_shutting_down

SIGNAL = signal.SIGUSR2


def drain_at_shutdown() -> None:
    """In Celery's main process: tell the pool children when the worker is told to shut down."""
    worker_shutting_down.connect(_tell_children, weak=False)


def hear_of_shutdown() -> None:
    """In a pool child, from its main thread, before it works: listen for `drain_at_shutdown`."""
    signal.signal(SIGNAL, _note)


def is_draining() -> bool:
    """Whether this pool child has heard that its worker shuts down."""
    return _flag().is_set()


@cache
def _flag() -> threading.Event:
    return threading.Event()


def _note(_number: int, _frame: FrameType | None) -> None:
    _flag().set()


def _tell_children(**_signal: Any) -> None:
    for child in active_children():
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, SIGNAL)
