"""Pausing a job and resuming it, inside the caller's transaction."""

from __future__ import annotations

from sqlalchemy import func
from sqlalchemy.orm import Session

from rolekeeper.contracts.jobs import TERMINAL, Job, Status
from rolekeeper.errors import Conflict
from rolekeeper.jobs import repository
from rolekeeper.jobs.rows import JobRow


def request_pause(session: Session, owner: str, job_id: str) -> Job:
    """Raise the pause flag. A running stage stops after its next heartbeat and keeps what it has done.

    Pausing a paused job changes nothing. Raises NotFound, and Conflict if the job has ended or is being cancelled.
    """
    job = _lock_going(session, owner, job_id, "paused")
    if job.cancel_requested_at is not None:
        raise Conflict(f"job {job_id} is being cancelled and can't be paused")
    if job.pause_requested_at is None:
        job.pause_requested_at = func.clock_timestamp()
        repository.add_event(session, job_id, "job.pause_requested", "the job will be paused")
        repository.refresh_job(session, job)
    return _show(session, job)


def request_resume(session: Session, owner: str, job_id: str) -> Job:
    """Take the pause flag back; the deadline, if there is one, moves by the time for which the job was paused.

    The caller sends a hint for the stage that is queued then. Resuming a job that is not paused changes nothing.
    Raises NotFound, and Conflict if the job has ended.
    """
    job = _lock_going(session, owner, job_id, "resumed")
    if job.pause_requested_at is not None:
        job.deadline_at = JobRow.deadline_at + (func.clock_timestamp() - JobRow.pause_requested_at)
        job.pause_requested_at = None
        for stage in repository.stage_rows(session, job_id).values():
            if stage.status == Status.QUEUED:
                stage.hinted_at = func.clock_timestamp()
        repository.add_event(session, job_id, "job.resumed", "the job goes on")
        repository.refresh_job(session, job)
    return _show(session, job)


def _lock_going(session: Session, owner: str, job_id: str, wish: str) -> JobRow:
    repository.owned_row(session, JobRow, owner, job_id)
    job = repository.lock_job(session, job_id)
    if Status(job.status) in TERMINAL:
        raise Conflict(f"job {job_id} has {job.status} already and can't be {wish}")
    return job


def _show(session: Session, job: JobRow) -> Job:
    session.flush()
    session.refresh(job)
    return repository.to_job(session, job)
