"""What is done to the stack. A fault is over when its function returns, but for what it killed: that is restarted."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import NamedTuple

import psutil
import redis

from local.postgres import Postgres
from local.redis_server import RedisServer
from local.stack import Stack


class Target(NamedTuple):
    """What is struck: the five processes of a stack, and its own PostgreSQL and Redis."""

    stack: Stack
    postgres: Postgres
    redis: RedisServer


Fault = Callable[[Target, Random], None]


PAUSE_SECONDS = (0.5, 8.0)
"""Time for which something stands still: shorter and longer than the leases of the stack, which are 6 s."""


def kill(name: str) -> Fault:
    """Kill a process as the kernel does when memory runs out."""
    return lambda target, _dice: target.stack.processes[name].kill()


def stand_still(name: str) -> Fault:
    """Stop a process and all that it started, as on a machine that swaps."""

    def run(target: Target, dice: Random) -> None:
        with standing_still(target.stack.processes[name].family()):
            time.sleep(dice.uniform(*PAUSE_SECONDS))

    return run


def kill_program(target: Target, _dice: Random) -> None:
    """Kill the training program alone."""
    for process in _programs(target.stack):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def stop_program(target: Target, dice: Random) -> None:
    """Have the training program stand still."""
    with standing_still(_programs(target.stack)):
        time.sleep(dice.uniform(*PAUSE_SECONDS))


def crash_postgres(target: Target, _dice: Random) -> None:
    """Stop PostgreSQL as a crash would, and start it again."""
    target.postgres.restart_immediately()


def stop_postgres(target: Target, dice: Random) -> None:
    """Have PostgreSQL stand still, connections and all."""
    with standing_still(target.postgres.process.family()):
        time.sleep(dice.uniform(*PAUSE_SECONDS))


def lose_hints(target: Target, _dice: Random) -> None:
    """Empty Redis."""
    target.redis.flush()


def restart_redis(target: Target, _dice: Random) -> None:
    """Kill Redis, which keeps nothing, and start it again."""
    target.redis.process.kill()
    target.redis.process.restart()


def stop_redis(target: Target, dice: Random) -> None:
    """Have Redis stand still."""
    with standing_still(target.redis.process.family()):
        time.sleep(dice.uniform(*PAUSE_SECONDS))


def demote_redis(target: Target, dice: Random) -> None:
    """Have Redis refuse writes, as a replica after a failover."""
    with redis.Redis.from_url(target.redis.url) as client:
        client.replicaof("127.0.0.1", "1")
        try:
            time.sleep(dice.uniform(*PAUSE_SECONDS))
        finally:
            client.replicaof("NO", "ONE")


def faults() -> dict[str, Fault]:
    """Every fault by its name."""
    names = ("gateway", "conductor", "trainer", "scorer", "evaluator")
    return {
        **{f"kill {name}": kill(name) for name in names},
        **{f"stop {name}": stand_still(name) for name in names},
        "kill the training program": kill_program,
        "stop the training program": stop_program,
        "crash postgres": crash_postgres,
        "stop postgres": stop_postgres,
        "lose the hints": lose_hints,
        "kill redis": restart_redis,
        "stop redis": stop_redis,
        "redis is read-only": demote_redis,
    }


@contextlib.contextmanager
def standing_still(processes: Sequence[psutil.Process]) -> Iterator[None]:
    """Stop processes for the block. Those that end meanwhile are none of its business."""
    try:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
        yield
    finally:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()


def revive(stack: Stack) -> None:
    """Start whatever has ended again, as Compose and Kubernetes do, however often it was killed."""
    for process in stack.processes.values():
        if not process.is_alive:
            process.restart()


def _programs(stack: Stack) -> list[psutil.Process]:
    found = []
    for process in stack.processes["trainer"].family():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if "services.trainer.program" in process.cmdline():
                found.append(process)
    return found
