"""Run the evaluator: `python -m services.evaluator`."""

from __future__ import annotations

import uvicorn

from rolekeeper.logs import configure_logging
from services.evaluator.app import create_app
from services.evaluator.settings import Settings

PROCESS = "evaluator"
SHUTDOWN_SECONDS = 30


def main() -> None:
    """Serve until a signal comes."""
    settings = Settings()
    configure_logging(PROCESS, settings.log_level)
    uvicorn.run(
        create_app(settings),
        host=settings.evaluator_host,
        port=settings.evaluator_port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )


if __name__ == "__main__":
    main()
