"""A paused job holds no worker, loses nothing and goes on; a job past its deadline ends; lost attempts are counted."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select, update

from rolekeeper.contracts.jobs import JobCreate, JobError, StageName, Status
from rolekeeper.errors import Conflict, JobPaused, StorageFull, WorkerDraining
from rolekeeper.jobs import claims, pausing, service, sweeps
from rolekeeper.jobs.claims import Wish
from rolekeeper.jobs.db import Database
from rolekeeper.jobs.rows import StageRow
from rolekeeper.jobs.states import PIPELINE
from tests.integration.jobs.conftest import OWNER, queue_job
from tests.integration.jobs.moves import (
    beat,
    expire,
    finish,
    make_due,
    must_take,
    pass_deadline,
    read,
    sweep,
    take,
)


def pause(database: Database, job_id: str) -> Status:
    with database.transaction() as session:
        return pausing.request_pause(session, OWNER, job_id).status


def resume(database: Database, job_id: str) -> Status:
    with database.transaction() as session:
        return pausing.request_resume(session, OWNER, job_id).status


def kinds(database: Database, job_id: str) -> list[str]:
    with database.transaction() as session:
        return [event.type for event in service.list_events(session, OWNER, job_id, 0, 100).data]


def test_a_waiting_job_is_paused_at_once_and_nobody_takes_it(database: Database) -> None:
    job_id = queue_job(database)
    assert pause(database, job_id) == pause(database, job_id) == Status.PAUSED
    assert take(database, job_id) is None
    with database.transaction() as session:
        assert sweeps.due_hints(session, PIPELINE, 0, resend_seconds=0) == []
    assert resume(database, job_id) == resume(database, job_id) == Status.QUEUED
    assert must_take(database, job_id).attempt == 1
    assert kinds(database, job_id) == [
        "job.created",
        "job.pause_requested",
        "job.paused",
        "job.resumed",
        "score.started",
    ]


def test_a_running_stage_hears_it_and_makes_room(database: Database) -> None:
    job_id = queue_job(database)
    finish(database, must_take(database, job_id))
    held = must_take(database, job_id, StageName.TRAIN)
    assert pause(database, job_id) == Status.RUNNING
    assert beat(database, held, done=7) is Wish.PAUSE
    with database.transaction() as session:
        claims.hand_back(session, held, JobPaused("put back"))
    job = read(database, job_id)
    assert job.status == Status.PAUSED
    assert job.stages[1].status == Status.QUEUED
    assert job.stages[1].progress is not None
    assert job.stages[1].progress.done == 7
    assert resume(database, job_id) == Status.RUNNING
    assert must_take(database, job_id, StageName.TRAIN).attempt == 2


def test_a_pause_that_is_taken_back_in_time_changes_nothing(database: Database) -> None:
    job_id = queue_job(database)
    held = must_take(database, job_id)
    pause(database, job_id)
    resume(database, job_id)
    assert beat(database, held) is Wish.GO_ON


def test_a_stage_that_finishes_while_it_is_paused_is_the_last_for_now(database: Database) -> None:
    job_id = queue_job(database)
    held = must_take(database, job_id)
    pause(database, job_id)
    finish(database, held)
    assert read(database, job_id).status == Status.PAUSED
    assert take(database, job_id, StageName.TRAIN) is None


def test_a_paused_job_can_be_cancelled_and_an_ended_one_not_be_paused(database: Database) -> None:
    job_id = queue_job(database)
    pause(database, job_id)
    with database.transaction() as session:
        assert service.request_cancel(session, OWNER, job_id).status == Status.CANCELLED
    for wish in (pause, resume):
        with pytest.raises(Conflict, match="has cancelled already"):
            wish(database, job_id)


def test_a_job_that_is_being_cancelled_is_not_paused(database: Database) -> None:
    job_id = queue_job(database)
    held = must_take(database, job_id)
    with database.transaction() as session:
        service.request_cancel(session, OWNER, job_id)
    with pytest.raises(Conflict, match="is being cancelled"):
        pause(database, job_id)
    with database.transaction() as session:
        claims.hand_back(session, held, WorkerDraining("its worker shuts down"))
    assert read(database, job_id).status == Status.CANCELLED


def test_a_stage_that_makes_room_loses_no_attempt(database: Database) -> None:
    job_id = queue_job(database)
    for _ in range(2 * claims.MAX_LOST):
        held = must_take(database, job_id)
        with database.transaction() as session:
            claims.hand_back(session, held, WorkerDraining("its worker shuts down"))
    assert read(database, job_id).status == Status.RUNNING


def lose(database: Database, job_id: str, done: int | None) -> Status:
    """One attempt that is lost after so much progress."""
    beat(database, must_take(database, job_id), done)
    expire(database, job_id)
    sweep(database)
    make_due(database, job_id)
    return read(database, job_id).status


def test_attempts_that_get_further_are_not_held_against_a_stage(database: Database) -> None:
    job_id = queue_job(database)
    for done in range(1, claims.MAX_LOST_IN_TOTAL):
        assert lose(database, job_id, done) == Status.RUNNING
    assert lose(database, job_id, 100) == Status.FAILED
    assert f"given up after {claims.MAX_LOST_IN_TOTAL} interrupted attempts" in error_of(database, job_id).message


def test_a_stage_that_always_dies_at_the_same_place_is_given_up(database: Database) -> None:
    job_id = queue_job(database)
    seen = [lose(database, job_id, done) for done in (5, 9, 9, None, 3, 9)]
    assert seen == [Status.RUNNING] * 5 + [Status.FAILED]
    error = error_of(database, job_id)
    assert error.code == "worker_lost"
    assert "given up after 6 interrupted attempts, 5 in a row without getting further: worker" in error.message


def error_of(database: Database, job_id: str) -> JobError:
    error = read(database, job_id).error
    assert error is not None
    return error


def queue_with_deadline(database: Database) -> str:
    character = read(database, queue_job(database)).character
    order = JobCreate(character=character, base_model="tiny", deadline_seconds=3600)
    with database.transaction() as session:
        return service.create_job(session, OWNER, order, request_id=None).id


def test_a_job_has_its_deadline(database: Database) -> None:
    job = read(database, queue_with_deadline(database))
    assert job.deadline_at is not None
    assert (job.deadline_at - job.created_at).total_seconds() == pytest.approx(3600, abs=5)
    sweep(database)
    assert read(database, job.id).status == Status.QUEUED
    assert read(database, queue_job(database)).deadline_at is None


def test_a_waiting_job_fails_past_its_deadline(database: Database) -> None:
    job_id = queue_with_deadline(database)
    pass_deadline(database, job_id)
    sweep(database)
    error = error_of(database, job_id)
    assert error.code == "deadline_exceeded"
    assert "was not done by its deadline, 20" in error.message
    assert "deadline_seconds" in error.message


def test_a_running_stage_hears_of_the_deadline(database: Database) -> None:
    job_id = queue_with_deadline(database)
    held = must_take(database, job_id)
    assert beat(database, held) is Wish.GO_ON
    pass_deadline(database, job_id)
    sweep(database)
    assert read(database, job_id).status == Status.RUNNING
    assert beat(database, held) is Wish.GIVE_UP


def test_the_deadline_waits_for_a_paused_job(database: Database) -> None:
    job_id = queue_with_deadline(database)
    before = read(database, job_id).deadline_at
    pause(database, job_id)
    resume(database, job_id)
    after = read(database, job_id).deadline_at
    assert before is not None
    assert after is not None
    assert after > before
    pause(database, job_id)
    pass_deadline(database, job_id)
    sweep(database)
    assert read(database, job_id).status == Status.PAUSED


def test_a_stage_waits_for_room_at_no_cost(database: Database) -> None:
    job_id = queue_job(database)
    held = must_take(database, job_id)
    with database.transaction() as session:
        claims.hand_back(session, held, StorageFull("no room"))
    assert take(database, job_id) is None
    assert kinds(database, job_id)[-1] == "score.storage_full"
    with database.transaction() as session:
        session.execute(update(StageRow).values(not_before=func.clock_timestamp()))
    again = must_take(database, job_id)
    with database.transaction() as session:
        assert [row.lost for row in session.scalars(select(StageRow).where(StageRow.job_id == job_id))] == [0, 0, 0]
    finish(database, again)
