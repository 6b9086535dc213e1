"""The use cases of the public API, each inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from rolekeeper.contracts.artifacts import Artifact, ArtifactKind
from rolekeeper.contracts.characters import Character, UploadedFile
from rolekeeper.contracts.events import JobEvent
from rolekeeper.contracts.jobs import TERMINAL, Job, JobCreate, Status
from rolekeeper.contracts.problems import Page
from rolekeeper.errors import Conflict, QuotaExceeded
from rolekeeper.jobs import repository
from rolekeeper.jobs.repository import lock_owned, owned_page, owned_row, to_page
from rolekeeper.jobs.rows import CharacterRow, FileRow, JobRow, StageRow
from rolekeeper.jobs.states import first_statuses


class NewCharacter(NamedTuple):
    """A checked character whose dialogues are in the artifact store."""

    name: str
    profile: str
    dialogues: Artifact
    num_dialogues: int
    num_messages: int
    notes: tuple[str, ...] = ()


def create_file(session: Session, owner: str, filename: str, purpose: str, artifact: Artifact) -> UploadedFile:
    """Keep an uploaded file whose bytes are in the store."""
    row = FileRow(
        id=repository.new_id("file"),
        owner=owner,
        filename=filename,
        purpose=purpose,
        sha256=artifact.sha256,
        bytes=artifact.bytes,
    )
    session.add(row)
    session.flush()
    return repository.to_file(row)


def get_file(session: Session, owner: str, file_id: str) -> UploadedFile:
    """One file. Raises NotFound."""
    return repository.to_file(owned_row(session, FileRow, owner, file_id))


def list_files(session: Session, owner: str, after: str | None, limit: int) -> Page[UploadedFile]:
    """Files, newest first."""
    return to_page(owned_page(session, FileRow, owner, after, limit), lambda rows: tuple(map(repository.to_file, rows)))


def create_character(session: Session, owner: str, new: NewCharacter) -> Character:
    """Keep a character."""
    row = CharacterRow(
        id=repository.new_id("char"),
        owner=owner,
        name=new.name,
        profile=new.profile,
        num_dialogues=new.num_dialogues,
        num_messages=new.num_messages,
        dialogues_sha256=new.dialogues.sha256,
        notes=list(new.notes),
    )
    session.add(row)
    session.flush()
    return repository.to_character(row)


def get_character(session: Session, owner: str, character_id: str) -> Character:
    """One character. Raises NotFound."""
    return repository.to_character(owned_row(session, CharacterRow, owner, character_id))


def list_characters(session: Session, owner: str, after: str | None, limit: int) -> Page[Character]:
    """Characters, newest first."""
    return to_page(
        owned_page(session, CharacterRow, owner, after, limit), lambda rows: tuple(map(repository.to_character, rows))
    )


def create_job(
    session: Session, owner: str, new: JobCreate, request_id: str | None, files: Mapping[str, str] | None = None
) -> Job:
    """Queue a job. The first stage waits for a hint, or for the sweeper. Raises NotFound for an unknown character.

    `files` are the digests of what the method's options and the suites name, checked and in the artifact store.
    """
    lock_owned(session, CharacterRow, owner, new.character, only_keep=True)
    limit = None if new.deadline_seconds is None else timedelta(seconds=new.deadline_seconds)
    row = JobRow(
        id=repository.new_id("job"),
        owner=owner,
        character_id=new.character,
        base_model=new.base_model,
        options=new.model_dump(mode="json", include={"method", "hyperparameters", "evaluation"})
        | {"files": dict(files or {})},
        status=Status.QUEUED,
        deadline_at=None if limit is None else func.clock_timestamp() + limit,
        request_id=request_id,
    )
    session.add(row)
    session.flush()
    stages = [
        StageRow(
            job_id=row.id,
            name=name,
            status=status,
            # The caller sends a hint right after the commit; the sweeper need not send another at once.
            hinted_at=func.clock_timestamp() if status == Status.QUEUED else None,
        )
        for name, status in first_statuses().items()
    ]
    session.add_all(stages)
    repository.add_event(session, row.id, "job.created", "the job is queued")
    session.flush()
    return repository.to_new_job(row, stages)


def refuse_more_jobs(session: Session, owner: str, most: int) -> None:
    """Raise QuotaExceeded if an owner has so many jobs that have not ended. Two calls at once may both pass."""
    ended = [status.value for status in TERMINAL]
    found = select(JobRow.id).where(JobRow.owner == owner, JobRow.status.not_in(ended)).offset(most - 1).limit(1)
    if session.execute(found).first() is not None:
        raise QuotaExceeded(f"{most} of your jobs have not ended, as many as your quota allows; wait for one")


def get_job(session: Session, owner: str, job_id: str) -> Job:
    """One job. Raises NotFound."""
    return repository.to_job(session, owned_row(session, JobRow, owner, job_id))


def list_jobs(session: Session, owner: str, after: str | None, limit: int) -> Page[Job]:
    """Jobs, newest first."""
    return to_page(owned_page(session, JobRow, owner, after, limit), lambda rows: repository.to_jobs(session, rows))


def request_cancel(session: Session, owner: str, job_id: str) -> Job:
    """Raise the cancel flag. A stage that no worker holds is cancelled at once; a running one at its next heartbeat.

    Cancelling a cancelled job changes nothing. Raises NotFound, and Conflict if the job succeeded or failed.
    """
    owned_row(session, JobRow, owner, job_id)
    job = repository.lock_job(session, job_id)
    status = Status(job.status)
    if status in TERMINAL - {Status.CANCELLED}:
        raise Conflict(f"job {job_id} has {status} already and can't be cancelled")
    if status != Status.CANCELLED and job.cancel_requested_at is None:
        job.cancel_requested_at = func.clock_timestamp()
        repository.add_event(session, job_id, "job.cancel_requested", "the job will be cancelled")
        cancel_waiting(session, job)
    session.flush()
    session.refresh(job)
    return repository.to_job(session, job)


def cancel_waiting(session: Session, job: JobRow) -> None:
    """Cancel the stages that no worker holds, and bring the job's status up to date. The job's row is locked."""
    for stage in repository.stage_rows(session, job.id).values():
        if stage.status in {Status.PENDING, Status.QUEUED}:
            stage.status = Status.CANCELLED
            stage.finished_at = func.clock_timestamp()
    repository.refresh_job(session, job)


def list_events(session: Session, owner: str, job_id: str, after: int, limit: int) -> Page[JobEvent]:
    """Events of a job with an id over `after`, oldest first. Raises NotFound."""
    owned_row(session, JobRow, owner, job_id)
    return repository.events_after(session, job_id, after, limit)


def get_artifact(session: Session, owner: str, job_id: str, kind: ArtifactKind) -> Artifact:
    """What a stage of the job made. Raises NotFound, and Conflict while there is none."""
    job = owned_row(session, JobRow, owner, job_id)
    artifact = repository.find_artifact(session, job_id, kind)
    if artifact is None:
        ended = Status(job.status) in TERMINAL
        reason = f"the job has {job.status}" if ended else f"the job is still {job.status}; ask again when it is done"
        raise Conflict(f"job {job_id} has no {kind}: {reason}", code=f"no_{kind}")
    return artifact
