"""`python -m gateway`: serve the public API."""

from __future__ import annotations

from gateway.app import create_app
from gateway.settings import Settings
from rolekeeper.logs import configure_logging
from rolekeeper.web.serve import serve


def main() -> None:
    """Run until SIGTERM or Ctrl-C."""
    settings = Settings()
    configure_logging("gateway", settings.log_level)
    serve(create_app(settings), settings.gateway_host, settings.gateway_port)


if __name__ == "__main__":
    main()
