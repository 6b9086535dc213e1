"""Run the conductor: `python -m services.conductor`."""

from __future__ import annotations

from typing import Any

from celery.signals import worker_ready

from rolekeeper.jobs.draining import drain_at_shutdown
from rolekeeper.jobs.queue import make_celery
from rolekeeper.jobs.rounds import start_rounds
from rolekeeper.logs import configure_logging
from rolekeeper.policy import load_policy
from services.conductor.settings import Settings
from services.conductor.sweeper import Sweeper
from services.conductor.tasks import PROCESS


def main() -> None:
    """Start the Celery worker, and the sweeper beside it, and stay."""
    settings = Settings()
    configure_logging(PROCESS, settings.log_level)
    load_policy(settings.gate_policy)  # one that can't be used is heard of before there is a job

    def start_sweeper(**_signal: Any) -> None:
        start_rounds("sweeper", Sweeper(settings).sweep, settings.sweep_seconds)

    worker_ready.connect(start_sweeper, weak=False)
    drain_at_shutdown()
    app = make_celery(settings.redis_url, "services.conductor.tasks")
    app.worker_main(
        [
            "worker",
            f"--concurrency={settings.conductor_concurrency}",
            f"--queues={PROCESS}",
            f"--hostname={PROCESS}@%h",
            f"--loglevel={settings.log_level}",
            "--without-gossip",
            "--without-mingle",
        ]
    )


if __name__ == "__main__":
    main()
