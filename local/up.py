"""`up` and `down`: a stack that stays, in the foreground or behind the shell."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
from rich.console import Console

from local import family
from local.failures import StackFailed
from local.plan import make_plan
from local.processes import ROOT
from local.record import StackRecord, StateFolder
from local.signals import deferred, stoppable
from local.stack import Stack

POLL_SECONDS = 0.5
START_SECONDS = 300.0
STOP_SECONDS = 60.0


def stay(state: Path) -> None:
    """Run a stack until Ctrl-C or SIGTERM; what dies is started again."""
    with stoppable(), contextlib.suppress(KeyboardInterrupt), Stack(make_plan(state)) as stack:
        tell(StateFolder(state))
        while True:
            time.sleep(POLL_SECONDS)
            stack.revive()


def start_behind(state: Path) -> None:
    """Start a stack that stays when this command returns. Says so if one runs already."""
    folder = StateFolder(state)
    if folder.is_running:
        print("already running")
        tell(folder)
        return
    folder.path.mkdir(parents=True, exist_ok=True)
    log_path = folder.path / "supervisor.log"
    log_path.touch(mode=0o600)  # it has the key
    with stoppable(), contextlib.ExitStack() as if_it_fails:
        with log_path.open("wb") as log, deferred():
            supervisor = subprocess.Popen(
                [sys.executable, "-m", "local", "up", "--foreground", "--state", str(folder.path)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            if_it_fails.callback(supervisor.wait)
            if_it_fails.callback(supervisor.terminate)
        with Console(stderr=True).status("starting"):
            _wait_started(folder, supervisor, log_path)
        if_it_fails.pop_all()
    tell(folder)


def stop(state: Path) -> None:
    """Stop the stack, and whatever a supervisor that was killed has left."""
    folder = StateFolder(state)
    record = folder.read()
    if not folder.is_running:
        if folder.path.exists():
            with folder.locked():
                folder.clean_up_after_crash()
        print(f"no stack runs in {folder.path}")
        return
    if record is None:
        raise StackFailed(f"the stack in {folder.path} is still starting; try again in a moment")
    supervisor = psutil.Process(record.supervisor.pid)
    supervisor.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while folder.is_running or family.is_alive(supervisor):
        if time.monotonic() > deadline:
            raise StackFailed(f"the stack did not stop; its supervisor has pid {supervisor.pid}")
        time.sleep(0.1)
    print("stopped")


def tell(folder: StateFolder) -> None:
    """Print where the running stack is and how to call it."""
    record = _started(folder)
    if record is None:
        raise StackFailed(f"the stack in {folder.path} is still starting; try again in a moment")
    print(f"API      {record.url}   (its reference: {record.url}/docs)")
    print(f"logs     {folder.path / 'logs'}")
    print(f"export ROLEKEEPER_URL={record.url}")
    print(f"export ROLEKEEPER_API_KEY={record.api_key}", flush=True)


def _wait_started(folder: StateFolder, supervisor: subprocess.Popen[bytes], log_path: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while _started(folder) is None:
        if supervisor.poll() is not None:
            raise StackFailed(f"the stack did not start:\n{log_path.read_text(errors='replace').strip()}")
        if time.monotonic() > deadline:
            raise StackFailed(f"the stack was not ready after {START_SECONDS:.0f} s; see {folder.path / 'logs'}")
        time.sleep(POLL_SECONDS)


def _started(folder: StateFolder) -> StackRecord | None:
    record = folder.read()
    return record if record is not None and record.api_key is not None else None
