"""Taking a stage, keeping it, and giving it back.

A stage is taken by one conditional UPDATE, kept by a heartbeat, and fenced by its attempt number: whoever comes with an
older attempt changes nothing and gets `ClaimLost`. All times are Postgres's own, so clocks of workers don't matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from rolekeeper.contracts.artifacts import Artifact, ArtifactKind
from rolekeeper.contracts.characters import RoleProfile
from rolekeeper.contracts.gate import GateOutcome
from rolekeeper.contracts.jobs import Job, JobError, Progress, StageName, Status
from rolekeeper.errors import ClaimLost, NotFound, StageYielded
from rolekeeper.jobs import releases, repository
from rolekeeper.jobs.rows import ArtifactRow, CharacterRow, JobRow, StageRow
from rolekeeper.jobs.service import cancel_waiting
from rolekeeper.jobs.states import later_stages, next_stage

MAX_LOST = 5
MAX_LOST_IN_TOTAL = 20
RETRY_SECONDS = 2.0


class Claim(NamedTuple):
    """A worker's right to a stage. `attempt` is the fencing token."""

    job_id: str
    stage: StageName
    attempt: int


class Wish(StrEnum):
    """What the worker of a stage is to do, as its heartbeat hears."""

    GO_ON = "go_on"
    CANCEL = "cancel"
    PAUSE = "pause"
    GIVE_UP = "give_up"


class Work(NamedTuple):
    """Everything that a worker needs to know about the job it claimed.

    `files` are the digests of the files that the job names: dialogues by the method's option, suites by their key.
    """

    job: Job
    profile: RoleProfile
    dialogues_sha256: str
    artifacts: dict[ArtifactKind, Artifact]
    request_id: str | None
    files: Mapping[str, str] = MappingProxyType({})


class Outcome(NamedTuple):
    """What a finished stage made, its last progress, what its gate found, and what the owner should be warned of."""

    kind: ArtifactKind
    artifact: Artifact
    message: str
    harmful_share: float | None = None
    progress: Progress | None = None
    gate: GateOutcome | None = None
    warning: str | None = None


def claim(session: Session, job_id: str, stage: StageName, worker: str, lease_seconds: float) -> Claim | None:
    """Take a queued stage. None means that there is nothing to do: it is taken, done, cancelled, paused or not due."""
    try:
        job = repository.lock_job(session, job_id)
    except NotFound:
        return None
    if job.cancel_requested_at is not None or job.pause_requested_at is not None:
        return None
    now = func.clock_timestamp()
    attempt = session.execute(
        update(StageRow)
        .where(StageRow.job_id == job_id, StageRow.name == stage, StageRow.status == Status.QUEUED)
        .where(StageRow.not_before <= now)
        .values(
            status=Status.RUNNING,
            attempt=StageRow.attempt + 1,
            worker=worker,
            lease_expires_at=now + timedelta(seconds=lease_seconds),
            started_at=func.coalesce(StageRow.started_at, now),
            progress=None,
        )
        .returning(StageRow.attempt)
    ).scalar_one_or_none()
    if attempt is None:
        return None
    repository.add_event(session, job_id, f"{stage}.started", f"{stage} started", attempt=attempt)
    repository.refresh_job(session, job)
    return Claim(job_id, stage, attempt)


def read_work(session: Session, held: Claim) -> Work:
    """What the claimed stage works on."""
    job = session.get_one(JobRow, held.job_id)
    character = session.get_one(CharacterRow, job.character_id)
    found = {kind: repository.find_artifact(session, job.id, kind) for kind in ArtifactKind}
    return Work(
        job=repository.to_job(session, job),
        profile=RoleProfile(name=character.name, profile=character.profile),
        dialogues_sha256=character.dialogues_sha256,
        artifacts={kind: artifact for kind, artifact in found.items() if artifact is not None},
        request_id=job.request_id,
        # Jobs from before there were such files have none.
        files=job.options.get("files", {}),
    )


def heartbeat(session: Session, held: Claim, lease_seconds: float, progress: Progress | None) -> Wish:
    """Keep the claim and show progress; gives what to do next.

    Raises:
        ClaimLost: the stage belongs to a later attempt, or its lease ran out.
    """
    job, stage = _held_rows(session, held)
    alive = session.execute(
        update(StageRow)
        .where(StageRow.job_id == held.job_id, StageRow.name == held.stage, StageRow.attempt == held.attempt)
        .where(StageRow.lease_expires_at > func.clock_timestamp())
        .values(lease_expires_at=func.clock_timestamp() + timedelta(seconds=lease_seconds))
        .returning(StageRow.attempt)
        .execution_options(synchronize_session=False)
    ).scalar_one_or_none()
    if alive is None:
        raise ClaimLost(f"the lease of {held.stage} of {held.job_id} ran out")
    if progress is not None and (shown := progress.model_dump(mode="json")) != stage.progress:
        stage.progress = shown
        job.version += 1
    return _wish(session, job)


def _wish(session: Session, job: JobRow) -> Wish:
    if job.cancel_requested_at is not None:
        return Wish.CANCEL
    if job.pause_requested_at is not None:
        return Wish.PAUSE
    return Wish.GIVE_UP if is_overdue(session, job) else Wish.GO_ON


def is_overdue(session: Session, job: JobRow) -> bool:
    """Whether the job's deadline is over. It stands still while the job is to be paused."""
    if job.deadline_at is None or job.pause_requested_at is not None:
        return False
    now: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    return now > job.deadline_at


def deadline_error(deadline_at: datetime) -> JobError:
    """Why a job fails that is overdue."""
    message = (
        f"the job was not done by its deadline, {deadline_at:%Y-%m-%d %H:%M:%S %Z}; submit it again with more "
        "deadline_seconds, or with none"
    )
    return JobError(code="deadline_exceeded", message=message)


def succeed(session: Session, held: Claim, outcome: Outcome) -> None:
    """Finish the stage: its artifact, its event and the next stage's turn, all or nothing. Raises ClaimLost."""
    job, stage = _held_rows(session, held)
    _end(stage, Status.SUCCEEDED)
    session.execute(
        insert(ArtifactRow).values(
            job_id=held.job_id,
            kind=outcome.kind,
            sha256=outcome.artifact.sha256,
            bytes=outcome.artifact.bytes,
            attempt=held.attempt,
        )
    )
    if outcome.progress is not None:
        stage.progress = outcome.progress.model_dump(mode="json")
    if outcome.harmful_share is not None:
        job.harmful_share = outcome.harmful_share
    repository.add_event(session, held.job_id, f"{held.stage}.succeeded", outcome.message, attempt=held.attempt)
    if outcome.warning is not None:
        repository.add_event(session, held.job_id, f"{held.stage}.warned", outcome.warning)
    if outcome.gate is not None:
        releases.decide_by_gate(session, job, outcome.artifact, outcome.gate)
    if (following := next_stage(held.stage)) is not None:
        row = repository.stage_rows(session, held.job_id)[following]
        row.status, row.not_before, row.hinted_at = Status.QUEUED, func.clock_timestamp(), func.clock_timestamp()
    if job.cancel_requested_at is not None:
        session.flush()
        cancel_waiting(session, job)
        return
    repository.refresh_job(session, job)


def cancel(session: Session, held: Claim) -> None:
    """End the stage because the job is cancelled. Raises ClaimLost."""
    job, stage = _held_rows(session, held)
    cancel_row(session, job, stage)


def fail(session: Session, held: Claim, error: JobError) -> None:
    """End the stage and the job: trying again would not help. Raises ClaimLost."""
    job, stage = _held_rows(session, held)
    fail_row(session, job, stage, error)


def give_back(session: Session, held: Claim, error: JobError) -> None:
    """Put the stage back in the queue, or fail it when its attempts are spent. Raises ClaimLost."""
    job, stage = _held_rows(session, held)
    requeue_row(session, job, stage, error)


def hand_back(session: Session, held: Claim, reason: StageYielded) -> None:
    """Put the stage back in the queue as it is, which costs no attempt: it makes room. Raises ClaimLost."""
    job, stage = _held_rows(session, held)
    if job.cancel_requested_at is not None:
        cancel_row(session, job, stage)
        return
    _end(stage, Status.QUEUED)
    stage.not_before, stage.hinted_at = func.clock_timestamp() + reason.pause, None
    repository.add_event(session, job.id, f"{stage.name}.{reason.code}", reason.message)
    repository.refresh_job(session, job)


def requeue_row(session: Session, job: JobRow, stage: StageRow, error: JobError) -> None:
    """Queue a stage again that was lost or interrupted, after a pause that doubles each time. The job is locked.

    The stage fails once its attempts are spent: those that got no further, or all. It is cancelled if that was asked.
    """
    if job.cancel_requested_at is not None:
        cancel_row(session, job, stage)
        return
    done = 0 if stage.progress is None else Progress.model_validate(stage.progress).done
    if done > stage.furthest:
        stage.furthest, stage.lost = done, 0
    stage.lost += 1
    stage.lost_in_total += 1
    if stage.lost >= MAX_LOST or stage.lost_in_total >= MAX_LOST_IN_TOTAL:
        spent = (
            f"given up after {stage.lost_in_total} interrupted attempts, {stage.lost} in a row without getting "
            f"further: {error.message}"
        )
        fail_row(session, job, stage, JobError(code=error.code, message=spent))
        return
    _end(stage, Status.QUEUED)
    pause = timedelta(seconds=RETRY_SECONDS * 2 ** (stage.lost - 1))
    stage.not_before, stage.hinted_at = func.clock_timestamp() + pause, None
    repository.add_event(session, job.id, f"{stage.name}.retried", error.message, code=error.code)
    repository.refresh_job(session, job)


def cancel_row(session: Session, job: JobRow, stage: StageRow) -> None:
    """Cancel a stage that a worker held, and those after it. The job is locked."""
    _end(stage, Status.CANCELLED)
    session.flush()
    cancel_waiting(session, job)


def fail_row(session: Session, job: JobRow, stage: StageRow, error: JobError) -> None:
    """Fail a stage, cancel those after it, and so fail the job. The job is locked."""
    _end(stage, Status.FAILED)
    stage.error = error.model_dump()
    job.error = stage.error
    rows = repository.stage_rows(session, job.id)
    for name in later_stages(StageName(stage.name)):
        _end(rows[name], Status.CANCELLED)
    repository.add_event(session, job.id, f"{stage.name}.failed", error.message, code=error.code)
    repository.refresh_job(session, job)


def is_done(session: Session, held: Claim) -> bool:
    """Whether this very attempt finished the stage: its commit arrived although the answer got lost."""
    row = session.get(StageRow, (held.job_id, held.stage.value))
    return row is not None and row.status == Status.SUCCEEDED and row.attempt == held.attempt


def _held_rows(session: Session, held: Claim) -> tuple[JobRow, StageRow]:
    try:
        job = repository.lock_job(session, held.job_id)
    except NotFound as error:
        raise ClaimLost(error.message) from error
    stage = session.get_one(StageRow, (held.job_id, held.stage.value), populate_existing=True)
    if stage.status != Status.RUNNING or stage.attempt != held.attempt:
        raise ClaimLost(f"{held.stage} of {held.job_id} is no longer held by attempt {held.attempt}")
    return job, stage


def _end(stage: StageRow, status: Status) -> None:
    stage.status = status
    stage.worker, stage.lease_expires_at = None, None
    if status != Status.QUEUED:
        stage.finished_at = func.clock_timestamp()
