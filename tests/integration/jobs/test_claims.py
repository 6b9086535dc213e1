"""A stage is held by one worker at a time, whatever workers, messages and leases do."""

from __future__ import annotations

import multiprocessing

import pytest

from rolekeeper.contracts.jobs import JobError, Progress, StageName, Status
from rolekeeper.errors import ClaimLost
from rolekeeper.jobs import claims, service, sweeps, versions
from rolekeeper.jobs.claims import Wish
from rolekeeper.jobs.db import Database
from rolekeeper.jobs.states import PIPELINE
from tests.integration.jobs.conftest import OWNER, queue_job
from tests.integration.jobs.moves import LEASE, expire, finish, make_due, must_take, read, take


def test_a_second_claim_gets_nothing(database: Database) -> None:
    job_id = queue_job(database)
    assert must_take(database, job_id).attempt == 1
    assert take(database, job_id) is None


def test_a_stage_waits_for_the_one_before(database: Database) -> None:
    job_id = queue_job(database)
    assert take(database, job_id, StageName.TRAIN) is None
    finish(database, must_take(database, job_id))
    assert must_take(database, job_id, StageName.TRAIN).attempt == 1


def test_an_unknown_job_is_nothing_to_do(database: Database) -> None:
    assert take(database, "job_0") is None


def test_three_finished_stages_are_a_finished_job(database: Database) -> None:
    job_id = queue_job(database)
    for stage in PIPELINE:
        finish(database, must_take(database, job_id, stage))
    job = read(database, job_id)
    assert job.status == Status.SUCCEEDED
    assert job.adapter_sha256 == "b" * 64
    assert job.finished_at is not None


def test_a_zombie_changes_nothing(database: Database) -> None:
    job_id = queue_job(database)
    zombie = must_take(database, job_id)
    expire(database, job_id)
    with pytest.raises(ClaimLost), database.transaction() as session:
        claims.heartbeat(session, zombie, LEASE, None)
    with database.transaction() as session:
        sweeps.heal(session, job_id)
    make_due(database, job_id)
    successor = must_take(database, job_id)
    assert successor.attempt == 2
    with pytest.raises(ClaimLost):
        finish(database, zombie)
    finish(database, successor)
    with pytest.raises(ClaimLost):
        finish(database, successor)


def test_progress_is_seen_and_changes_the_version(database: Database) -> None:
    job_id = queue_job(database)
    held = must_take(database, job_id)
    with database.transaction() as session:
        before = versions.job_version(session, OWNER, job_id)
        wish = claims.heartbeat(session, held, LEASE, Progress(done=1, total=2, unit="samples"))
    assert wish is Wish.GO_ON
    job = read(database, job_id)
    assert job.stages[0].progress == Progress(done=1, total=2, unit="samples")
    with database.transaction() as session:
        assert versions.job_version(session, OWNER, job_id) == before + 1


def test_a_final_failure_fails_the_job_and_says_why(database: Database) -> None:
    job_id = queue_job(database)
    held = must_take(database, job_id)
    with database.transaction() as session:
        claims.fail(session, held, JobError(code="diverged", message="the loss is NaN at step 3"))
    job = read(database, job_id)
    assert job.status == Status.FAILED
    assert job.error == JobError(code="diverged", message="the loss is NaN at step 3")
    assert [stage.status for stage in job.stages] == [Status.FAILED, Status.CANCELLED, Status.CANCELLED]


def test_a_stage_that_is_always_lost_is_given_up(database: Database) -> None:
    job_id = queue_job(database)
    for _ in range(claims.MAX_LOST):
        must_take(database, job_id)
        expire(database, job_id)
        with database.transaction() as session:
            assert sweeps.expired(session) == [job_id]
            sweeps.heal(session, job_id)
        make_due(database, job_id)
    job = read(database, job_id)
    assert job.status == Status.FAILED
    assert job.error is not None
    assert "given up after 5 interrupted attempts" in job.error.message


def test_cancelling_a_waiting_job_ends_it_at_once(database: Database) -> None:
    job_id = queue_job(database)
    with database.transaction() as session:
        assert service.request_cancel(session, OWNER, job_id).status == Status.CANCELLED
    assert take(database, job_id) is None


def test_cancelling_a_running_job_is_answered_by_its_worker(database: Database) -> None:
    job_id = queue_job(database)
    held = must_take(database, job_id)
    with database.transaction() as session:
        assert service.request_cancel(session, OWNER, job_id).status == Status.RUNNING
    with database.transaction() as session:
        assert claims.heartbeat(session, held, LEASE, None) is Wish.CANCEL
        claims.cancel(session, held)
    assert read(database, job_id).status == Status.CANCELLED


def test_a_stage_that_finishes_while_it_is_cancelled_ends_the_job(database: Database) -> None:
    job_id = queue_job(database)
    held = must_take(database, job_id)
    with database.transaction() as session:
        service.request_cancel(session, OWNER, job_id)
    finish(database, held)
    assert read(database, job_id).status == Status.CANCELLED


def test_a_lost_hint_is_due_again(database: Database) -> None:
    job_id = queue_job(database)
    with database.transaction() as session:
        assert sweeps.due_hints(session, PIPELINE, 0, resend_seconds=60) == []
        assert [hint.job_id for hint in sweeps.due_hints(session, PIPELINE, 0, resend_seconds=0)] == [job_id]
        assert sweeps.due_hints(session, (StageName.TRAIN,), 0, resend_seconds=0) == []


def test_hints_lost_under_a_backlog_are_due_and_no_others(database: Database) -> None:
    """Five stages wait, and the queue has three messages: the two that were hinted at longest ago are told again."""
    job_ids = [queue_job(database) for _ in range(5)]
    with database.transaction() as session:
        assert sweeps.due_hints(session, PIPELINE, 5, resend_seconds=0) == []
        assert [hint.job_id for hint in sweeps.due_hints(session, PIPELINE, 3, resend_seconds=0)] == job_ids[:2]
    with database.transaction() as session:
        assert [hint.job_id for hint in sweeps.due_hints(session, PIPELINE, 3, resend_seconds=0)] == job_ids[2:4]
    with database.transaction() as session:
        assert sweeps.due_hints(session, PIPELINE, 9, resend_seconds=0) == []


def _claim_all(url: str, job_ids: list[str], answers: multiprocessing.Queue[list[str]]) -> None:
    database = Database(url)
    answers.put([job_id for job_id in job_ids if take(database, job_id) is not None])
    database.dispose()


def test_two_processes_never_claim_the_same_stage(database: Database, database_url: str) -> None:
    job_ids = [queue_job(database) for _ in range(30)]
    context = multiprocessing.get_context("spawn")
    answers: multiprocessing.Queue[list[str]] = context.Queue()
    workers = [context.Process(target=_claim_all, args=(database_url, job_ids, answers)) for _ in range(2)]
    for worker in workers:
        worker.start()
    taken = [job_id for _ in workers for job_id in answers.get(timeout=60)]
    for worker in workers:
        worker.join(timeout=60)
    assert sorted(taken) == sorted(job_ids)
