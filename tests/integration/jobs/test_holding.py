"""However the work ends, the stage ends with it."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from sqlalchemy import func, text, update

from rolekeeper.contracts.artifacts import Artifact, ArtifactKind
from rolekeeper.contracts.jobs import Job, Progress, StageName, Status
from rolekeeper.errors import (
    ClaimLost,
    JobCancelled,
    JobPaused,
    StageFailed,
    StageInterrupted,
    WorkerDraining,
)
from rolekeeper.jobs import pausing, service
from rolekeeper.jobs.claims import Outcome
from rolekeeper.jobs.db import Database
from rolekeeper.jobs.holding import Holding, Lease, Worker, hold
from rolekeeper.jobs.queue import Hints
from rolekeeper.jobs.rows import StageRow
from tests.integration.jobs.conftest import OWNER, queue_job
from tests.integration.jobs.moves import pass_deadline

LEASE = Lease(seconds=5.0, heartbeat_seconds=0.05)
OUTCOME = Outcome(ArtifactKind.SCORES, Artifact(sha256="c" * 64, bytes=3), "done", harmful_share=0.25)


def worker(database: Database, lease: Lease = LEASE) -> Worker:
    """A worker whose hints reach nobody: Redis is away, which must not matter."""
    return Worker("w", database, Hints("redis://127.0.0.1:1/0"), lease)


def read(database: Database, job_id: str) -> Job:
    with database.transaction() as session:
        return service.get_job(session, OWNER, job_id)


def wait_for_interrupt(holding: Holding) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        holding.check()
        time.sleep(0.02)


def test_success_is_written_with_its_artifact(database: Database) -> None:
    job_id = queue_job(database)
    with hold(worker(database), job_id, StageName.SCORE) as holding:
        assert holding is not None
        assert holding.work.profile.name == "Vesna"
        assert holding.work.request_id == "req-1"
        holding.report(Progress(done=2, total=2, unit="samples"))
        holding.succeed(OUTCOME)
    job = read(database, job_id)
    assert job.stages[0].progress == Progress(done=2, total=2, unit="samples")
    assert [stage.status for stage in job.stages] == [Status.SUCCEEDED, Status.QUEUED, Status.PENDING]
    assert job.harmful_share == 0.25


def test_nothing_to_do_is_no_work(database: Database) -> None:
    job_id = queue_job(database)
    with hold(worker(database), job_id, StageName.TRAIN) as holding:
        assert holding is None


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (StageFailed("the loss is NaN", code="diverged"), Status.FAILED, "diverged"),
        (StageInterrupted("the scorer is away"), Status.QUEUED, None),
        (KeyError("a bug"), Status.QUEUED, None),
    ],
)
def test_a_failure_reaches_the_row(database: Database, error: Exception, status: Status, code: str | None) -> None:
    job_id = queue_job(database)
    with hold(worker(database), job_id, StageName.SCORE):
        raise error
    job = read(database, job_id)
    assert job.stages[0].status == status
    assert (job.error.code if job.error else None) == code


def test_the_heartbeat_keeps_the_lease_and_shows_progress(database: Database) -> None:
    job_id = queue_job(database)
    progress = Progress(done=1, total=4, unit="samples")
    with hold(worker(database, Lease(0.5, 0.05)), job_id, StageName.SCORE) as holding:
        assert holding is not None
        holding.report(progress)
        time.sleep(1.5)
        holding.check()
        assert read(database, job_id).stages[0].progress == progress
        holding.succeed(OUTCOME)
    assert read(database, job_id).stages[0].status == Status.SUCCEEDED


def test_a_cancel_stops_the_work(database: Database) -> None:
    job_id = queue_job(database)
    with hold(worker(database), job_id, StageName.SCORE) as holding:
        assert holding is not None
        with database.transaction() as session:
            service.request_cancel(session, OWNER, job_id)
        with pytest.raises(JobCancelled):
            wait_for_interrupt(holding)
        holding.check()
    assert read(database, job_id).status == Status.CANCELLED


def test_a_pause_puts_the_stage_back(database: Database) -> None:
    job_id = queue_job(database)
    with hold(worker(database), job_id, StageName.SCORE) as holding:
        assert holding is not None
        with database.transaction() as session:
            pausing.request_pause(session, OWNER, job_id)
        wait_for_interrupt(holding)
    job = read(database, job_id)
    assert (job.status, job.stages[0].status, job.error) == (Status.PAUSED, Status.QUEUED, None)


def test_what_is_done_is_kept_although_the_job_is_to_be_paused(database: Database) -> None:
    job_id = queue_job(database)
    with hold(worker(database), job_id, StageName.SCORE) as holding:
        assert holding is not None
        with database.transaction() as session:
            pausing.request_pause(session, OWNER, job_id)
        with pytest.raises(JobPaused):
            wait_for_interrupt(holding)
        holding.succeed(OUTCOME)
    job = read(database, job_id)
    assert (job.status, job.stages[0].status) == (Status.PAUSED, Status.SUCCEEDED)


def test_a_worker_that_shuts_down_puts_its_stage_back(database: Database) -> None:
    job_id = queue_job(database)
    draining = worker(database)._replace(is_draining=lambda: True)
    with hold(draining, job_id, StageName.SCORE) as holding:
        assert holding is not None
        with pytest.raises(WorkerDraining):
            holding.check()
        raise WorkerDraining("the worker shuts down")
    job = read(database, job_id)
    assert (job.status, job.stages[0].status, job.stages[0].attempt) == (Status.RUNNING, Status.QUEUED, 1)


def test_the_deadline_ends_the_work(database: Database) -> None:
    job_id = queue_job(database)
    pass_deadline(database, job_id)
    with hold(worker(database), job_id, StageName.SCORE) as holding:
        assert holding is not None
        wait_for_interrupt(holding)
    job = read(database, job_id)
    assert (job.status, job.error.code if job.error else None) == (Status.FAILED, "deadline_exceeded")


def test_a_lost_lease_stops_the_work_and_writes_nothing(database: Database) -> None:
    job_id = queue_job(database)
    with hold(worker(database), job_id, StageName.SCORE) as holding:
        assert holding is not None
        with database.transaction() as session:
            past = func.clock_timestamp() - timedelta(seconds=1)
            session.execute(update(StageRow).where(StageRow.status == Status.RUNNING).values(lease_expires_at=past))
        with pytest.raises(ClaimLost):
            wait_for_interrupt(holding)
        holding.succeed(OUTCOME)
    job = read(database, job_id)
    assert job.stages[0].status == Status.RUNNING
    assert job.harmful_share is None


def test_cut_connections_are_survived(database: Database, database_url: str) -> None:
    job_id = queue_job(database)
    other = Database(database_url)
    with hold(worker(database), job_id, StageName.SCORE) as holding:
        assert holding is not None
        for _ in range(5):
            with other.transaction() as session:
                cut = "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()"
                session.execute(text(f"{cut} and pid <> pg_backend_pid()"))
            time.sleep(0.1)
        holding.succeed(OUTCOME)
    other.dispose()
    assert read(database, job_id).stages[0].status == Status.SUCCEEDED
