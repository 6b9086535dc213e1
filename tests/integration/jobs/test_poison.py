"""A job that kills its training program is given up, and neither the worker nor the next job suffers."""

from __future__ import annotations

from pathlib import Path

import pytest

from rolekeeper.contracts.jobs import StageName, Status
from rolekeeper.jobs import claims
from rolekeeper.jobs.db import Database
from rolekeeper.jobs.holding import Lease, Worker, hold
from rolekeeper.jobs.queue import Hints
from services.trainer.launch import COMMAND, Program
from tests.integration.jobs.conftest import queue_job
from tests.integration.jobs.moves import finish, make_due, must_take, read
from tests.unit.services.trainer.program.faulty import Fault
from tests.unit.services.trainer.program.runs import HYPERPARAMETERS, make_spec, write_spec

BUDGET = 3


def test_a_poisoned_job_is_given_up(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "MAX_LOST", BUDGET)
    job_id = queue_job(database)
    finish(database, must_take(database, job_id))
    good = make_spec(tmp_path)
    hyper = HYPERPARAMETERS.model_copy(update={"seed": int(Fault.POISON)})
    poisoned = good.model_copy(update={"hyperparameters": hyper, "work_dir": str(tmp_path / "poisoned")})
    path = write_spec(poisoned, tmp_path / "poisoned.json")
    worker = Worker("w", database, Hints("redis://127.0.0.1:1/0"), Lease(60.0, 0.05))
    program = Program(60.0, (*COMMAND[:2], "tests.unit.services.trainer.program.faulty", "--threads", "1", "--serve"))
    try:
        for _ in range(BUDGET):
            assert read(database, job_id).status == Status.RUNNING
            make_due(database, job_id)
            with hold(worker, job_id, StageName.TRAIN) as holding:
                assert holding is not None
                program.run(path, holding.report, holding.check)
        result = program.run(write_spec(good, tmp_path / "good.json"), lambda _progress: None, lambda: None)
    finally:
        program.stop()
    job = read(database, job_id)
    assert (job.status, job.stages[1].attempt) == (Status.FAILED, BUDGET)
    assert job.error is not None
    assert job.error.code == "trainer_died"
    expected = f"given up after {BUDGET} interrupted attempts, {BUDGET} in a row without getting further: "
    assert job.error.message == expected + (
        "the training program died with status -9 (SIGKILL: the machine may be out of memory)"
    )
    assert result.num_steps > 1
