"""The conductor's tasks. A hint carries an id only: everything else is read from Postgres."""

from __future__ import annotations

import contextlib
import os
import socket
from functools import cache
from typing import Any

import structlog
from celery import shared_task
from celery.signals import worker_process_init

from rolekeeper.artifacts.store import Store
from rolekeeper.contracts.jobs import StageName
from rolekeeper.jobs.db import Database
from rolekeeper.jobs.draining import hear_of_shutdown, is_draining
from rolekeeper.jobs.holding import Holding, Lease, Worker, hold
from rolekeeper.jobs.queue import Hints, task_name
from rolekeeper.logs import configure_logging
from rolekeeper.policy import load_policy
from services.conductor import stages
from services.conductor.remote import Remote, Service
from services.conductor.settings import Settings

PROCESS = "conductor"


class Conductor:
    """What the tasks need, made once in each process that runs them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store = Store(settings.store_dir)
        self._policy = load_policy(settings.gate_policy)
        lease = Lease(settings.lease_seconds, settings.heartbeat_seconds)
        self._worker = Worker(
            name=f"{PROCESS}@{socket.gethostname()}:{os.getpid()}",
            database=Database(settings.database_url, patience=lease.patience),
            hints=Hints(settings.redis_url),
            lease=lease,
            is_draining=is_draining,
        )

    def run(self, job_id: str, stage: StageName) -> None:
        """Do a stage, if it is there to be done."""
        with (
            structlog.contextvars.bound_contextvars(job_id=job_id, stage=stage),
            hold(self._worker, job_id, stage) as holding,
        ):
            if holding is not None:
                with structlog.contextvars.bound_contextvars(request_id=holding.work.request_id):
                    self._work(holding, stage)

    def _work(self, holding: Holding, stage: StageName) -> None:
        structlog.get_logger().info("stage started", attempt=holding.held.attempt)
        with self._remote("evaluator", self._settings.evaluator_url, holding) as evaluator:
            if stage is StageName.EVALUATE:
                stages.evaluate(holding, self._store, evaluator, self._policy)
            else:
                stages.check_evaluation(holding.work, evaluator)
                with self._remote("scorer", self._settings.scorer_url, holding) as scorer:
                    stages.score(holding, self._store, scorer)
        structlog.get_logger().info("stage succeeded")

    def _remote(self, name: str, url: str, holding: Holding) -> contextlib.closing[Remote]:
        service = Service(name, url, self._settings.service_token, self._settings.stall_seconds)
        return contextlib.closing(Remote(service, holding.check, holding.work.request_id))


@cache
def conductor() -> Conductor:
    """This process's conductor."""
    return Conductor(Settings())


@worker_process_init.connect(weak=False)
def set_up_process(**_signal: Any) -> None:
    """Logs of a pool child look like everybody else's, and it hears when the worker shuts down."""
    configure_logging(PROCESS, Settings().log_level)
    hear_of_shutdown()


@shared_task(name=task_name(StageName.SCORE))
def score(job_id: str, **_hint: Any) -> None:
    """Look at the score stage of this job."""
    conductor().run(job_id, StageName.SCORE)


@shared_task(name=task_name(StageName.EVALUATE))
def evaluate(job_id: str, **_hint: Any) -> None:
    """Look at the evaluate stage of this job."""
    conductor().run(job_id, StageName.EVALUATE)
