"""Asking a run to stop: by Ctrl-C or SIGTERM in a shell, and while it makes progress without a checkpoint."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from rolekeeper.contracts.jobs import Progress
from services.trainer.program.failures import Stopped
from services.trainer.program.meter import Report

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def stop_on_signal(say: Callable[[str], object], may_repeat: bool = False) -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether a signal has asked the block to stop; `say` is told so at once.

    The first Ctrl-C or SIGTERM asks for a stop with a checkpoint. A second one raises KeyboardInterrupt in the block,
    unless it `may_repeat`: a launcher of several processes passes on what the terminal has sent them already.
    """
    asked = threading.Event()

    def ask(_number: int, _frame: FrameType | None) -> None:
        if may_repeat:
            asked.set()
            return
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


def stoppable(report: Report, wants_stop: Callable[[], bool]) -> Report:
    """A `report` that raises Stopped once `wants_stop` says yes, for work that is short enough to begin anew."""

    def report_or_stop(progress: Progress) -> None:
        report(progress)
        if wants_stop():
            raise Stopped(f"stopped after {progress.done} {progress.unit}, which begins anew")

    return report_or_stop
