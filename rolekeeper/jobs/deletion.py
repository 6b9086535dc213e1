"""What an owner deletes: the rows go at once, and the bytes that only they named go later, by `erasures`.

Whether an adapter is given out stays decided, and so does the audit log: neither holds a text of the owner's.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from rolekeeper.contracts.deletion import Deleted
from rolekeeper.contracts.jobs import TERMINAL, Status
from rolekeeper.contracts.release import AuditAction
from rolekeeper.errors import Conflict
from rolekeeper.jobs import audit, erasures
from rolekeeper.jobs.audit import About
from rolekeeper.jobs.keys import Caller
from rolekeeper.jobs.repository import lock_owned
from rolekeeper.jobs.rows import ArtifactRow, CharacterRow, FileRow, JobRow

NUM_NAMED = 3
"""Jobs that an error names, of those that stand in the way."""


class Deletion(NamedTuple):
    """Who deletes, and with which request."""

    caller: Caller
    request_id: str | None = None


def delete_file(session: Session, by: Deletion, file_id: str) -> Deleted:
    """Delete an uploaded file. Characters and jobs keep what they took from it. Raises NotFound."""
    row = lock_owned(session, FileRow, by.caller.owner, file_id)
    session.delete(row)
    return _receipt(session, by, "file", file_id, [row.sha256])


def delete_character(session: Session, by: Deletion, character_id: str) -> Deleted:
    """Delete a character and its dialogues. Raises NotFound, and Conflict while a job is there that names it."""
    row = lock_owned(session, CharacterRow, by.caller.owner, character_id)
    of_it = select(JobRow.id).where(JobRow.character_id == character_id).order_by(JobRow.number)
    if jobs := session.scalars(of_it.limit(NUM_NAMED + 1)).all():
        named = ", ".join(jobs[:NUM_NAMED]) + (" and more" if len(jobs) > NUM_NAMED else "")
        raise Conflict(f"character {character_id} belongs to {named}; delete its jobs first", code="in_use")
    session.delete(row)
    return _receipt(session, by, "character", character_id, [row.dialogues_sha256])


def delete_job(session: Session, by: Deletion, job_id: str) -> Deleted:
    """Delete a job that has ended, with its scores, adapter, report and events.

    Jobs that evaluated its adapter again keep theirs. Raises NotFound, and Conflict while it has not ended.
    """
    job = lock_owned(session, JobRow, by.caller.owner, job_id)
    if Status(job.status) not in TERMINAL:
        raise Conflict(f"job {job_id} is still {job.status}; cancel it first, and delete it when it has stopped")
    made = session.scalars(select(ArtifactRow.sha256).where(ArtifactRow.job_id == job_id)).all()
    session.delete(job)
    return _receipt(session, by, "job", job_id, [*made, *job.options.get("files", {}).values()])


def _receipt(
    session: Session, by: Deletion, kind: Literal["file", "character", "job"], row_id: str, digests: list[str]
) -> Deleted:
    session.flush()
    due_at = erasures.plan(session, digests)
    caller = by.caller
    about = About(key_id=caller.key_id, note=f"{kind} {row_id}", request_id=by.request_id)
    about = about._replace(job_id=row_id) if kind == "job" else about
    audit.append(session, caller.owner, AuditAction.DELETED, about)
    return Deleted(id=row_id, object=kind, erased_after=due_at)
