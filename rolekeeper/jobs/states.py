"""The state machine of a job, as a pure table.

A stage:

    pending   -> queued      the stage before succeeded
    pending   -> cancelled   the job was cancelled, or a stage before failed
    queued    -> running     a worker claimed the stage
    queued    -> cancelled   the job was cancelled before a worker came
    queued    -> failed      the stage was lost too often, or the deadline of the job is over
    running   -> succeeded   the worker finished
    running   -> failed      trying again would not help, or the attempts are spent
    running   -> cancelled   the worker saw the cancel flag at its heartbeat
    running   -> queued      the worker was lost or interrupted, and attempts are left
    running   -> queued      the job was paused, or the worker shut down; this costs no attempt

A job, whose status `job_status` derives from its stages and from whether it is to be paused:

    queued    -> running     a worker claimed the first stage
    queued    -> paused      it was paused before a worker came
    running   -> paused      it was paused, and the worker that held its stage has put it back
    paused    -> queued      it was resumed, and no worker has ever claimed a stage
    paused    -> running     it was resumed
    any       -> succeeded, failed, cancelled, as its stages do; a paused job only -> cancelled

Cancelling and pausing are flags on the job, not moves: the worker that holds the stage answers them at its heartbeat,
and no stage of a flagged job is claimed.
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

JOB_ALLOWED: Mapping[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset({Status.RUNNING, Status.PAUSED, *TERMINAL}),
    Status.RUNNING: frozenset({Status.PAUSED, *TERMINAL}),
    Status.PAUSED: frozenset({Status.QUEUED, Status.RUNNING, Status.CANCELLED}),
    **{status: frozenset() for status in TERMINAL},
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


def job_status(stages: Mapping[StageName, Status], started: bool, paused: bool = False) -> Status:
    """Status of the job whose stages have these statuses.

    `started`: a worker has claimed a stage once. `paused`: the job is to be paused.
    """
    statuses = set(stages.values())
    if Status.FAILED in statuses:
        return Status.FAILED
    if Status.CANCELLED in statuses:
        return Status.CANCELLED if statuses <= TERMINAL else Status.RUNNING
    if statuses == {Status.SUCCEEDED}:
        return Status.SUCCEEDED
    if paused and Status.RUNNING not in statuses:
        return Status.PAUSED
    return Status.RUNNING if started else Status.QUEUED
