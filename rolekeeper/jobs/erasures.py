"""Bytes that are to leave the artifact store: those whose rows an owner deleted, and that no other row names.

They stay for a while. A request that was under way, and read a digest before its row was deleted, has committed a row
of its own by then, and is seen. Nothing but what was planned is ever erased: a store beside the wrong database is safe.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from rolekeeper.jobs.rows import ErasureRow

KEEP_SECONDS = 3600.0
"""Longer than any request and any upload lasts."""

BATCH = 100

NAMED = """
    select sha256 from file where sha256 = any(:digests)
    union select dialogues_sha256 from character where dialogues_sha256 = any(:digests)
    union select sha256 from artifact where sha256 = any(:digests)
    union select files.value from job, jsonb_each_text(job.options -> 'files') as files
        where files.value = any(:digests)
"""


def plan(session: Session, digests: Sequence[str], keep_seconds: float = KEEP_SECONDS) -> datetime:
    """Have bytes erased, `keep_seconds` from now. Returns when that is."""
    now: datetime = session.scalars(select(func.clock_timestamp())).one()
    due_at = now + timedelta(seconds=keep_seconds)
    if digests:
        new = insert(ErasureRow).values([{"sha256": digest, "due_at": due_at} for digest in sorted(set(digests))])
        later = new.on_conflict_do_update(index_elements=["sha256"], set_={"due_at": new.excluded.due_at})
        session.execute(later)
    return due_at


def due(session: Session) -> list[str]:
    """Lock and return digests whose time has come. Sweepers that run at once get different ones."""
    query = select(ErasureRow.sha256).where(ErasureRow.due_at < func.clock_timestamp()).order_by(ErasureRow.due_at)
    return list(session.scalars(query.limit(BATCH).with_for_update(skip_locked=True)))


def named(session: Session, digests: Sequence[str]) -> set[str]:
    """Those of the digests that some row names."""
    return set(session.scalars(text(NAMED), {"digests": list(digests)}))


def forget(session: Session, digests: Sequence[str]) -> None:
    """Note that these are done with: erased, or named by another row, whose deletion plans them again."""
    session.execute(delete(ErasureRow).where(ErasureRow.sha256.in_(digests)))
