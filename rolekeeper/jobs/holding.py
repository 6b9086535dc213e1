"""Holding a stage while its work is done: the heartbeat beside the work, and the way out whatever happens."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import structlog
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session

from rolekeeper.contracts.jobs import JobError, Progress, StageName
from rolekeeper.errors import (
    ClaimLost,
    JobCancelled,
    JobPaused,
    RolekeeperError,
    StageFailed,
    StageInterrupted,
    StageYielded,
    StorageFull,
    WorkerDraining,
)
from rolekeeper.jobs import claims
from rolekeeper.jobs.claims import Claim, Outcome, Wish, Work
from rolekeeper.jobs.connection import Patience
from rolekeeper.jobs.db import Database
from rolekeeper.jobs.queue import Hints
from rolekeeper.jobs.states import next_stage
from rolekeeper.room import lacks_room

FUSE_SHARE = 0.8


class Lease(NamedTuple):
    """How long a claim holds without a heartbeat, and how often there is one (seconds)."""

    seconds: float
    heartbeat_seconds: float

    @property
    def patience(self) -> Patience:
        """How long a worker waits for Postgres: not for the whole lease, but as long as a busy server may take."""
        return Patience(for_answer=max(5.0, self.seconds / 4))


class Worker(NamedTuple):
    """Who takes stages, and by what means. `is_draining` says whether it shuts down."""

    name: str
    database: Database
    hints: Hints
    lease: Lease
    is_draining: Callable[[], bool] = lambda: False


class Holding:
    """A claimed stage: the worker reports progress, and a thread beside it keeps the lease and hears of wishes."""

    def __init__(self, worker: Worker, held: Claim, work: Work) -> None:
        self.held = held
        self.work = work
        self._hints = worker.hints
        self._database = worker.database
        self._lease = worker.lease
        self._is_draining = worker.is_draining
        self._progress: Progress | None = None
        self._stop = threading.Event()
        self._interrupt: RolekeeperError | None = None
        self._thread = threading.Thread(target=self._beat, name=f"heartbeat-{held.job_id}", daemon=True)

    def start(self) -> None:
        """Start the heartbeat."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the heartbeat."""
        self._stop.set()
        self._thread.join()

    def report(self, progress: Progress) -> None:
        """Show progress from the next heartbeat on. Raises as `check` does."""
        self._progress = progress
        self.check()

    def check(self) -> None:
        """Go on only while the stage is ours and wanted.

        Raises:
            ClaimLost: another worker may hold the stage now.
            JobCancelled: the job's owner cancelled it.
            StageFailed: the job's deadline is over.
            JobPaused, WorkerDraining: keep what is done and stop; the stage goes on later.
        """
        if self._interrupt is not None:
            raise self._interrupt
        if self._is_draining():
            raise WorkerDraining("the worker shuts down; another one goes on")

    def succeed(self, outcome: Outcome) -> None:
        """Finish the stage and hint at the next. Outlives a Postgres that is away for a while. Raises ClaimLost."""
        with contextlib.suppress(StageYielded):  # what is done is done
            self.check()
        self.stop()
        finished = outcome._replace(progress=self._progress)
        self.settle(lambda session: claims.succeed(session, self.held, finished))
        following = next_stage(self.held.stage)
        if following is not None:
            self._hints.send(following, self.held.job_id, self.work.request_id)

    def settle(self, change: Callable[[Session], None]) -> None:
        """Make the last change of this attempt, again and again until Postgres answers or the lease is over."""
        deadline = time.monotonic() + self._lease.seconds
        while True:
            try:
                with self._database.transaction() as session:
                    if not claims.is_done(session, self.held):
                        change(session)
                return
            except DBAPIError as error:
                if time.monotonic() > deadline:
                    raise ClaimLost(f"Postgres did not answer for {self._lease.seconds} s") from error
                time.sleep(min(1.0, self._lease.heartbeat_seconds))

    def _beat(self) -> None:
        fuse = time.monotonic() + FUSE_SHARE * self._lease.seconds
        while not self._stop.wait(self._lease.heartbeat_seconds):
            try:
                with self._database.transaction() as session:
                    wish = claims.heartbeat(session, self.held, self._lease.seconds, self._progress)
                fuse = time.monotonic() + FUSE_SHARE * self._lease.seconds
                self._interrupt = self._interruption(wish)
            except ClaimLost as lost:
                self._interrupt = lost
                return
            except SQLAlchemyError as error:
                structlog.get_logger().warning("heartbeat failed", reason=str(error).splitlines()[0])
                if time.monotonic() > fuse:
                    self._interrupt = ClaimLost("no heartbeat reached Postgres in time")
                    return

    def _interruption(self, wish: Wish) -> RolekeeperError | None:
        job = self.work.job
        if wish is Wish.CANCEL:
            return JobCancelled(f"job {job.id} was cancelled")
        if wish is Wish.PAUSE:
            return JobPaused("put back, because the job is paused")
        if wish is Wish.GIVE_UP and job.deadline_at is not None:
            late = claims.deadline_error(job.deadline_at)
            return StageFailed(late.message, code=late.code)
        return None


@contextlib.contextmanager
def hold(worker: Worker, job_id: str, stage: StageName) -> Iterator[Holding | None]:
    """Claim a stage and hold it while the block works. None if there is nothing to do.

    However the block ends, the stage ends with it: finished, failed, cancelled, or back in the queue.
    """
    with worker.database.transaction() as session:
        held = claims.claim(session, job_id, stage, worker.name, worker.lease.seconds)
        work = claims.read_work(session, held) if held else None
    if held is None or work is None:
        yield None
        return
    holding = Holding(worker, held, work)
    holding.start()
    try:
        yield holding
    except Exception as error:  # the edge of a stage: every failure must reach the job's row
        holding.stop()
        _end(holding, error)
    finally:
        holding.stop()


def _end(holding: Holding, error: Exception) -> None:
    log = structlog.get_logger().bind(job_id=holding.held.job_id, stage=holding.held.stage)
    change = _last_change(holding.held, error)
    log.warning("stage ended early", reason=str(error), exc_info=not isinstance(error, RolekeeperError))
    if change is None:
        return
    try:
        holding.settle(change)
    except ClaimLost as lost:
        log.warning("claim lost", reason=lost.message)


def _last_change(held: Claim, error: Exception) -> Callable[[Session], None] | None:
    if isinstance(error, ClaimLost):
        return None
    if isinstance(error, JobCancelled):
        return lambda session: claims.cancel(session, held)
    if isinstance(error, StageYielded) or lacks_room(error):
        yielded = error if isinstance(error, StageYielded) else StorageFull(f"a disk has no room: {error}")
        return lambda session: claims.hand_back(session, held, yielded)
    if isinstance(error, StageFailed) and not isinstance(error, StageInterrupted):
        reason = JobError(code=error.code, message=error.message)
        return lambda session: claims.fail(session, held, reason)
    code = error.code if isinstance(error, RolekeeperError) else "internal_error"
    interruption = JobError(code=code, message=str(error) or type(error).__name__)
    return lambda session: claims.give_back(session, held, interruption)
