"""What jobs leave in the work folder of a trainer."""

from __future__ import annotations

import os
from pathlib import Path

from rolekeeper.contracts.release import Scope
from rolekeeper.jobs import deletion, service
from rolekeeper.jobs.db import Database
from rolekeeper.jobs.deletion import Deletion
from rolekeeper.jobs.keys import Caller
from rolekeeper.jobs.rounds import do_round
from services.trainer.leftovers import Leftovers
from tests.integration.jobs.conftest import OWNER, queue_job

BY_OWNER = Deletion(Caller("key_1", OWNER, frozenset({Scope.WRITE_JOBS})))


def leave(work_dir: Path, name: str) -> Path:
    """A folder as a training leaves it."""
    folder = work_dir / name
    (folder / "checkpoint-4").mkdir(parents=True)
    (folder / "samples.jsonl").write_text("{}\n", encoding="utf-8")
    return folder


def test_only_what_ended_jobs_left_goes(database: Database, tmp_path: Path) -> None:
    waiting, cancelled = (queue_job(database) for _ in range(2))
    with database.transaction() as session:
        service.request_cancel(session, OWNER, cancelled)
        deleted = queue_job(database)
        service.request_cancel(session, OWNER, deleted)
        deletion.delete_job(session, BY_OWNER, deleted)
    old, unknown = f"job_{'0' * 24}", f"job_{'1' * 24}"
    stay = [leave(tmp_path, name) for name in (waiting, unknown, "job_of_an_operator", "notes")]
    go = [leave(tmp_path, name) for name in (cancelled, deleted, old)]
    os.utime(tmp_path / old, (0, 0))
    os.utime(tmp_path / "job_of_an_operator", (0, 0))
    Leftovers(tmp_path, database).remove()
    assert [path.exists() for path in (*stay, *go)] == [True] * 4 + [False] * 3
    assert len(list(stay[0].iterdir())) == 2


def test_a_round_that_fails_is_not_the_last(database: Database, tmp_path: Path) -> None:
    leave(tmp_path, f"job_{'0' * 24}")
    silent = Database("postgresql+psycopg://nobody@127.0.0.1:1/none")
    do_round("leftovers", Leftovers(tmp_path, silent).remove)
    do_round("leftovers", Leftovers(tmp_path / "gone", database).remove)
    assert len(list(tmp_path.iterdir())) == 1
