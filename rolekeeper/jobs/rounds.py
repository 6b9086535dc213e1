"""Work that a process does again and again, beside its other work."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog
from sqlalchemy.exc import SQLAlchemyError


def start_rounds(name: str, work: Callable[[], None], seconds: float) -> None:
    """Do `work` every `seconds`, for as long as the process lives. Whatever goes wrong delays it to the next round."""
    pause = threading.Event()

    def run() -> None:
        while not pause.wait(seconds):
            do_round(name, work)

    threading.Thread(target=run, name=name, daemon=True).start()


def do_round(name: str, work: Callable[[], None]) -> None:
    """Do `work` once, and tell the log what went wrong."""
    try:
        work()
    except SQLAlchemyError as error:
        structlog.get_logger().warning("round failed", name=name, reason=str(error).splitlines()[0])
    except Exception as error:
        structlog.get_logger().exception("round failed", name=name, reason=repr(error))
