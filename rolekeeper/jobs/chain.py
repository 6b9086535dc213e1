"""The audit log is a chain: whoever changes, adds or removes an entry in it breaks it at that place.

PostgreSQL computes the digests when entries are appended (migration 0007); this computes them again, on its own. Only
the end of the chain can be cut off unseen. Who notes its head elsewhere, sees that too.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable
from datetime import UTC
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from rolekeeper.errors import RolekeeperError
from rolekeeper.jobs.rows import AuditRow

FETCH = 1000


class Head(NamedTuple):
    """The last entry of a chain: its id, and the digest that stands for all entries up to it."""

    entry: int = 0
    sha256: str = ""


class BrokenChain(RolekeeperError):
    """An entry is not what the chain says, or one is missing."""

    code = "broken_chain"


def digest_of(before: str, row: AuditRow) -> str:
    """The digest of an entry that comes after the one with digest `before`."""
    created_at = row.created_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    fields = [row.id, created_at, row.owner, row.key_id, row.action, row.job_id]
    fields += [row.adapter_sha256, row.report_sha256, row.note, row.request_id]
    return hashlib.sha256((before + json.dumps(fields, ensure_ascii=False)).encode()).hexdigest()


def verify(session: Session, noted: Head | None = None) -> Head:
    """Read the whole log, and return its head. `noted` is a head from before, which must still be in it.

    Raises BrokenChain, which says where.
    """
    head, is_seen = Head(), noted is None
    query = select(AuditRow).order_by(AuditRow.id).execution_options(yield_per=FETCH)
    with contextlib.closing(session.scalars(query)) as rows:
        for head in _links(rows):
            is_seen = is_seen or head == noted
    if noted is not None and not is_seen:
        raise BrokenChain(f"entry {noted.entry} with sha256 {noted.sha256} is not in the log: its end was cut off")
    return head


def _links(rows: Iterable[AuditRow]) -> Iterable[Head]:
    before = ""
    for row in rows:
        if row.sha256 != digest_of(before, row):
            raise BrokenChain(f"the log is broken at entry {row.id}: it was changed, or one before it was removed")
        before = row.sha256
        yield Head(row.id, before)
