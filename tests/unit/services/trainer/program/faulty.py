"""The training program with faults: a run whose seed is that of a fault meets it in its second step.

Poison comes in the first step. A fault comes in the backward pass, when gradients are half added up. Everything else is
as it is: `python -m tests.unit.services.trainer.program.faulty --serve`.
"""

from __future__ import annotations

import os
import signal
import sys
from enum import IntEnum
from typing import Any

import torch
from torch import Tensor

from rolekeeper.contracts.jobs import Hyperparameters
from services.trainer.program.__main__ import main
from services.trainer.program.engine import TorchEngine
from services.trainer.program.policy import Policy


class Fault(IntEnum):
    """What befalls the run with this seed."""

    CRASH = 1001
    OUT_OF_MEMORY = 1002
    DIVERGENCE = 1003
    POISON = 1004
    NO_ROOM = 1005


class FaultyEngine(TorchEngine):
    """The engine, until its fault."""

    def __init__(self, policy: Policy, hyper: Hyperparameters, num_steps: int) -> None:
        super().__init__(policy, hyper, num_steps)
        self._fault = hyper.seed
        self._steps_done = 0

    def backward(self, loss: Tensor) -> None:
        """Add gradients, and then meet the fault."""
        super().backward(loss)
        if self._fault == Fault.POISON:
            os.kill(os.getpid(), signal.SIGKILL)
        if self._steps_done == 0:
            return
        if self._fault == Fault.CRASH:
            torch.manual_seed(self._fault)
            raise RuntimeError("a kernel is broken")
        if self._fault == Fault.OUT_OF_MEMORY:
            torch.empty(1 << 60)
        if self._fault == Fault.NO_ROOM:
            torch.save({"weights": torch.zeros(1 << 18)}, "/dev/full")
        if self._fault == Fault.DIVERGENCE:
            super().backward(torch.stack([weight.sum() for weight in self._weights.values()]).sum() * float("nan"))

    def step(self) -> Any:
        """Make the step."""
        self._steps_done += 1
        return super().step()


if __name__ == "__main__":
    from services.trainer.program import run

    patched: Any = run
    patched.TorchEngine = FaultyEngine
    sys.exit(main())
