"""The audit log: one row for each decision, which Postgres lets nobody change or remove."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from rolekeeper.contracts.problems import Page
from rolekeeper.contracts.release import AuditAction, AuditEntry
from rolekeeper.jobs.rows import AuditRow


class About(NamedTuple):
    """What an entry is about. `key_id` is the id of a key, never the key."""

    key_id: str | None = None
    job_id: str | None = None
    adapter_sha256: str | None = None
    report_sha256: str | None = None
    note: str | None = None
    request_id: str | None = None


def append(session: Session, owner: str, action: AuditAction, about: About) -> None:
    """Note a decision; it lasts if the transaction does."""
    session.add(AuditRow(owner=owner, action=action, **about._asdict()))


def list_entries(session: Session, owner: str, job_id: str | None, before: int | None, limit: int) -> Page[AuditEntry]:
    """The owner's entries, newest first, of one job or of all, with an id under `before`."""
    query = select(AuditRow).where(AuditRow.owner == owner).order_by(AuditRow.id.desc())
    if job_id is not None:
        query = query.where(AuditRow.job_id == job_id)
    if before is not None:
        query = query.where(AuditRow.id < before)
    rows = session.scalars(query.limit(limit + 1)).all()
    return Page(data=tuple(_to_entry(row) for row in rows[:limit]), has_more=len(rows) > limit)


def _to_entry(row: AuditRow) -> AuditEntry:
    return AuditEntry(
        id=row.id,
        created_at=row.created_at,
        owner=row.owner,
        key_id=row.key_id,
        action=AuditAction(row.action),
        job=row.job_id,
        adapter_sha256=row.adapter_sha256,
        report_sha256=row.report_sha256,
        note=row.note,
        request_id=row.request_id,
    )
