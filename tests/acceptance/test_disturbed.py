"""Whatever dies in the middle, a job ends with the one adapter that the undisturbed job has, byte for byte."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest
import redis

from local.stack import Stack
from rolekeeper.client.client import Client
from rolekeeper.client.errors import ApiError
from rolekeeper.contracts.jobs import Job, StageName, Status
from tests.acceptance.conftest import LEASE_SECONDS, STALL_SECONDS, Platform, running, stage


def assert_same_adapter(job: Job, undisturbed: Job) -> None:
    assert job.status == Status.SUCCEEDED, job.error
    assert job.adapter_sha256 == undisturbed.adapter_sha256


def test_the_training_program_is_killed(platform: Platform, undisturbed: Job) -> None:
    job_id = platform.submit().id
    platform.wait_training(job_id)
    platform.training_program().kill()
    job = platform.wait_end(job_id)
    assert_same_adapter(job, undisturbed)
    assert stage(job, StageName.TRAIN).attempt == 2


def test_the_trainer_is_killed_with_all_that_it_started(platform: Platform, undisturbed: Job) -> None:
    job_id = platform.submit().id
    platform.wait_training(job_id)
    program = platform.training_program()
    platform.stack.processes["trainer"].kill()
    program.wait(timeout=5)
    job = platform.wait_end(job_id)
    assert_same_adapter(job, undisturbed)
    assert stage(job, StageName.TRAIN).attempt == 2


def test_redis_is_flushed_while_a_stage_runs(platform: Platform, stack: Stack, undisturbed: Job) -> None:
    job_id = platform.submit().id
    platform.wait_training(job_id)
    assert stack.redis is not None
    stack.redis.flush()
    job = platform.wait_end(job_id)
    assert_same_adapter(job, undisturbed)
    assert stage(job, StageName.TRAIN).attempt == 1


def test_redis_is_flushed_while_a_stage_waits(platform: Platform, stack: Stack, undisturbed: Job) -> None:
    trainer = stack.processes["trainer"]
    family = trainer.family()
    for process in family:
        process.suspend()
    try:
        job_id = platform.submit().id
        platform.wait_until(job_id, lambda job: stage(job, StageName.TRAIN).status == Status.QUEUED)
        assert stack.redis is not None
        stack.redis.flush()
    finally:
        for process in family:
            process.resume()
    assert_same_adapter(platform.wait_end(job_id), undisturbed)


def test_redis_is_read_only_for_a_while(platform: Platform, stack: Stack, undisturbed: Job) -> None:
    """As after a failover: both workers wait, and neither ends nor lets go of its stage."""
    job_id = platform.submit().id
    platform.wait_training(job_id)
    assert stack.redis is not None
    with redis.Redis.from_url(stack.redis.url) as client:
        client.replicaof("127.0.0.1", "1")
        try:
            time.sleep(5)
        finally:
            client.replicaof("NO", "ONE")
    assert all(stack.processes[name].is_alive for name in ("conductor", "trainer"))
    job = platform.wait_end(job_id)
    assert_same_adapter(job, undisturbed)
    assert stage(job, StageName.TRAIN).attempt == 1


def test_postgres_is_restarted(platform: Platform, stack: Stack, undisturbed: Job) -> None:
    job_id = platform.submit().id
    platform.wait_training(job_id)
    assert stack.postgres is not None
    stack.postgres.restart_immediately()
    assert_same_adapter(platform.wait_end(job_id), undisturbed)
    stack.wait_ready()


def test_the_scorer_is_away(platform: Platform, stack: Stack, undisturbed: Job) -> None:
    stack.processes["scorer"].kill()
    job_id = platform.submit().id
    platform.wait_until(job_id, running(StageName.SCORE))
    assert_same_adapter(platform.wait_end(job_id), undisturbed)


def test_the_evaluator_is_killed(platform: Platform, stack: Stack, undisturbed: Job) -> None:
    evaluator = stack.processes["evaluator"]
    job_id = platform.submit().id
    platform.wait_until(job_id, running(StageName.TRAIN))  # before it is scored, the evaluator is asked for the suites
    for process in evaluator.family():
        process.suspend()  # so that the stage can't be over before the kill
    platform.wait_until(job_id, running(StageName.EVALUATE))
    evaluator.kill()
    job = platform.wait_end(job_id)
    assert_same_adapter(job, undisturbed)
    assert platform.client.report(job_id).measures == platform.client.report(undisturbed.id).measures


def test_the_evaluator_hangs(platform: Platform, stack: Stack, client: Client, undisturbed: Job) -> None:
    evaluator = stack.processes["evaluator"]
    job_id = platform.submit().id
    platform.wait_until(job_id, running(StageName.TRAIN))
    with standing_still(evaluator.family()):
        platform.wait_until(job_id, running(StageName.EVALUATE))
        platform.wait_until(job_id, lambda job: stage(job, StageName.EVALUATE).status == Status.QUEUED)
    job = platform.wait_end(job_id)
    assert_same_adapter(job, undisturbed)
    assert client.report(job_id).measures == client.report(undisturbed.id).measures
    (retried,) = [event for event in client.events(job_id) if event.type == "evaluate.retried"]
    assert f"the evaluator hangs: it made no progress for {STALL_SECONDS} s" in retried.message


def test_a_job_is_cancelled_while_the_evaluator_hangs(platform: Platform, stack: Stack, client: Client) -> None:
    job_id = platform.submit().id
    platform.wait_until(job_id, running(StageName.TRAIN))
    with standing_still(stack.processes["evaluator"].family()):
        platform.wait_until(job_id, running(StageName.EVALUATE))
        client.cancel(job_id)
        asked_at = time.monotonic()
        assert platform.wait_end(job_id).status == Status.CANCELLED
        assert time.monotonic() - asked_at < LEASE_SECONDS + 10


def test_the_training_program_hangs(platform: Platform, client: Client, undisturbed: Job) -> None:
    job_id = platform.submit().id
    platform.wait_training(job_id)
    platform.training_program().suspend()
    job = platform.wait_end(job_id)
    assert_same_adapter(job, undisturbed)
    (retried,) = [event for event in client.events(job_id) if event.type == "train.retried"]
    assert f"the training program hung: it made no progress for {STALL_SECONDS} s" in retried.message


def test_a_job_is_cancelled_while_the_training_program_hangs(platform: Platform, client: Client) -> None:
    job_id = platform.submit().id
    platform.wait_training(job_id)
    program = platform.training_program()
    program.suspend()
    client.cancel(job_id)
    asked_at = time.monotonic()
    assert platform.wait_end(job_id).status == Status.CANCELLED
    assert time.monotonic() - asked_at < LEASE_SECONDS + 10
    assert not program.is_running()


@contextmanager
def standing_still(processes: list[psutil.Process]) -> Iterator[None]:
    """Stop processes for the block, as on a machine that swaps."""
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


def test_the_conductor_is_killed(platform: Platform, stack: Stack, undisturbed: Job) -> None:
    stack.processes["scorer"].kill()  # so that the stage can't be over before the kill
    job_id = platform.submit().id
    platform.wait_until(job_id, running(StageName.SCORE))
    stack.processes["conductor"].kill()
    job = platform.wait_end(job_id)
    assert_same_adapter(job, undisturbed)
    assert stage(job, StageName.SCORE).attempt == 2


def test_a_cancelled_job_has_no_adapter(platform: Platform, client: Client) -> None:
    job_id = platform.submit().id
    platform.wait_training(job_id)
    client.cancel(job_id)
    asked_at = time.monotonic()
    job = platform.wait_end(job_id)
    assert job.status == Status.CANCELLED
    assert time.monotonic() - asked_at < LEASE_SECONDS + 10
    assert job.adapter_sha256 is None
    with pytest.raises(ApiError, match="report") as refusal:
        client.report(job_id)
    assert refusal.value.status == 409


def test_a_paused_job_makes_room_for_another_and_goes_on(platform: Platform, client: Client, undisturbed: Job) -> None:
    job_id = platform.submit().id
    platform.wait_training(job_id)
    client.pause(job_id)
    paused = platform.wait_until(job_id, lambda job: job.status == Status.PAUSED)
    assert stage(paused, StageName.TRAIN).status == Status.QUEUED
    other = platform.submit().id
    platform.wait_training(other)
    client.cancel(other)
    platform.wait_end(other)
    assert client.job(job_id) == paused
    client.resume(job_id)
    assert_same_adapter(platform.wait_end(job_id), undisturbed)
    assert kinds(client, job_id, "train") == ["train.started", "train.paused", "train.started", "train.succeeded"]


def test_a_trainer_that_is_told_to_stop_puts_its_stage_back(
    platform: Platform, stack: Stack, client: Client, undisturbed: Job
) -> None:
    job_id = platform.submit().id
    platform.wait_training(job_id)
    trainer = stack.processes["trainer"]
    trainer.ask_to_stop()
    deadline = time.monotonic() + 60
    while trainer.is_alive:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    job = client.job(job_id)
    assert stage(job, StageName.TRAIN).status == Status.QUEUED
    assert_same_adapter(platform.wait_end(job_id), undisturbed)
    assert kinds(client, job_id, "train") == ["train.started", "train.drained", "train.started", "train.succeeded"]


def kinds(client: Client, job_id: str, name: str) -> list[str]:
    """What happened to a stage."""
    return [event.type for event in client.events(job_id) if event.type.startswith(f"{name}.")]


def test_the_trainer_hangs_longer_than_its_lease(platform: Platform, undisturbed: Job) -> None:
    job_id = platform.submit().id
    platform.wait_training(job_id)
    # The whole worker stands still, as on a machine that swaps: its lease runs out and its claim is fenced off.
    family = platform.stack.processes["trainer"].family()
    for process in family:
        process.send_signal(signal.SIGSTOP)
    time.sleep(LEASE_SECONDS + 2)
    for process in family:
        process.send_signal(signal.SIGCONT)
    job = platform.wait_end(job_id)
    assert_same_adapter(job, undisturbed)
    assert stage(job, StageName.TRAIN).attempt >= 2
