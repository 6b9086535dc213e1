"""What must hold when all is quiet again, read from PostgreSQL, the folders and the clients' history.

lost       an acknowledged job is not there, has not ended, or failed
duplicate  a stage succeeded twice, or equal jobs have unequal adapters
torn       an artifact whose bytes are missing or others, or a file of the store that is not what its name says
leaked     a lease, a half-written file, or a folder of a job that has ended
broken     the audit log is not in one piece
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.engine import Connection

from benchmarks.faults.clients import History
from rolekeeper.jobs.chain import BrokenChain, verify
from rolekeeper.jobs.db import Database

Finding = tuple[str, str]

TWICE = """
    select job_id, type, count(*) from event
    where type in ('score.succeeded', 'train.succeeded', 'evaluate.succeeded', 'job.succeeded')
    group by job_id, type having count(*) > 1
"""
WITHOUT = """
    select job.id, kinds.kind from job cross join (values ('scores'), ('adapter'), ('report')) as kinds (kind)
    where job.status = 'succeeded'
    and not exists (select from artifact where artifact.job_id = job.id and artifact.kind = kinds.kind)
"""
GOING = "select id from job where status not in ('succeeded', 'failed', 'cancelled')"
JOBS = "select id, status, error from job"
HELD = "select job_id, name, worker from stage where status = 'running'"


def check(database_url: str, state: Path, history: History) -> list[Finding]:
    """All that does not hold."""
    engine = create_engine(database_url)
    with engine.connect() as connection:
        rows = [*_jobs(connection, history), *_stages(connection), *_artifacts(connection, state / "store")]
        going = set(connection.scalars(text(GOING)))
    engine.dispose()
    return [*rows, *_files(state, going), *_chain(database_url)]


def _jobs(connection: Connection, history: History) -> Iterator[Finding]:
    found = {job_id: (status, error) for job_id, status, error in connection.execute(text(JOBS))}
    for job_id in sorted(history.jobs - history.asked_to_delete - set(found)):
        yield "lost", f"{job_id} was acknowledged and is not there"
    for job_id, (status, error) in found.items():
        if status not in ("succeeded", "cancelled"):
            yield "lost", f"{job_id} is {status}: {error}"
        if status == "cancelled" and job_id not in history.cancelled:
            yield "lost", f"{job_id} was cancelled, and nobody asked for it"
    for job_id in sorted(history.deleted & set(found)):
        yield "leaked", f"{job_id} was deleted and is there"


def _stages(connection: Connection) -> Iterator[Finding]:
    for job_id, name, count in connection.execute(text(TWICE)):
        yield "duplicate", f"{name} of {job_id} came {count} times"
    for job_id, name, worker in connection.execute(text(HELD)):
        yield "leaked", f"{name} of {job_id} is held by {worker}"
    for job_id, kind in connection.execute(text(WITHOUT)):
        yield "lost", f"{job_id} succeeded without {kind}"


def _artifacts(connection: Connection, store: Path) -> Iterator[Finding]:
    adapters = list(connection.scalars(text("select distinct sha256 from artifact where kind = 'adapter'")))
    if len(adapters) > 1:
        yield "duplicate", f"equal jobs have {len(adapters)} adapters: {adapters}"
    for job_id, kind, sha256, size in connection.execute(text("select job_id, kind, sha256, bytes from artifact")):
        path = store / "sha256" / sha256[:2] / sha256
        if not path.is_file() or path.stat().st_size != size:
            yield "torn", f"{kind} of {job_id} is not in the store"


def _files(state: Path, going: set[str]) -> Iterator[Finding]:
    for path in (state / "store" / "sha256").glob("*/*"):
        if hashlib.sha256(path.read_bytes()).hexdigest() != path.name:
            yield "torn", f"{path.name} has other bytes"
    for folder in (state / "work").glob("job_*"):
        if folder.name not in going:
            yield (
                "leaked",
                f"{folder.name} has ended or was deleted, and left {sorted(path.name for path in folder.iterdir())}",
            )


def _chain(database_url: str) -> Iterator[Finding]:
    database = Database(database_url, pool_size=1)
    try:
        with database.transaction() as session:
            verify(session)
    except BrokenChain as error:
        yield "broken", error.message
    finally:
        database.dispose()
