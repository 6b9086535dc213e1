"""Run the scorer: `python -m services.scorer`."""

from __future__ import annotations

import uvicorn

from rolekeeper.logs import configure_logging
from services.scorer.app import create_app
from services.scorer.settings import Settings

_SHUTDOWN_SECONDS = 30


def main() -> None:
    """Serve until a signal ends it."""
    settings = Settings()
    configure_logging("scorer", settings.log_level)
    uvicorn.run(
        create_app(settings),
        host=settings.scorer_host,
        port=settings.scorer_port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
    )


if __name__ == "__main__":
    main()
