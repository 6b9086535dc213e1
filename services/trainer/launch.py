"""Starts the training program as a child, keeps it between jobs, and drives it over a pipe."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Literal, cast

import structlog
from pydantic import ValidationError

from rolekeeper.contracts.jobs import Progress
from rolekeeper.contracts.training import ExitCode, ProgramMessage, RunCommand, StopCommand, TrainResult
from rolekeeper.errors import RolekeeperError, StageFailed, StageInterrupted, StageYielded, StorageFull

POLL_SECONDS = 0.2
STOP_SECONDS = 3.0
STALL_SECONDS = 600.0
COMMAND = (sys.executable, "-m", "services.trainer.program", "--serve")
MatmulPrecision = Literal["highest", "medium"]
ENDS = frozenset({"done", "failed", "stopped"})


class Program:
    """The training program. It is started when a job needs it, and again when it died.

    `drain_seconds` is how long it may take to reach a checkpoint when a run is to be set aside. In several processes
    it stays from one run that succeeds to the next; after another end it is started again. A run that gives no sign of
    progress for `stall_seconds` hangs: the program is killed.
    """

    def __init__(
        self,
        drain_seconds: float,
        command: tuple[str, ...] = COMMAND,
        num_processes: int = 1,
        zero_stage: str = "auto",
        matmul_precision: MatmulPrecision = "highest",
        stall_seconds: float = STALL_SECONDS,
    ) -> None:
        spread = () if num_processes == 1 else ("--processes", str(num_processes), "--zero", zero_stage)
        self._command = (*command, *spread, "--matmul-precision", matmul_precision)
        self._is_alone = num_processes == 1
        self._drain_seconds = drain_seconds
        self._stall_seconds = stall_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._is_fresh = True
        self._messages: queue.Queue[ProgramMessage | None] = queue.Queue()

    def run(self, spec_path: Path, report: Callable[[Progress], None], check: Callable[[], None]) -> TrainResult:
        """Train as the spec says. `report` gets the progress; `check`, called often, raises when the run must stop.

        Raises:
            StageFailed: the program refuses the spec or its data, and would do so again.
            StageInterrupted: the program died, hung, or failed in a way that may pass.
            StorageFull: the program's work folder has no room.
            StageYielded: `report` or `check` raised it; the run has saved a checkpoint first, and the program stays.
            Whatever else `report` and `check` raise; the program is stopped first.
        """
        process = self._running()
        is_fresh, self._is_fresh = self._is_fresh, False
        try:
            self._send(process, RunCommand(spec_path=str(spec_path)))
            end = self._follow(process, report, check)
        except StageYielded:
            self._set_aside(process, check)
            raise
        except BaseException:
            self.stop()
            raise
        if end.type == "done" and end.result is not None:
            return end.result
        raise self._failure(end, is_fresh)

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
        )
        self._process, self._messages, self._is_fresh = process, queue.Queue(), True
        threading.Thread(target=_read_messages, args=(process, self._messages), daemon=True).start()
        structlog.get_logger().info("training program started", pid=process.pid)
        return process

    def _follow(
        self, process: subprocess.Popen[bytes], report: Callable[[Progress], None], check: Callable[[], None]
    ) -> ProgramMessage:
        """Wait for the message that ends the run."""
        messages = self._receive(process, check)
        while (message := next(messages)).type not in ENDS:
            if message.progress is not None:
                report(message.progress)
        return message

    def _set_aside(self, process: subprocess.Popen[bytes], check: Callable[[], None]) -> None:
        """Have the run save a checkpoint and end. One that does not in time is killed: its last checkpoint counts."""
        deadline = time.monotonic() + self._drain_seconds

        def check_still() -> None:
            with contextlib.suppress(StageYielded):
                check()
            if time.monotonic() > deadline:
                raise StageInterrupted(f"no checkpoint within {self._drain_seconds:g} s")

        try:
            self._send(process, StopCommand())
            self._follow(process, lambda _progress: None, check_still)
            if not self._is_alone:
                self.stop()
        except StageInterrupted as late:
            structlog.get_logger().warning("training program killed instead of set aside", reason=late.message)
            self.stop()
        except BaseException:
            self.stop()
            raise

    def _failure(self, end: ProgramMessage, is_fresh: bool) -> RolekeeperError:
        """What the program's last word means. A program that may be to blame itself is replaced by a fresh one."""
        code = end.exit_code or ExitCode.INFRASTRUCTURE
        is_out_of_memory = code is ExitCode.OUT_OF_MEMORY
        if is_out_of_memory or not code.is_final or not self._is_alone:
            self.stop()
        if code is ExitCode.STORAGE_FULL:
            return StorageFull(end.message or "the training has no room")
        may_pass = not code.is_final or (is_out_of_memory and not is_fresh)
        kind = StageInterrupted if may_pass else StageFailed
        return kind(end.message or "training failed", code=code.name.lower())

    def _send(self, process: subprocess.Popen[bytes], command: RunCommand | StopCommand) -> None:
        pipe = cast(IO[bytes], process.stdin)  # opened as one above
        try:
            pipe.write(command.model_dump_json().encode() + b"\n")
            pipe.flush()
        except OSError as error:
            raise StageInterrupted(f"the training program is gone: {error}", code="trainer_died") from error

    def _receive(self, process: subprocess.Popen[bytes], check: Callable[[], None]) -> Iterator[ProgramMessage]:
        heard_at = time.monotonic()
        while True:
            check()
            try:
                message = self._messages.get(timeout=POLL_SECONDS)
            except queue.Empty:
                self._expect_life(time.monotonic() - heard_at)
                continue
            yield message or _last_word(process.wait())
            heard_at = time.monotonic()

    def _expect_life(self, silent_seconds: float) -> None:
        if silent_seconds > self._stall_seconds:
            message = f"the training program hung: it made no progress for {self._stall_seconds:g} s, and was killed"
            raise StageInterrupted(message, code="trainer_hung")


def _read_messages(process: subprocess.Popen[bytes], messages: queue.Queue[ProgramMessage | None]) -> None:
    pipe = cast(IO[bytes], process.stdout)  # opened as one above
    with contextlib.suppress(ValueError):  # it is closed under us when the program is stopped
        for line in pipe:
            try:
                messages.put(ProgramMessage.model_validate_json(line))
            except ValidationError:
                structlog.get_logger().warning("training program wrote nonsense", num_bytes=len(line))
    messages.put(None)


def _last_word(status: int) -> ProgramMessage:
    """What the exit status says of a program that ended without a word: one of several processes may fail alone."""
    if status in list(ExitCode) and ExitCode(status).is_final:
        code = ExitCode(status)
        message = f"a process of the training program ended with {code.name.lower()}: the trainer's log says why"
        return ProgramMessage(type="failed", exit_code=code, message=message)
    cause = " (SIGKILL: the machine may be out of memory)" if status == -signal.SIGKILL else ""
    raise StageInterrupted(f"the training program died with status {status}{cause}", code="trainer_died")
