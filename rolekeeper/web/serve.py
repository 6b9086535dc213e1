"""Runs an app under uvicorn until it is told to stop."""

from __future__ import annotations

import signal
import sys
from types import FrameType

import uvicorn
from fastapi import FastAPI

from rolekeeper.web.connections import BoundedProtocol

GRACE_SECONDS = 20


def serve(app: FastAPI, host: str, port: int) -> None:
    """Answer requests until SIGTERM or SIGINT; finish the open ones first; then return or exit with status 0.

    `app.state.is_stopping()` tells long answers, such as event streams, that it is time to end.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,  # our own lines go to stderr as JSON
        access_log=False,  # the request id middleware writes one line per request
        server_header=False,
        http=BoundedProtocol,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = uvicorn.Server(config)
    app.state.is_stopping = lambda: server.should_exit
    # uvicorn raises the signal again after its graceful stop, which would end the process with an error.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit)
    server.run()


def _exit(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)
