"""Gradient surgery: the gradients of CE, without what pulls against those of KL, and then those of KL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from rolekeeper.method.surgery import without_conflict
from services.trainer.program.data import GlobalBatch
from services.trainer.program.objectives.step import Objective, StepLoss, TakesLoss, add_losses
from services.trainer.program.world import ALONE, World

T = TypeVar("T")


class Gradients:
    """Takes losses as an engine does, and keeps their gradients. `sums` are those of this process."""

    def __init__(self, weights: Sequence[Tensor], world: World = ALONE) -> None:
        self.world = world
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

    def totals(self) -> list[Tensor]:
        """Return the gradients of all processes together. All must ask."""
        return [self.world.total(total) for total in self.sums]


class Surgery:
    """The loss is that of both; the gradient is not. Every process holds all gradients of a step twice."""

    def __init__(self, weights: Sequence[Tensor], task: Objective, safety: Objective) -> None:
        self._weights = weights
        self._task = task
        self._safety = safety

    def backward(self, engine: TakesLoss, batch: GlobalBatch) -> StepLoss:
        """Give the engine the gradients after surgery. Raises Diverged, which names the samples."""
        task, safety = Gradients(self._weights, engine.world), Gradients(self._weights, engine.world)
        losses = [self._task.backward(task, batch), self._safety.backward(safety, batch)]
        held = safety.totals()
        kept = without_conflict(task.totals(), held)
        together = [ours + theirs for ours, theirs in zip(kept, held, strict=True)]
        engine.backward(engine.forward(partial(self._loss_of, together, engine.world.size)))
        return add_losses(losses)

    def _loss_of(self, gradients: Sequence[Tensor], num_processes: int) -> Tensor:
        """A loss with these gradients, which engines don't take themselves. They add up those of all processes."""
        parts = [(weight * gradient).sum() for weight, gradient in zip(self._weights, gradients, strict=True)]
        return torch.stack(parts).sum() / num_processes
