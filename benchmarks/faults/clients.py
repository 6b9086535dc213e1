"""Clients that use the API while it is disturbed, and remember what it said yes to."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from random import Random

from local.stack import Stack
from rolekeeper.client.client import Client
from rolekeeper.client.errors import ApiError
from rolekeeper.contracts.evaluation import EvaluationOptions
from rolekeeper.contracts.jobs import TERMINAL, Hyperparameters, Job, JobCreate, Method, Status
from rolekeeper.contracts.suites import SuiteChoice
from rolekeeper.errors import RolekeeperError

POLL_SECONDS = 0.3
RETRY_SECONDS = 0.5


@dataclass
class History:
    """What the API acknowledged: jobs, and those that were deleted; and what it was asked for, which may get through
    though the answer does not: to cancel and to delete."""

    jobs: set[str] = field(default_factory=set)
    cancelled: set[str] = field(default_factory=set)
    asked_to_delete: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Backend(threading.Thread):
    """Submits one job after the other, always the same, and follows it; now and then it changes its mind."""

    def __init__(self, stack: Stack, character: str, history: History, seed: int) -> None:
        super().__init__(name=f"backend-{seed}", daemon=True)
        self._client = Client(stack.plan.url, stack.api_key, timeout=15.0)
        self._character = character
        self._history = history
        self._dice = Random(seed)
        self.stopping = threading.Event()

    def run(self) -> None:
        """Use the API until it is told to stop. What is away is tried again; what is refused is remembered."""
        while not self.stopping.is_set():
            try:
                self._follow_one()
            except RolekeeperError as error:
                self._note(error)
                time.sleep(RETRY_SECONDS)
        self._client.close()

    def _note(self, error: RolekeeperError) -> None:
        with self._history.lock:
            self._history.refused.append(f"{error.status} {error.code}" if isinstance(error, ApiError) else error.code)

    def _follow_one(self) -> None:
        job = self._client.create_job(self._order())
        with self._history.lock:
            self._history.jobs.add(job.id)
        wish = self._dice.choice(("follow", "follow", "follow", "cancel", "pause", "delete"))
        self._wait(job.id, self._dice.uniform(0, 10) if wish in ("cancel", "pause") else None)
        if wish == "cancel":
            self._cancel(job.id)
        elif wish == "pause":
            self._client.pause(job.id)
            time.sleep(self._dice.uniform(0, 3))
            self._persist_resume(job.id)
        ended = self._wait(job.id, None)
        if wish == "delete" and ended is not None:
            self._delete(job.id)

    def _order(self) -> JobCreate:
        return JobCreate(
            character=self._character,
            base_model="tiny",
            method=Method(name="sarft"),
            hyperparameters=Hyperparameters(epochs=12, batch_size=2, learning_rate=1e-3),
            evaluation=EvaluationOptions(suites=(SuiteChoice(name="starter", max_prompts=20),), max_new_tokens=8),
        )

    def _cancel(self, job_id: str) -> None:
        # Noted before it is asked for: the word may get through, and the answer not.
        with self._history.lock:
            self._history.cancelled.add(job_id)
        self._client.cancel(job_id)

    def _delete(self, job_id: str) -> None:
        with self._history.lock:
            self._history.asked_to_delete.add(job_id)
        self._client.delete(job_id)
        with self._history.lock:
            self._history.deleted.add(job_id)

    def _persist_resume(self, job_id: str) -> None:
        while True:
            try:
                self._client.resume(job_id)
                return
            except RolekeeperError as error:
                if is_final(error):
                    return  # it ended before it was paused
                time.sleep(RETRY_SECONDS)

    def _wait(self, job_id: str, seconds: float | None) -> Job | None:
        """Poll until the job has ended, or for `seconds`; None where it goes on."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while not self.stopping.is_set() and (deadline is None or time.monotonic() < deadline):
            try:
                job = self._client.job(job_id)
                if job.status in TERMINAL:
                    return job
            except RolekeeperError as error:
                if is_final(error):
                    raise
            time.sleep(POLL_SECONDS)
        return None


def is_final(error: RolekeeperError) -> bool:
    """Whether the API answered, and asking again would not change it."""
    return isinstance(error, ApiError) and error.status < 500


def is_over(client: Client, history: History) -> bool:
    """Whether every acknowledged job has ended. Paused ones, whose client was stopped, are resumed first."""
    jobs = list(client.jobs())
    for job in jobs:
        if job.status == Status.PAUSED or job.pause_requested:
            client.resume(job.id)
    return all(job.status in TERMINAL for job in jobs) and len(jobs) >= len(history.jobs - history.asked_to_delete)
