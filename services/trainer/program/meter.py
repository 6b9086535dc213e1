"""How far the run is: often enough to watch, seldom enough to cost nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from rolekeeper.contracts.jobs import Progress

Report = Callable[[Progress], None]

_LEAST_SECONDS = 0.2


class Meter:
    """Reports the start, then steps with the time that is left, at most five times a second, and always the last."""

    def __init__(self, total: int, done: int, report: Report) -> None:
        self._total = total
        self._first = done
        self._report = report
        self._started_at = time.monotonic()
        self._reported_at = 0.0
        report(Progress(done=done, total=total, unit="steps"))

    def update(self, done: int, metrics: Mapping[str, float]) -> None:
        """Say that `done` steps are done."""
        now = time.monotonic()
        if done < self._total and now - self._reported_at < _LEAST_SECONDS:
            return
        self._reported_at = now
        seconds_per_step = (now - self._started_at) / (done - self._first)
        left = round(seconds_per_step * (self._total - done), 1)
        report = Progress(done=done, total=self._total, unit="steps", eta_seconds=left, metrics=dict(metrics))
        self._report(report)
