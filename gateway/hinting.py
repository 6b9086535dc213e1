"""Hints out of the way of requests: a Redis that hangs must not make a caller wait."""

from __future__ import annotations

import queue
import threading
from typing import NamedTuple

import structlog

from rolekeeper.contracts.jobs import StageName
from rolekeeper.jobs.queue import Hints

MAX_WAITING = 1000
STOP_SECONDS = 2.0


class _Hint(NamedTuple):
    stage: StageName
    job_id: str
    request_id: str | None


class HintSender:
    """Sends hints in a thread of its own. What it can't send, and what is over `MAX_WAITING`, the sweeper sends."""

    def __init__(self, hints: Hints) -> None:
        self._hints = hints
        self._waiting: queue.Queue[_Hint | None] = queue.Queue(MAX_WAITING)
        self._thread = threading.Thread(target=self._run, name="hints", daemon=True)
        self._thread.start()

    def send(self, stage: StageName, job_id: str, request_id: str | None = None) -> None:
        """Have a worker told to look at this stage."""
        try:
            self._waiting.put_nowait(_Hint(stage, job_id, request_id))
        except queue.Full:
            structlog.get_logger().warning("hint not sent", stage=stage, job_id=job_id, reason="too many wait")

    def close(self) -> None:
        """Send what waits, if that takes no longer than `STOP_SECONDS`, and close the connections."""
        try:
            self._waiting.put_nowait(None)
        except queue.Full:
            return
        self._thread.join(STOP_SECONDS)
        if not self._thread.is_alive():
            self._hints.close()

    def _run(self) -> None:
        while (hint := self._waiting.get()) is not None:
            try:
                self._hints.send(*hint)
            except Exception as error:  # the thread must live: without it nothing is hinted at any more
                structlog.get_logger().warning("hint not sent", job_id=hint.job_id, reason=repr(error))
