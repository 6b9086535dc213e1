"""How the training program fails: what went wrong, and the exit code that says whether trying again may help."""

from __future__ import annotations

from typing import NamedTuple

import torch

from rolekeeper.contracts.training import ExitCode
from rolekeeper.errors import RolekeeperError, StageFailed, StageInterrupted, UnknownBaseModel
from rolekeeper.lm.catalog import BadCatalog
from rolekeeper.lm.encode import EncodingError
from rolekeeper.lm.forward import UnknownProjection
from rolekeeper.lm.load import BaseModelUnusable
from rolekeeper.room import lacks_room


class BadSpec(StageFailed):
    """The spec can't be read, or asks for what can't be done."""

    code = "bad_spec"


class BadData(StageFailed):
    """The training data can't be used. The message names the line."""

    code = "bad_data"


class Diverged(StageFailed):
    """Loss, gradient or adapter is no longer a finite number."""

    code = "diverged"


class Stopped(StageInterrupted):
    """The run was asked to stop, and has saved a checkpoint that it goes on from."""

    code = "stopped"


class FolderTaken(StageInterrupted):
    """Another run works in the same folder."""

    code = "folder_taken"


class Failure(NamedTuple):
    """What is told to whoever started the program."""

    exit_code: ExitCode
    message: str


_EXIT_CODES: tuple[tuple[type[RolekeeperError], ExitCode], ...] = (
    (BadSpec, ExitCode.BAD_SPEC),
    (BadData, ExitCode.BAD_DATA),
    (Diverged, ExitCode.DIVERGED),
    (UnknownBaseModel, ExitCode.BASE_MODEL),
    (BadCatalog, ExitCode.BASE_MODEL),
    (BaseModelUnusable, ExitCode.BASE_MODEL),
    (UnknownProjection, ExitCode.BASE_MODEL),
    (EncodingError, ExitCode.BASE_MODEL),  # of the chat template; a sample's own becomes BadData
    (Stopped, ExitCode.STOPPED),
)

# torch raises a plain RuntimeError when the memory of the CPU is not enough.
_CPU_ALLOCATOR = "DefaultCPUAllocator"


def describe(error: Exception) -> Failure:
    """Return the exit code and the message for an error. One that nobody foresaw counts as infrastructure."""
    if is_out_of_memory(error):
        return Failure(
            ExitCode.OUT_OF_MEMORY,
            "the training ran out of memory: lower max_source_tokens, max_response_tokens or lora_rank, or choose a "
            f"smaller base model ({error})",
        )
    for kind, exit_code in _EXIT_CODES:
        if isinstance(error, kind):
            return Failure(exit_code, error.message)
    if lacks_room(error):
        return Failure(ExitCode.STORAGE_FULL, f"the work folder of the training has no room: {error}")
    if isinstance(error, RolekeeperError):
        return Failure(ExitCode.INFRASTRUCTURE, error.message)
    return Failure(ExitCode.INFRASTRUCTURE, f"{type(error).__name__}: {error}")


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory was refused, on the CPU or on the accelerator."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and _CPU_ALLOCATOR in str(error)
    )
