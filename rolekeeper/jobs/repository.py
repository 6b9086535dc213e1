"""Rows in and out: queries that give contracts, never rows."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Select, func, select, tuple_
from sqlalchemy.orm import Session

from rolekeeper.contracts.artifacts import Artifact, ArtifactKind
from rolekeeper.contracts.characters import Character, UploadedFile
from rolekeeper.contracts.evaluation import EvaluationOptions
from rolekeeper.contracts.events import JobEvent
from rolekeeper.contracts.gate import GateOutcome
from rolekeeper.contracts.jobs import (
    TERMINAL,
    AskedHyperparameters,
    Job,
    JobError,
    Method,
    Progress,
    Stage,
    StageName,
    Status,
)
from rolekeeper.contracts.problems import Page
from rolekeeper.contracts.release import Release, ReleaseStatus
from rolekeeper.errors import NotFound
from rolekeeper.jobs.rows import ArtifactRow, CharacterRow, EventRow, FileRow, JobRow, ReleaseRow, StageRow
from rolekeeper.jobs.states import PIPELINE, job_status

Owned = TypeVar("Owned", FileRow, CharacterRow, JobRow)
Contracted = TypeVar("Contracted")


def new_id(prefix: str) -> str:
    """A random id such as `job_3f…`; nothing can be guessed from it."""
    return f"{prefix}_{secrets.token_hex(12)}"


def owned_row(session: Session, table: type[Owned], owner: str, row_id: str) -> Owned:
    """The row with this id, if it belongs to `owner`.

    Raises:
        NotFound: there is none, or it belongs to somebody else.
    """
    return _owned(table, owner, row_id, session.get(table, row_id))


def lock_owned(session: Session, table: type[Owned], owner: str, row_id: str, only_keep: bool = False) -> Owned:
    """The same, locked: nobody else changes or deletes it meanwhile; or nobody deletes it, with `only_keep`."""
    row = session.get(table, row_id, with_for_update={"key_share": only_keep}, populate_existing=True)
    return _owned(table, owner, row_id, row)


def _owned(table: type[Owned], owner: str, row_id: str, row: Owned | None) -> Owned:
    if row is None or row.owner != owner:
        raise NotFound(f"no {table.__tablename__} with id {row_id!r}: check the id and that this key may see it")
    return row


def owned_page(
    session: Session, table: type[Owned], owner: str, after: str | None, limit: int
) -> tuple[Sequence[Owned], bool]:
    """Rows of `owner`, newest first, from the one behind `after`; and whether there are more."""
    query: Select[Owned] = select(table).where(table.owner == owner).order_by(table.number.desc())
    if after is not None:
        query = query.where(table.number < owned_row(session, table, owner, after).number)
    rows = session.scalars(query.limit(limit + 1)).all()
    return rows[:limit], len(rows) > limit


def to_page(
    found: tuple[Sequence[Owned], bool], to_contracts: Callable[[Sequence[Owned]], tuple[Contracted, ...]]
) -> Page[Contracted]:
    """A page of contracts."""
    rows, has_more = found
    return Page(data=to_contracts(rows), has_more=has_more)


def to_file(row: FileRow) -> UploadedFile:
    """The file as its owner sees it."""
    return UploadedFile(
        id=row.id,
        bytes=row.bytes,
        created_at=int(row.created_at.timestamp()),
        filename=row.filename,
        purpose=row.purpose,
        sha256=row.sha256,
    )


def to_character(row: CharacterRow) -> Character:
    """The character as its owner sees it."""
    return Character(
        id=row.id,
        created_at=row.created_at,
        name=row.name,
        profile=row.profile,
        num_dialogues=row.num_dialogues,
        num_messages=row.num_messages,
        dialogues_sha256=row.dialogues_sha256,
        notes=tuple(row.notes),
    )


def stage_rows(session: Session, job_id: str) -> dict[StageName, StageRow]:
    """The stages of a job by name, in their order."""
    rows = session.scalars(select(StageRow).where(StageRow.job_id == job_id).execution_options(populate_existing=True))
    by_name = {StageName(row.name): row for row in rows}
    return {name: by_name[name] for name in PIPELINE}


def to_stage(row: StageRow) -> Stage:
    """The stage as its owner sees it."""
    return Stage(
        name=StageName(row.name),
        status=Status(row.status),
        attempt=row.attempt,
        progress=None if row.progress is None else Progress.model_validate(row.progress),
        error=to_error(row.error),
        started_at=row.started_at,
        finished_at=row.finished_at,
    )


def to_error(error: dict[str, Any] | None) -> JobError | None:
    """The stored reason of a failure."""
    return None if error is None else JobError.model_validate(error)


class _Parts(NamedTuple):
    """What belongs to a job and stands in other tables."""

    stages: Sequence[StageRow]
    adapter: ArtifactRow | None
    release: ReleaseRow | None


def to_job(session: Session, row: JobRow) -> Job:
    """The job as its owner sees it."""
    return to_jobs(session, [row])[0]


def to_jobs(session: Session, rows: Sequence[JobRow]) -> tuple[Job, ...]:
    """The jobs as their owners see them, by three queries however many they are."""
    ids = [row.id for row in rows]
    of_these = select(StageRow).where(StageRow.job_id.in_(ids)).execution_options(populate_existing=True)
    stages = {(stage.job_id, stage.name): stage for stage in session.scalars(of_these)}
    is_adapter = (ArtifactRow.job_id.in_(ids), ArtifactRow.kind == ArtifactKind.ADAPTER)
    adapters = {adapter.job_id: adapter for adapter in session.scalars(select(ArtifactRow).where(*is_adapter))}
    keys = [(row.owner, adapters[row.id].sha256) for row in rows if row.id in adapters]
    of_them = select(ReleaseRow).where(tuple_(ReleaseRow.owner, ReleaseRow.adapter_sha256).in_(keys))
    decided = session.scalars(of_them) if keys else ()
    releases = {(release.owner, release.adapter_sha256): release for release in decided}

    def parts(row: JobRow) -> _Parts:
        adapter = adapters.get(row.id)
        release = None if adapter is None else releases.get((row.owner, adapter.sha256))
        return _Parts([stages[row.id, name] for name in PIPELINE], adapter, release)

    return tuple(_to_job(row, parts(row)) for row in rows)


def to_new_job(row: JobRow, stages: Sequence[StageRow]) -> Job:
    """A job that was just made, with its stages in their order, as its owner sees it: nothing is read again."""
    return _to_job(row, _Parts(stages, None, None))


def _to_job(row: JobRow, parts: _Parts) -> Job:
    adapter = parts.adapter
    return Job(
        id=row.id,
        status=Status(row.status),
        character=row.character_id,
        base_model=row.base_model,
        method=Method.model_validate(row.options["method"]),
        hyperparameters=AskedHyperparameters.model_validate(row.options["hyperparameters"]),
        evaluation=EvaluationOptions.model_validate(row.options["evaluation"]),
        stages=tuple(to_stage(stage) for stage in parts.stages),
        cancel_requested=row.cancel_requested_at is not None,
        pause_requested=row.pause_requested_at is not None,
        deadline_at=row.deadline_at,
        harmful_share=row.harmful_share,
        adapter_sha256=adapter.sha256 if adapter else None,
        release=_to_release(parts.release) if adapter else None,
        evaluates=row.options.get("evaluates"),
        error=to_error(row.error),
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )


def find_artifact(session: Session, job_id: str, kind: ArtifactKind) -> Artifact | None:
    """The job's artifact of this kind, if it was made."""
    row = session.get(ArtifactRow, (job_id, kind.value))
    return None if row is None else Artifact(sha256=row.sha256, bytes=row.bytes)


def _to_release(row: ReleaseRow | None) -> Release:
    if row is None:
        return Release(status=ReleaseStatus.PENDING)
    outcome = None if row.outcome is None else GateOutcome.model_validate(row.outcome)
    return Release(
        status=ReleaseStatus(row.status),
        decided_at=row.decided_at,
        decided_by=row.decided_by,
        job=row.job_id,
        verdict=None if outcome is None else outcome.verdict,
        reasons=tuple(check.sentence for check in outcome.reasons) if outcome else (),
        note=row.note,
    )


def events_after(session: Session, job_id: str, after: int, limit: int) -> Page[JobEvent]:
    """Events of a job with an id over `after`, oldest first."""
    query = select(EventRow).where(EventRow.job_id == job_id, EventRow.id > after).order_by(EventRow.id)
    rows = session.scalars(query.limit(limit + 1)).all()
    return Page(data=tuple(_to_event(row) for row in rows[:limit]), has_more=len(rows) > limit)


def _to_event(row: EventRow) -> JobEvent:
    return JobEvent.model_validate(
        {
            "id": row.id,
            "created_at": row.created_at,
            "level": row.level,
            "type": row.type,
            "message": row.message,
            "data": row.data,
        }
    )


def add_event(session: Session, job_id: str, kind: str, message: str, **data: Any) -> None:
    """Note what happened.

    Events `*.failed` are errors; `*.retried`, `*.blocked` and `*.warned` are warnings; others are information.
    """
    levels = {"failed": "error", "retried": "warn", "blocked": "warn", "warned": "warn"}
    level = levels.get(kind.rpartition(".")[2], "info")
    session.add(EventRow(job_id=job_id, level=level, type=kind, message=message, data=data))


def lock_job(session: Session, job_id: str) -> JobRow:
    """Lock the job's row. Whoever changes a job or its stages does this first, so that there are no deadlocks.

    Raises:
        NotFound: there is no such job.
    """
    job = session.get(JobRow, job_id, with_for_update=True, populate_existing=True)
    if job is None:
        raise NotFound(f"no job with id {job_id!r}")
    return job


def refresh_job(session: Session, job: JobRow) -> None:
    """Derive the job's status, times and version from its stages and its flags. The job's row is locked."""
    session.flush()
    stages = stage_rows(session, job.id)
    started = any(stage.attempt > 0 for stage in stages.values())
    is_paused = job.pause_requested_at is not None
    status = job_status({name: Status(stage.status) for name, stage in stages.items()}, started, is_paused)
    if started and job.started_at is None:
        job.started_at = func.clock_timestamp()
    if status != job.status and status in TERMINAL:
        job.finished_at = func.clock_timestamp()
    if status != job.status and status in _PAST:
        add_event(session, job.id, f"job.{status}", f"the job {_PAST[status]}")
    job.status = status
    job.version += 1


_PAST = {
    Status.SUCCEEDED: "succeeded",
    Status.FAILED: "failed",
    Status.CANCELLED: "was cancelled",
    Status.PAUSED: "is paused",
}
