"""Run the trainer: `python -m services.trainer`."""

from __future__ import annotations

from rolekeeper.jobs.draining import drain_at_shutdown
from rolekeeper.jobs.queue import make_celery
from rolekeeper.logs import configure_logging
from services.trainer.settings import Settings
from services.trainer.tasks import PROCESS


def main() -> None:
    """Start the Celery worker and stay. One job at a time: it has the machine's accelerators to itself."""
    settings = Settings()
    configure_logging(PROCESS, settings.log_level)
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
