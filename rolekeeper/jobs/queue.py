"""Hints: Celery messages that only say "look at stage S of job J". Losing or doubling one is harmless."""

from __future__ import annotations

from typing import Any

import redis
import structlog
from celery import Celery
from kombu.entity import Queue
from kombu.exceptions import OperationalError

from rolekeeper.contracts.jobs import StageName

QUEUES = {StageName.SCORE: "conductor", StageName.TRAIN: "trainer", StageName.EVALUATE: "conductor"}
SOCKET_OPTIONS: dict[str, Any] = {
    "socket_connect_timeout": 2,
    "socket_timeout": 15,
    "socket_keepalive": True,
    "health_check_interval": 15,
    "retry_on_timeout": True,
}

# A request that queues a job must not wait for a Redis that is away.
GIVE_UP_AT_ONCE: dict[str, Any] = {"max_retries": 0, "interval_start": 0, "interval_step": 0, "interval_max": 0}


def task_name(stage: StageName) -> str:
    """Name of the Celery task of a stage."""
    return f"rolekeeper.{stage}"


def make_celery(redis_url: str, *task_modules: str) -> Celery:
    """A Celery app without results, without prefetching and with early acknowledgement: Postgres keeps the state.

    `task_modules` hold the tasks of a worker; its pool children, which are spawned, import them by these names.
    """
    app = Celery("rolekeeper", broker=redis_url, include=list(task_modules))
    app.conf.update(
        task_queues=[Queue(queue) for queue in sorted(set(QUEUES.values()))],
        task_default_queue="conductor",
        task_create_missing_queues=False,
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_pool_start_method="spawn",
        worker_proc_alive_timeout=60,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        broker_transport="rolekeeper.jobs.broker:PatientTransport",
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={"global_keyprefix": "rolekeeper:", **SOCKET_OPTIONS},
    )
    return app


class Hints:
    """Sends hints, best effort: what does not arrive is sent again by the sweeper."""

    def __init__(self, redis_url: str) -> None:
        self._celery = make_celery(redis_url)
        self._celery.conf.broker_transport_options |= GIVE_UP_AT_ONCE
        self._redis = redis.Redis.from_url(redis_url, socket_connect_timeout=1, socket_timeout=1)

    def send(self, stage: StageName, job_id: str, request_id: str | None = None) -> bool:
        """Tell a worker to look at this stage; gives whether the message left."""
        try:
            self._celery.send_task(
                task_name(stage),
                args=[job_id],
                kwargs={"request_id": request_id},
                queue=QUEUES[stage],
                retry=False,
                ignore_result=True,
            )
        except (OperationalError, redis.RedisError, OSError) as error:
            structlog.get_logger().warning("hint not sent", stage=stage, job_id=job_id, reason=str(error))
            return False
        return True

    def num_messages(self) -> dict[tuple[StageName, ...], int]:
        """How many messages each queue holds, by the stages that it is for. Empty while Redis does not answer."""
        try:
            lengths = {queue: self._redis.llen(f"rolekeeper:{queue}") for queue in sorted(set(QUEUES.values()))}
        except redis.RedisError as error:
            structlog.get_logger().warning("Redis does not answer", reason=str(error))
            return {}
        return {tuple(stage for stage in QUEUES if QUEUES[stage] == queue): lengths[queue] for queue in lengths}

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()
        self._celery.close()
