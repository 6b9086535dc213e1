"""The program driven over a pipe: a command per line on stdin, ProgramMessages on stdout, until stdin ends.

Where several processes train together, the leader has the pipe and tells the others what to run.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import IO, NamedTuple

import structlog
from pydantic import TypeAdapter, ValidationError

from rolekeeper.contracts.training import ExitCode, ProgramMessage, RunCommand, StopCommand
from rolekeeper.lm.memory import release_memory
from rolekeeper.pulse import alongside, num_beats
from services.trainer.program.failures import BadSpec, Stopped, describe
from services.trainer.program.run import Resident, run_spec
from services.trainer.program.spec import explain, read_spec
from services.trainer.program.stages import AskedStage
from services.trainer.program.world import World

BEAT_SECONDS = 1.0

Say = Callable[[ProgramMessage], None]

COMMAND: TypeAdapter[RunCommand | StopCommand] = TypeAdapter(RunCommand | StopCommand)


class Order(NamedTuple):
    """A run that was asked for, or what is wrong with the line that asked, and whether it is asked to stop."""

    command: RunCommand | BadSpec
    stop: threading.Event


def serve(
    commands: IO[bytes], messages: IO[bytes], world: World | None = None, zero_stage: AskedStage = "auto"
) -> ExitCode:
    """Run the specs that the commands name, one after the other, in the processes of the world if one was joined.

    A run that is not done does not end the program, unless several processes train together: who knows where the
    others wait then.
    """
    resident = Resident(world, zero_stage)
    orders: SimpleQueue[Order | None] = SimpleQueue()
    say: Say = _say_nothing
    if resident.world.leads:
        say = partial(_send, messages, threading.Lock())
        threading.Thread(target=_read_orders, args=(commands, orders), daemon=True).start()
    say(ProgramMessage(type="ready"))
    while (order := _next_order(orders, resident.world)) is not None:
        with alongside(partial(_say_beats, say)):
            end = _run(order, resident, say)
        if resident.world.size > 1 and end.exit_code:
            # Without others a process fails in unforeseen ways: the exit code of the one that went first says more.
            if end.exit_code is not ExitCode.INFRASTRUCTURE:
                say(end)
            return end.exit_code
        say(end)
        release_memory()
    return ExitCode.OK


@contextmanager
def protocol_stream() -> Iterator[IO[bytes]]:
    """Yield stdout for our own lines only: whatever else is printed, by Python or by C, goes to stderr."""
    descriptor = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with os.fdopen(descriptor, "wb") as messages:
        yield messages


def _next_order(orders: SimpleQueue[Order | None], world: World) -> Order | None:
    """Wait for the leader's next order; None when there will be none."""
    order = orders.get() if world.leads else None
    command = world.agree(None if order is None else order.command)
    if world.leads or command is None:
        return order
    return Order(command, threading.Event())


def _run(order: Order, resident: Resident, say: Say) -> ProgramMessage:
    structlog.contextvars.clear_contextvars()
    try:
        if isinstance(order.command, BadSpec):
            raise order.command
        spec = read_spec(Path(order.command.spec_path))
        structlog.contextvars.bind_contextvars(request_id=spec.request_id)
        result = run_spec(
            spec,
            resident,
            lambda progress: say(ProgramMessage(type="progress", progress=progress)),
            order.stop.is_set,
        )
    except BrokenPipeError:
        raise
    except Stopped as stopped:
        return ProgramMessage(type="stopped", exit_code=ExitCode.STOPPED, message=stopped.message)
    except Exception as error:
        failure = describe(error)
        structlog.get_logger().error("run failed", exit_code=failure.exit_code.name, exc_info=error)
        if failure.exit_code in (ExitCode.INFRASTRUCTURE, ExitCode.STORAGE_FULL, ExitCode.OUT_OF_MEMORY):
            # What an unforeseen error left behind is not known: the next run starts from the weights on disk.
            resident.forget()
        return ProgramMessage(type="failed", exit_code=failure.exit_code, message=failure.message)
    return ProgramMessage(type="done", result=result, exit_code=ExitCode.OK)


def _read_orders(commands: IO[bytes], orders: SimpleQueue[Order | None]) -> None:
    """Read beside the run, so that a run can be stopped. A stop is meant for the run that was asked for last."""
    last = threading.Event()
    for line in commands:
        command = _read_command(line)
        if isinstance(command, StopCommand):
            last.set()
        else:
            last = threading.Event()
            orders.put(Order(command, last))
    orders.put(None)


def _read_command(line: bytes) -> RunCommand | StopCommand | BadSpec:
    try:
        return COMMAND.validate_json(line)
    except ValidationError as error:
        return BadSpec(f"a line on stdin is not a command: {explain(error)}")


def _say_nothing(_message: ProgramMessage) -> None:
    """The leader has the pipe."""


def _send(messages: IO[bytes], lock: threading.Lock, message: ProgramMessage) -> None:
    with lock:
        messages.write(message.model_dump_json(exclude_none=True).encode() + b"\n")
        messages.flush()


def _say_beats(say: Say, ended: threading.Event) -> None:
    """Say during a run that it makes progress, where it does: who drives the program tells slow from hung by it."""
    before = num_beats()
    with contextlib.suppress(OSError, ValueError):  # nobody listens any more
        while not ended.wait(BEAT_SECONDS):
            if (now := num_beats()) != before:
                before = now
                say(ProgramMessage(type="beat"))
