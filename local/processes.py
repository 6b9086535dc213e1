"""One child process of the stack, in a session of its own, that can't outlive the stack."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import psutil

from local import family
from local.failures import StackFailed
from local.signals import deferred

ROOT = Path(__file__).resolve().parent.parent
LAUNCHER = ROOT / "local" / "child.py"
POLL_SECONDS = 0.05
NUM_LOG_LINES = 20


@dataclass(frozen=True)
class Command:
    """What to run. `input` is all that it can read on stdin; `user` is the account that root becomes for it."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    log_path: Path
    input: bytes = b""
    user: str | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL

    def launched(self) -> list[str]:
        """The command line that ties the process to this one."""
        launcher = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid())]
        return [*launcher, str(int(self.death_signal)), self.user or "-", *self.argv]


class Process:
    """A process that can be started again. Start it from a thread that stays: Linux ties a child to a thread."""

    def __init__(self, command: Command) -> None:
        self.command = command
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        """Its name in messages and in the folder of logs."""
        return self.command.name

    @property
    def pid(self) -> int:
        """Its pid, and the number of its session. Raises StackFailed if it was never started."""
        if self._popen is None:
            raise StackFailed(f"{self.name} is not started")
        return self._popen.pid

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._popen is not None and self._popen.poll() is None

    def start(self) -> None:
        """Start it. What it writes goes to the end of its log."""
        self.command.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.command.log_path.open("ab") as log, deferred():
            self._popen = subprocess.Popen(
                self.command.launched(),
                cwd=ROOT,
                env=dict(self.command.environment),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        # Opened as a pipe above.
        with contextlib.suppress(BrokenPipeError), cast(IO[bytes], self._popen.stdin) as pipe:
            pipe.write(self.command.input)

    def wait_ready(self, probe: Callable[[], bool], seconds: float) -> None:
        """Wait until `probe` says yes.

        Raises:
            StackFailed: the process ended, or time is up; the message has the end of its log.
        """
        deadline = time.monotonic() + seconds
        while not probe():
            if not self.is_alive:
                raise StackFailed(f"{self.name} ended with status {self.status()}{self.log_end()}")
            if time.monotonic() > deadline:
                raise StackFailed(f"{self.name} was not ready after {seconds:.0f} s{self.log_end()}")
            time.sleep(POLL_SECONDS)

    def status(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        return None if self._popen is None else self._popen.poll()

    def log_end(self) -> str:
        """The last lines of its log, for a message."""
        lines = self.command.log_path.read_text(encoding="utf-8", errors="replace").splitlines()[-NUM_LOG_LINES:]
        return f"; the end of {self.command.log_path}:\n  " + "\n  ".join(lines)

    def family(self) -> list[psutil.Process]:
        """The process and everything that it started, as far as it lives."""
        return [] if self._popen is None else family.family(self._popen.pid)

    def ask_to_stop(self) -> None:
        """Send it the signal that it stops at, and return at once."""
        if self._popen is not None and self._popen.poll() is None:
            self._popen.send_signal(self.command.stop_signal)

    def stop(self, grace_seconds: float) -> None:
        """Stop it and everything that it started. Who still lives after the grace period is killed."""
        if self._popen is None:
            return
        members = self.family()
        self.ask_to_stop()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(grace_seconds)
        leftovers = {member.pid: member for member in [*members, *self.family()]}
        family.end(leftovers.values(), signal.SIGKILL, grace_seconds=0)
        self._popen.wait()
        self._popen = None

    def kill(self) -> None:
        """Kill it without a warning, as a crash would, and reap it."""
        if self._popen is not None:
            self._popen.kill()
            self._popen.wait()

    def restart(self) -> None:
        """Start it again after it ended, once nothing is left of what it had started."""
        self.stop(grace_seconds=0)
        self.start()


def run_to_end(
    argv: list[str], environment: Mapping[str, str] | None, cwd: Path, text: str, seconds: float | None
) -> subprocess.CompletedProcess[str]:
    """Run a command that writes little; `text` is all that it can read on stdin.

    As `subprocess.run`, which leaves the command running when a signal comes just as it starts; here it never is.

    Raises:
        TimeoutExpired: it took longer, and was killed.
    """
    pipe = subprocess.PIPE
    with contextlib.ExitStack() as stack:
        with deferred():
            child = subprocess.Popen(
                argv, env=environment, cwd=cwd, stdin=pipe, stdout=pipe, stderr=pipe, text=True, errors="replace"
            )
            stack.enter_context(child)
            stack.callback(child.kill)
        output, errors = child.communicate(text, seconds)
    return subprocess.CompletedProcess(argv, child.returncode, output, errors)
