"""Starts the training program as a child, keeps it between jobs, and drives it over a pipe."""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import structlog
from pydantic import ValidationError

from rolekeeper.contracts.jobs import Progress
from rolekeeper.contracts.training import ExitCode, ProgramMessage, RunCommand, TrainResult
from rolekeeper.errors import StageFailed, StageInterrupted

PR_SET_PDEATHSIG = 1
POLL_SECONDS = 0.2
STOP_SECONDS = 10.0
FINAL = frozenset(code for code in ExitCode if 10 <= code < 20)


class Program:
    """The training program. It is started when a job needs it, and again when it died."""

    def __init__(
        self, command: tuple[str, ...] = (sys.executable, "-m", "services.trainer.program", "--serve")
    ) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._messages: queue.Queue[ProgramMessage | None] = queue.Queue()

    def run(self, spec_path: Path, report: Callable[[Progress], None], check: Callable[[], None]) -> TrainResult:
        """Train as the spec says. `report` gets the progress; `check`, called often, raises when the run must stop.

        Raises:
            StageFailed: the program refuses the spec or its data, and would do so again.
            StageInterrupted: the program died or failed in a way that may pass.
            Whatever `report` and `check` raise; the program is stopped first.
        """
        process = self._running()
        try:
            self._send(process, RunCommand(spec_path=str(spec_path)))
            for message in self._receive(process, check):
                if message.type == "progress" and message.progress is not None:
                    report(message.progress)
                if message.type == "done" and message.result is not None:
                    return message.result
                if message.type == "failed":
                    raise _failure(message)
        except StageFailed:
            raise  # it said so itself and waits for the next spec, or it is dead and will be started again
        except BaseException:
            self.stop()
            raise
        raise StageInterrupted("the training program ended without a word", code="trainer_died")

    def stop(self) -> None:
        """Stop the program and everything that it started."""
        process, self._process = self._process, None
        if process is None:
            return
        for sign in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
                break
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.stop()
        # The command is ours, and its only argument, the spec, goes over the pipe.
        process = subprocess.Popen(  # noqa: S603
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - called from the only thread that starts children
        )
        self._process, self._messages = process, queue.Queue()
        threading.Thread(target=_read_messages, args=(process, self._messages), daemon=True).start()
        structlog.get_logger().info("training program started", pid=process.pid)
        return process

    def _send(self, process: subprocess.Popen[bytes], command: RunCommand) -> None:
        assert process.stdin is not None  # noqa: S101 - opened as a pipe above
        try:
            process.stdin.write(command.model_dump_json().encode() + b"\n")
            process.stdin.flush()
        except OSError as error:
            raise StageInterrupted(f"the training program is gone: {error}", code="trainer_died") from error

    def _receive(self, process: subprocess.Popen[bytes], check: Callable[[], None]) -> Iterator[ProgramMessage]:
        while True:
            check()
            try:
                message = self._messages.get(timeout=POLL_SECONDS)
            except queue.Empty:
                continue
            if message is None:
                raise StageInterrupted(f"the training program died with status {process.wait()}", code="trainer_died")
            yield message


def _read_messages(process: subprocess.Popen[bytes], messages: queue.Queue[ProgramMessage | None]) -> None:
    assert process.stdout is not None  # noqa: S101 - opened as a pipe above
    with contextlib.suppress(ValueError):  # the pipe is closed under us when the program is stopped
        for line in process.stdout:
            try:
                messages.put(ProgramMessage.model_validate_json(line))
            except ValidationError:
                structlog.get_logger().warning("training program wrote nonsense", num_bytes=len(line))
    messages.put(None)


def _failure(message: ProgramMessage) -> StageFailed:
    code = message.exit_code or ExitCode.INFRASTRUCTURE
    kind = StageFailed if code in FINAL else StageInterrupted
    return kind(message.message or "training failed", code=code.name.lower())


def _die_with_parent() -> None:
    """Runs in the child: whatever kills the worker, the program must not keep the GPU."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
