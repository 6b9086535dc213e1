"""The program driven over a pipe: one RunCommand per line on stdin, ProgramMessages on stdout, until stdin ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import structlog
from pydantic import ValidationError

from rolekeeper.contracts.training import ExitCode, ProgramMessage, RunCommand
from rolekeeper.lm.memory import release_memory
from services.trainer.program.failures import BadSpec, describe
from services.trainer.program.run import Resident, run_spec
from services.trainer.program.spec import explain, read_spec


def serve(commands: IO[bytes], messages: IO[bytes]) -> None:
    """Run the specs that the commands name, one after the other. A failed run does not end the program."""
    resident = Resident()
    _send(messages, ProgramMessage(type="ready"))
    for line in commands:
        _send(messages, _run(line, resident, messages))
        release_memory()


@contextmanager
def protocol_stream() -> Iterator[IO[bytes]]:
    """Yield stdout for our own lines only: whatever else is printed, by Python or by C, goes to stderr."""
    descriptor = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with os.fdopen(descriptor, "wb") as messages:
        yield messages


def _run(line: bytes, resident: Resident, messages: IO[bytes]) -> ProgramMessage:
    structlog.contextvars.clear_contextvars()
    try:
        spec = read_spec(Path(_read_command(line).spec_path))
        structlog.contextvars.bind_contextvars(request_id=spec.request_id)
        result = run_spec(
            spec, resident, lambda progress: _send(messages, ProgramMessage(type="progress", progress=progress))
        )
    except BrokenPipeError:
        raise
    except Exception as error:
        failure = describe(error)
        structlog.get_logger().error("run failed", exit_code=failure.exit_code.name, exc_info=error)
        if failure.exit_code in (ExitCode.INFRASTRUCTURE, ExitCode.OUT_OF_MEMORY):
            # What an unforeseen error left behind is not known: the next run starts from the weights on disk.
            resident.forget()
        return ProgramMessage(type="failed", exit_code=failure.exit_code, message=failure.message)
    return ProgramMessage(type="done", result=result, exit_code=ExitCode.OK)


def _read_command(line: bytes) -> RunCommand:
    try:
        return RunCommand.model_validate_json(line)
    except ValidationError as error:
        raise BadSpec(f"a line on stdin is not a command: {explain(error)}") from error


def _send(messages: IO[bytes], message: ProgramMessage) -> None:
    messages.write(message.model_dump_json(exclude_none=True).encode() + b"\n")
    messages.flush()
