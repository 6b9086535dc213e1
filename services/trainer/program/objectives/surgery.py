"""Gradient surgery: the gradients of CE, without what pulls against those of KL, and then those of KL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from rolekeeper.method.surgery import without_conflict
from services.trainer.program.data import GlobalBatch
from services.trainer.program.objectives.step import Objective, StepLoss, TakesLoss, add_losses
from services.trainer.program.world import ALONE

T = TypeVar("T")


class Gradients:
    """Takes losses as an engine does, and keeps their gradients to itself."""

    def __init__(self, weights: Sequence[Tensor]) -> None:
        self.world = ALONE
        self._weights = weights
        self.sums = [torch.zeros_like(weight) for weight in weights]

    def forward(self, compute: Callable[[], T]) -> T:
        """Run a forward pass of the policy, and return what it returns."""
        return compute()

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a micro-batch's share of the loss."""
        gradients = torch.autograd.grad(loss, self._weights, materialize_grads=True)
        for total, gradient in zip(self.sums, gradients, strict=True):
            total.add_(gradient)


class Surgery:
    """The loss is that of both; the gradient is not. It needs all gradients of a step in one process."""

    def __init__(self, weights: Sequence[Tensor], task: Objective, safety: Objective) -> None:
        self._weights = weights
        self._task = task
        self._safety = safety

    def backward(self, engine: TakesLoss, batch: GlobalBatch) -> StepLoss:
        """Give the engine the gradients after surgery. Raises Diverged, which names the samples."""
        task, safety = Gradients(self._weights), Gradients(self._weights)
        losses = [self._task.backward(task, batch), self._safety.backward(safety, batch)]
        kept = without_conflict(task.sums, safety.sums)
        # A loss whose gradient by each weight is the one that was worked out: engines take nothing else.
        parts = [
            (weight * (ours + theirs)).sum()
            for weight, ours, theirs in zip(self._weights, kept, safety.sums, strict=True)
        ]
        engine.backward(torch.stack(parts).sum())
        return add_losses(losses)
