"""What a stack has left behind, found by the folder that all its processes are told of."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import psutil


def processes_of(state: Path) -> list[str]:
    """Living processes that have `state` on their command line or in their environment, but for this one."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = [*process.cmdline(), *process.environ().values()]
            is_dead = process.status() == psutil.STATUS_ZOMBIE
            if process.pid != os.getpid() and not is_dead and any(str(state) in word for word in words):
                found.append(f"{process.pid} {' '.join(process.cmdline())[:120]}")
    return found


def wait_until_gone(state: Path, seconds: float) -> list[str]:
    """What still lives of the processes of `state` after that time; returns as soon as nothing does."""
    deadline = time.monotonic() + seconds
    while (found := processes_of(state)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found
