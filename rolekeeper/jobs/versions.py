"""The version of a job, which grows whenever something that its owner sees of it changes: it is the job's ETag."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from sqlalchemy import Select, String, any_, bindparam, func, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from rolekeeper.contracts.artifacts import ArtifactKind
from rolekeeper.jobs.repository import owned_row
from rolekeeper.jobs.rows import ArtifactRow, JobRow, ReleaseRow


def job_version(session: Session, owner: str, job_id: str) -> int:
    """A number that grows whenever the job changes, or something is decided on its adapter. Raises NotFound."""
    found = job_versions(session, [job_id]).get((owner, job_id))
    return owned_row(session, JobRow, owner, job_id).version if found is None else found


def job_versions(session: Session, job_ids: Sequence[str]) -> dict[tuple[str, str], int]:
    """The versions of jobs, by their owner and id; those that are not there are left out."""
    rows = session.execute(_versions(), {"ids": list(job_ids)})
    return {(owner, job_id): version for owner, job_id, version in rows}


@cache
def _versions() -> Select[str, str, int]:
    of_job = (ArtifactRow.job_id == JobRow.id) & (ArtifactRow.kind == ArtifactKind.ADAPTER)
    of_adapter = (ReleaseRow.owner == JobRow.owner) & (ReleaseRow.adapter_sha256 == ArtifactRow.sha256)
    version = JobRow.version + func.coalesce(ReleaseRow.version, 0)
    query = select(JobRow.owner, JobRow.id, version).select_from(JobRow)
    joined = query.outerjoin(ArtifactRow, of_job).outerjoin(ReleaseRow, of_adapter)
    return joined.where(JobRow.id == any_(bindparam("ids", type_=ARRAY(String))))
