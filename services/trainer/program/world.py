"""The processes that train one model together: who is who, and what they tell each other.

A process that works alone is a world of one, in which nothing is sent.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

from rolekeeper.contracts.training import ExitCode
from services.trainer.program.lifeline import die_with_parent

_STEP_TIMEOUT = timedelta(minutes=30)
"""For sums during training. A process that is gone is noticed at once; one that hangs, after this time."""
_IDLE_TIMEOUT = timedelta(days=365)
"""For words between processes: between two runs they wait for as long as nothing is asked for."""

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """This process and the others. Every method but the properties must be called by all of them, in the same order."""

    rank: int = 0
    size: int = 1
    words: Any = None

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files and reports."""
        return self.rank == 0

    def agree(self, value: T) -> T:
        """Return the leader's value; that of the others does not count. It must be picklable."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self.words)
        return box[0]

    def gather(self, value: T) -> list[T]:
        """Return the values of all processes, by rank. They must be picklable."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self.words)
        return values

    def total(self, tensor: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes."""
        if self.size > 1:
            tensor = tensor.clone()
            dist.all_reduce(tensor)
        return tensor


ALONE = World()


def join_world() -> World:
    """Join the processes that the launcher started, as RANK, WORLD_SIZE, LOCAL_RANK and MASTER_* name them.

    On CUDA each process takes the accelerator of its local rank. The process dies with the launcher.
    """
    die_with_parent()
    if torch.cuda.is_available():
        torch.cuda.set_device(dist.get_node_local_rank())
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=_STEP_TIMEOUT)
    words = dist.new_group(backend="gloo", timeout=_IDLE_TIMEOUT)
    return World(dist.get_rank(), dist.get_world_size(), words)


def leave_world() -> None:
    """Close the connections, if there are any."""
    if dist.is_initialized():
        dist.destroy_process_group()


def end_process(exit_code: ExitCode) -> NoReturn:
    """End this process with the code.

    One that failed is still connected, and does not wait for Python's own end: the threads of the connections abort it
    there now and then, and the launcher would see the abort instead of the code.
    """
    if dist.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code)
    sys.exit(exit_code)
