"""The trainer's task. A hint carries an id only: everything else is read from Postgres."""

from __future__ import annotations

import os
import socket
from functools import cache
from typing import Any

import structlog
from celery import shared_task
from celery.signals import worker_process_init, worker_process_shutdown

from rolekeeper.artifacts.store import Store
from rolekeeper.contracts.jobs import StageName
from rolekeeper.jobs.db import Database
from rolekeeper.jobs.draining import hear_of_shutdown, is_draining
from rolekeeper.jobs.holding import Lease, Worker, hold
from rolekeeper.jobs.queue import Hints, task_name
from rolekeeper.logs import configure_logging
from services.trainer.launch import Program
from services.trainer.settings import Settings
from services.trainer.stage import train as run_train

PROCESS = "trainer"


class Trainer:
    """What the task needs, made once; the training program stays between jobs."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store = Store(settings.store_dir)
        lease = Lease(settings.lease_seconds, settings.heartbeat_seconds)
        self._worker = Worker(
            name=f"{PROCESS}@{socket.gethostname()}:{os.getpid()}",
            database=Database(settings.database_url, pool_size=2, patience=lease.patience),
            hints=Hints(settings.redis_url),
            lease=lease,
            is_draining=is_draining,
        )
        self.program = Program(
            settings.drain_seconds,
            num_processes=settings.train_processes,
            zero_stage=settings.train_zero_stage,
            matmul_precision=settings.matmul_precision,
            stall_seconds=settings.train_stall_seconds,
        )

    def run(self, job_id: str) -> None:
        """Train this job's adapter, if that is there to be done."""
        with (
            structlog.contextvars.bound_contextvars(job_id=job_id, stage=StageName.TRAIN),
            hold(self._worker, job_id, StageName.TRAIN) as holding,
        ):
            if holding is not None:
                with structlog.contextvars.bound_contextvars(request_id=holding.work.request_id):
                    structlog.get_logger().info("stage started", attempt=holding.held.attempt)
                    run_train(holding, self._store, self._settings, self.program)
                    structlog.get_logger().info("stage succeeded")


@cache
def trainer() -> Trainer:
    """This process's trainer."""
    return Trainer(Settings())


@worker_process_init.connect(weak=False)
def set_up_process(**_signal: Any) -> None:
    """Logs of the pool child look like everybody else's, and it hears when the worker shuts down."""
    configure_logging(PROCESS, Settings().log_level)
    hear_of_shutdown()


@worker_process_shutdown.connect(weak=False)
def stop_program(**_signal: Any) -> None:
    """The training program goes with the pool child."""
    if trainer.cache_info().currsize:
        trainer().program.stop()


@shared_task(name=task_name(StageName.TRAIN))
def train(job_id: str, **_hint: Any) -> None:
    """Look at the train stage of this job."""
    trainer().run(job_id)
