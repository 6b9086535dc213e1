"""What heals by itself: leases that ran out and hints that got lost; and what ends by itself: jobs past a deadline."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from rolekeeper.contracts.jobs import TERMINAL, JobError, StageName, Status
from rolekeeper.contracts.release import AuditAction
from rolekeeper.jobs import repository
from rolekeeper.jobs.claims import deadline_error, fail_row, is_overdue, requeue_row
from rolekeeper.jobs.rows import AuditRow, JobRow, StageRow

BATCH = 100


class DueHint(NamedTuple):
    """A queued stage that nobody was told of lately."""

    stage: StageName
    job_id: str
    request_id: str | None


def expired(session: Session) -> list[str]:
    """Ids of the jobs with a running stage whose lease ran out."""
    query = select(StageRow.job_id).where(
        StageRow.status == Status.RUNNING, StageRow.lease_expires_at < func.clock_timestamp()
    )
    return list(session.scalars(query.order_by(StageRow.lease_expires_at).limit(BATCH)))


def heal(session: Session, job_id: str) -> None:
    """Queue the stage of this job again whose worker is lost, or cancel it if that was asked for.

    Safe to call by several sweepers at once: the job is locked, and the lease is looked at again.
    """
    job = repository.lock_job(session, job_id)
    query = select(StageRow).where(
        StageRow.job_id == job_id,
        StageRow.status == Status.RUNNING,
        StageRow.lease_expires_at < func.clock_timestamp(),
    )
    for stage in session.scalars(query.execution_options(populate_existing=True)):
        lost = JobError(code="worker_lost", message=f"worker {stage.worker} gave no sign of life")
        requeue_row(session, job, stage, lost)


def overdue(session: Session) -> list[str]:
    """Ids of the jobs past their deadline that wait for a worker. Those that run hear it at their heartbeat."""
    query = select(JobRow.id).join(StageRow, StageRow.job_id == JobRow.id)
    late = query.where(JobRow.deadline_at < func.clock_timestamp(), JobRow.finished_at.is_(None))
    waiting = late.where(JobRow.pause_requested_at.is_(None), StageRow.status == Status.QUEUED)
    return list(session.scalars(waiting.order_by(JobRow.deadline_at).limit(BATCH)))


def end_overdue(session: Session, job_id: str) -> None:
    """Fail a job that still waits and is still past its deadline. Safe to call by several sweepers at once."""
    job = repository.lock_job(session, job_id)
    for stage in repository.stage_rows(session, job_id).values():
        if job.deadline_at is not None and stage.status == Status.QUEUED and is_overdue(session, job):
            fail_row(session, job, stage, deadline_error(job.deadline_at))


def ended(session: Session, job_ids: Sequence[str]) -> dict[str, bool]:
    """Whether each of these jobs has ended. Those that were never here are left out; of deleted ones the log tells."""
    rows = session.execute(select(JobRow.id, JobRow.status).where(JobRow.id.in_(job_ids)))
    gone = select(AuditRow.job_id).where(AuditRow.job_id.in_(job_ids), AuditRow.action == AuditAction.DELETED)
    deleted = {job_id: True for job_id in session.scalars(gone) if job_id is not None}
    return deleted | {job_id: Status(status) in TERMINAL for job_id, status in rows}


def due_hints(
    session: Session, stages: tuple[StageName, ...], num_messages: int, resend_seconds: float
) -> list[DueHint]:
    """Queued stages to hint at, of these names, but of no paused job; they are marked as hinted.

    The queue of these stages holds `num_messages`. Where more stages wait, hints were lost, as many as are missing: the
    stages that were hinted at longest ago get another, if that was `resend_seconds` ago. Under a backlog no hint but
    the missing ones is sent.
    """
    now = func.clock_timestamp()
    is_waiting = (
        StageRow.status == Status.QUEUED,
        StageRow.not_before <= now,
        StageRow.name.in_(stages),
        select(JobRow.pause_requested_at).where(JobRow.id == StageRow.job_id).scalar_subquery().is_(None),
    )
    num_waiting = session.scalar(select(func.count()).select_from(StageRow).where(*is_waiting)) or 0
    hinted_at = func.coalesce(StageRow.hinted_at, StageRow.not_before - timedelta(days=1))
    due = (
        select(StageRow.job_id, StageRow.name)
        .where(*is_waiting, hinted_at < now - timedelta(seconds=resend_seconds))
        .order_by(hinted_at)
        .limit(min(BATCH, max(0, num_waiting - num_messages)))
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    query = (
        update(StageRow)
        .where(StageRow.job_id == due.c.job_id, StageRow.name == due.c.name, JobRow.id == StageRow.job_id)
        .values(hinted_at=now)
        .returning(StageRow.name, StageRow.job_id, JobRow.request_id)
    )
    rows = session.execute(query, execution_options={"synchronize_session": False})
    return [DueHint(StageName(name), job_id, request_id) for name, job_id, request_id in rows]
