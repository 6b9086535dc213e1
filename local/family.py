"""A process and everything that it started, found by pid and never by name."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable

import psutil

KILL_SECONDS = 10.0


def family(pid: int) -> list[psutil.Process]:
    """All living processes of the session that `pid` leads, and all their descendants, whatever session these made."""
    members = [process for process in psutil.process_iter() if _session(process.pid) == pid]
    found = {member.pid: member for member in members}
    for member in members:
        with contextlib.suppress(psutil.NoSuchProcess):
            found |= {child.pid: child for child in member.children(recursive=True)}
    return [process for process in found.values() if is_alive(process)]


def is_alive(process: psutil.Process) -> bool:
    """Whether the process runs. One that has ended but is not yet reaped does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def end(processes: Iterable[psutil.Process], sign: signal.Signals, grace_seconds: float) -> None:
    """Send `sign` to these processes, and kill those that still live after the grace period."""
    chosen = list(processes)
    _send(chosen, sign)
    if not _wait(chosen, grace_seconds):
        _send(chosen, signal.SIGKILL)
        _wait(chosen, KILL_SECONDS)


def _send(processes: Iterable[psutil.Process], sign: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(sign)


def _wait(processes: Iterable[psutil.Process], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while any(is_alive(process) for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None
