"""The state machine is a table, and the table is whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolekeeper.contracts.jobs import TERMINAL, StageName, Status
from rolekeeper.jobs import states

STAGE_STATUSES = sorted(set(Status) - {Status.PAUSED})
STAGES = st.fixed_dictionaries({name: st.sampled_from(STAGE_STATUSES) for name in states.PIPELINE})


def test_every_status_has_its_moves() -> None:
    assert set(states.ALLOWED) == set(STAGE_STATUSES)
    assert set(states.JOB_ALLOWED) == set(Status) - {Status.PENDING}


def test_the_end_is_the_end() -> None:
    for table in (states.ALLOWED, states.JOB_ALLOWED):
        assert {status for status, moves in table.items() if not moves} == TERMINAL


def test_every_status_is_reached() -> None:
    for table, first in ((states.ALLOWED, Status.PENDING), (states.JOB_ALLOWED, Status.QUEUED)):
        assert {status for moves in table.values() for status in moves} | {first} == set(table)


@pytest.mark.parametrize(
    ("before", "after", "allowed"),
    [
        (Status.PENDING, Status.RUNNING, False),
        (Status.QUEUED, Status.SUCCEEDED, False),
        (Status.RUNNING, Status.QUEUED, True),
        (Status.SUCCEEDED, Status.QUEUED, False),
    ],
)
def test_moves(before: Status, after: Status, allowed: bool) -> None:
    assert states.is_allowed(before, after) is allowed


def test_the_pipeline_is_a_line() -> None:
    assert states.next_stage(StageName.SCORE) == StageName.TRAIN
    assert states.next_stage(StageName.EVALUATE) is None
    assert states.later_stages(StageName.SCORE) == (StageName.TRAIN, StageName.EVALUATE)
    assert states.first_statuses() == {
        StageName.SCORE: Status.QUEUED,
        StageName.TRAIN: Status.PENDING,
        StageName.EVALUATE: Status.PENDING,
    }


@given(STAGES, st.booleans(), st.booleans())
def test_a_job_is_never_pending(stages: dict[StageName, Status], started: bool, paused: bool) -> None:
    assert states.job_status(stages, started, paused) != Status.PENDING


@given(STAGES, st.booleans())
def test_a_job_is_paused_only_if_it_could_go_on_and_no_worker_holds_it(
    stages: dict[StageName, Status], started: bool
) -> None:
    unpaused = states.job_status(stages, started)
    is_free = unpaused not in TERMINAL and Status.RUNNING not in stages.values()
    is_stopping = Status.CANCELLED in stages.values()
    expected = Status.PAUSED if is_free and not is_stopping else unpaused
    assert states.job_status(stages, started, paused=True) == expected


@given(STAGES, st.booleans())
def test_a_job_succeeds_only_with_all_its_stages(stages: dict[StageName, Status], started: bool) -> None:
    succeeded = states.job_status(stages, started) == Status.SUCCEEDED
    assert succeeded == (set(stages.values()) == {Status.SUCCEEDED})


@given(STAGES, st.booleans())
def test_a_failed_stage_fails_the_job(stages: dict[StageName, Status], started: bool) -> None:
    assert (Status.FAILED in stages.values()) == (states.job_status(stages, started) == Status.FAILED)


def test_a_new_job_is_queued_until_a_worker_comes() -> None:
    assert states.job_status(states.first_statuses(), started=False) == Status.QUEUED
    assert states.job_status(states.first_statuses(), started=True) == Status.RUNNING


def test_a_job_that_waits_for_its_worker_to_stop_still_runs() -> None:
    stages = {
        StageName.SCORE: Status.SUCCEEDED,
        StageName.TRAIN: Status.RUNNING,
        StageName.EVALUATE: Status.CANCELLED,
    }
    assert states.job_status(stages, started=True) == Status.RUNNING
