"""The state machine of a job, as a pure table.

    pending   -> queued      the stage before succeeded
    pending   -> cancelled   the job was cancelled, or a stage before failed
    queued    -> running     a worker claimed the stage
    queued    -> cancelled   the job was cancelled before a worker came
    queued    -> failed      the stage was lost too often, or waited for a part that never came
    running   -> succeeded   the worker finished
    running   -> failed      trying again would not help, or the attempts are spent
    running   -> cancelled   the worker saw the cancel flag at its heartbeat
    running   -> queued      the worker was lost or interrupted, and attempts are left

Cancelling is a flag on the job, not a status: the worker that holds the stage answers it.
A job's own status is derived from its stages by `job_status`.
"""

from __future__ import annotations

from collections.abc import Mapping

from rolekeeper.contracts.jobs import TERMINAL, StageName, Status

PIPELINE = (StageName.SCORE, StageName.TRAIN, StageName.EVALUATE)

ALLOWED: Mapping[Status, frozenset[Status]] = {
    Status.PENDING: frozenset({Status.QUEUED, Status.CANCELLED}),
    Status.QUEUED: frozenset({Status.RUNNING, Status.CANCELLED, Status.FAILED}),
    Status.RUNNING: frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELLED, Status.QUEUED}),
    Status.SUCCEEDED: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELLED: frozenset(),
}


def is_allowed(before: Status, after: Status) -> bool:
    """Whether a stage may go from `before` to `after`."""
    return after in ALLOWED[before]


def next_stage(name: StageName) -> StageName | None:
    """The stage that follows, or None after the last."""
    position = PIPELINE.index(name) + 1
    return PIPELINE[position] if position < len(PIPELINE) else None


def later_stages(name: StageName) -> tuple[StageName, ...]:
    """All stages after `name`."""
    return PIPELINE[PIPELINE.index(name) + 1 :]


def first_statuses() -> dict[StageName, Status]:
    """Statuses of the stages of a new job."""
    return {name: Status.QUEUED if name == PIPELINE[0] else Status.PENDING for name in PIPELINE}


def job_status(stages: Mapping[StageName, Status], started: bool) -> Status:
    """Status of the job whose stages have these statuses. `started`: a worker has claimed a stage once."""
    statuses = set(stages.values())
    if Status.FAILED in statuses:
        return Status.FAILED
    if Status.CANCELLED in statuses:
        return Status.CANCELLED if statuses <= TERMINAL else Status.RUNNING
    if statuses == {Status.SUCCEEDED}:
        return Status.SUCCEEDED
    return Status.RUNNING if started else Status.QUEUED
