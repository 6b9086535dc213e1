"""Run the trainer: `python -m services.trainer`."""

from __future__ import annotations

from typing import Any

from celery.signals import worker_ready

from rolekeeper.jobs.db import Database
from rolekeeper.jobs.draining import drain_at_shutdown
from rolekeeper.jobs.queue import make_celery
from rolekeeper.jobs.rounds import start_rounds
from rolekeeper.logs import configure_logging
from services.trainer.leftovers import ROUND_SECONDS, Leftovers
from services.trainer.settings import Settings
from services.trainer.tasks import PROCESS


def main() -> None:
    """Start the Celery worker, and what tidies up beside it, and stay.

    One job at a time: it has the machine's accelerators to itself.
    """
    settings = Settings()
    configure_logging(PROCESS, settings.log_level)

    def start_leftovers(**_signal: Any) -> None:
        leftovers = Leftovers(settings.work_dir, Database(settings.database_url, pool_size=1))
        start_rounds("leftovers", leftovers.remove, ROUND_SECONDS)

    worker_ready.connect(start_leftovers, weak=False)
    drain_at_shutdown()
    app = make_celery(settings.redis_url, "services.trainer.tasks")
    app.worker_main(
        [
            "worker",
            "--concurrency=1",
            f"--queues={PROCESS}",
            f"--hostname={PROCESS}@%h",
            f"--loglevel={settings.log_level}",
            "--without-gossip",
            "--without-mingle",
        ]
    )


if __name__ == "__main__":
    main()
