"""The training program as a process: alone with one spec, or driven over a pipe."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local.processes import ROOT
from rolekeeper.contracts.jobs import Progress
from rolekeeper.contracts.training import ExitCode, ProgramMessage, RunCommand

COMMAND = (sys.executable, "-m", "services.trainer.program", "--threads", "1")
PATIENCE_SECONDS = 120.0


def alone(spec_path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, str(spec_path)], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )


class Driven:
    """The resident program, as its launcher sees it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def send(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def receive(self) -> ProgramMessage:
        assert self.process.stdout is not None
        while (message := ProgramMessage.model_validate_json(self.process.stdout.readline())).type == "beat":
            pass
        return message

    def run(self, spec_path: Path) -> tuple[list[Progress], ProgramMessage]:
        self.send(RunCommand(spec_path=str(spec_path)).model_dump_json())
        return self.answer()

    def answer(self) -> tuple[list[Progress], ProgramMessage]:
        reports = []
        while (message := self.receive()).progress is not None:
            reports.append(message.progress)
        return reports, message


@contextmanager
def driven(stderr: Path, module: str = "services.trainer.program") -> Iterator[Driven]:
    with stderr.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", module, "--threads", "1", "--serve"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "PYTHONWARNINGS": "default"},
        )
        try:
            program = Driven(process)
            assert program.receive() == ProgramMessage(type="ready")
            yield program
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(PATIENCE_SECONDS) == ExitCode.OK
            assert process.stdout is not None
            assert process.stdout.read() == ""
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
