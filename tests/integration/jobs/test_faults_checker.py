"""The checker of `benchmarks.faults` finds what is planted, and nothing where nothing is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text

from benchmarks.faults.checker import check
from benchmarks.faults.clients import History
from rolekeeper.artifacts.store import Store
from rolekeeper.contracts.artifacts import ArtifactKind
from rolekeeper.contracts.jobs import StageName
from rolekeeper.jobs import claims, service
from rolekeeper.jobs.claims import Outcome
from rolekeeper.jobs.db import Database
from rolekeeper.jobs.states import PIPELINE
from tests.integration.jobs.conftest import OWNER, queue_job
from tests.integration.jobs.moves import KINDS, PASSED, must_take

Planted = tuple[Database, Path, History, str]


def run_through(database: Database, store: Store) -> str:
    """A job that succeeds; gives its id."""
    job_id = queue_job(database)
    for name in PIPELINE:
        held = must_take(database, job_id, name)
        gate = PASSED if name is StageName.EVALUATE else None
        with database.transaction() as session:
            claims.succeed(session, held, Outcome(KINDS[name], store.put(name.encode()), "done", gate=gate))
    return job_id


@pytest.fixture
def sound(database: Database, tmp_path: Path) -> Planted:
    """Two jobs that succeeded and one that was cancelled, all as they should be; gives one that succeeded."""
    store = Store(tmp_path / "store")
    jobs = {run_through(database, store), run_through(database, store)}
    cancelled = queue_job(database)
    with database.transaction() as session:
        service.request_cancel(session, OWNER, cancelled)
    history = History(jobs=jobs | {cancelled}, cancelled={cancelled})
    return database, tmp_path, history, min(jobs)


def kinds(planted: Planted, database_url: str) -> set[str]:
    _, state, history, _ = planted
    return {kind for kind, _ in check(database_url, state, history)}


def execute(planted: Planted, statement: str) -> None:
    with planted[0].transaction() as session:
        session.execute(text("alter table audit disable trigger user"))
        session.execute(text(statement), {"job": planted[3]} if ":job" in statement else {})


def test_nothing_is_found_where_nothing_is_wrong(sound: Planted, database_url: str) -> None:
    assert kinds(sound, database_url) == set()


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("delete from job where id = :job", "lost"),
        ("delete from job", "lost"),
        ("update job set status = 'failed' where id = :job", "lost"),
        ("update job set status = 'cancelled' where id = :job", "lost"),
        ("delete from artifact where kind = 'report' and job_id = :job", "lost"),
        ("update artifact set sha256 = repeat('0', 64) where kind = 'scores' and job_id = :job", "torn"),
        ("update artifact set sha256 = repeat('0', 64) where kind = 'adapter' and job_id = :job", "duplicate"),
        (
            "insert into event (job_id, level, type, message, data) values (:job, 'info', 'train.succeeded', '', '{}')",
            "duplicate",
        ),
        (
            """update stage set status = 'running', lease_expires_at = clock_timestamp()
            where name = 'train' and job_id = :job""",
            "leaked",
        ),
        ("update audit set owner = 'somebody else'", "broken"),
    ],
)
def test_what_is_planted_in_rows_is_found(sound: Planted, database_url: str, statement: str, kind: str) -> None:
    execute(sound, statement)
    assert kind in kinds(sound, database_url)


def test_what_is_planted_in_folders_is_found(sound: Planted, database_url: str) -> None:
    database, state, _, job_id = sound
    with database.transaction() as session:
        artifact = service.get_artifact(session, OWNER, job_id, ArtifactKind.SCORES)
    (state / "work" / job_id).mkdir(parents=True)
    assert kinds(sound, database_url) == {"leaked"}
    (state / "work" / job_id).rmdir()
    Store(state / "store").path(artifact.sha256).write_bytes(b"other")  # as many bytes as before
    assert kinds(sound, database_url) == {"torn"}


def test_a_deleted_job_that_is_there_is_found(sound: Planted, database_url: str) -> None:
    sound[2].deleted.add(sound[3])
    assert kinds(sound, database_url) == {"leaked"}


def test_a_deletion_whose_answer_was_lost_is_no_finding_and_what_it_left_is(sound: Planted, database_url: str) -> None:
    _, state, history, job_id = sound
    history.asked_to_delete.add(job_id)
    execute(sound, "delete from job where id = :job")
    assert kinds(sound, database_url) == set()
    (state / "work" / job_id).mkdir(parents=True)
    assert kinds(sound, database_url) == {"leaked"}
