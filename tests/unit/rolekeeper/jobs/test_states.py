"""The state machine is a table, and the table is whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolekeeper.contracts.jobs import TERMINAL, StageName, Status
from rolekeeper.jobs import states

STAGES = st.fixed_dictionaries({name: st.sampled_from(Status) for name in states.PIPELINE})


def test_every_status_has_its_moves() -> None:
    assert set(states.ALLOWED) == set(Status)


def test_the_end_is_the_end() -> None:
    assert all(not states.ALLOWED[status] for status in TERMINAL)
    assert all(states.ALLOWED[status] for status in set(Status) - TERMINAL)


def test_every_status_is_reached() -> None:
    reached = {status for moves in states.ALLOWED.values() for status in moves} | {Status.PENDING}
    assert reached == set(Status)


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


@given(STAGES, st.booleans())
def test_a_job_is_never_pending(stages: dict[StageName, Status], started: bool) -> None:
    assert states.job_status(stages, started) != Status.PENDING


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
