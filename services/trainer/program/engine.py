"""What the loop asks of an engine, and the one with plain torch, on one device. That over several is in `zero.py`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn

from rolekeeper.contracts.jobs import Hyperparameters
from services.trainer.program.policy import Policy, trained_weights
from services.trainer.program.world import ALONE, World

T = TypeVar("T")


class StepInfo(NamedTuple):
    """What a step did. A gradient norm (before clipping) that is not finite means that no weight was changed."""

    grad_norm: float
    learning_rate: float


class Engine(Protocol):
    """Gradients and steps, over the devices of a world."""

    world: World

    def forward(self, compute: Callable[[], T]) -> T:
        """Run a forward pass of the policy, and return what it returns."""

    def look(self, compute: Callable[[], T]) -> T:
        """Run what reads the policy without learning from it, in all processes alike, and return what it returns."""

    def whole(self, weight: Tensor) -> Tensor | None:
        """Return a weight of the policy in the leader's memory; None in the others, which must ask too."""

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a micro-batch's share of the loss, of all processes, to those of the step."""

    def step(self) -> StepInfo:
        """Clip the gradients, move the weights, and drop the gradients."""

    def move(self, changes: Sequence[Tensor]) -> None:
        """Add fp32 changes to the weights, in the order of `trained_weights`. No gradient, moment or step counts it."""

    def state(self) -> dict[str, Tensor]:
        """Return everything that a step changes, besides the number of steps."""

    def load_state(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        """Go on after `step` steps, from what `state` of any engine returned then."""

    def close(self) -> None:
        """Let go of the policy."""


class TorchEngine:
    """AdamW without weight decay on the trained weights, linear warm-up, then linear decay to zero or none.

    Where weights are not fp32 (all weights of a bf16 model), AdamW moves fp32 copies, rounded after each step:
    a step is smaller than what bf16 can tell apart.
    """

    def __init__(self, policy: Policy, hyper: Hyperparameters, num_steps: int) -> None:
        self.world = ALONE
        self._rounded = trained_weights(policy)
        self._weights = {name: _fp32(weight) for name, weight in self._rounded.items()}
        self._optimizer = torch.optim.AdamW(self._weights.values(), lr=hyper.learning_rate, weight_decay=0.0)
        self._hyper = hyper
        self._num_steps = num_steps
        self._step = 0

    def forward(self, compute: Callable[[], T]) -> T:
        """Run a forward pass of the policy, and return what it returns."""
        return compute()

    def look(self, compute: Callable[[], T]) -> T:
        """Run what reads the policy without learning from it, and return what it returns."""
        return compute()

    def whole(self, weight: Tensor) -> Tensor:
        """Return a weight of the policy in the memory of the CPU."""
        return weight.detach().cpu()

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a micro-batch's share of the loss to those of the step."""
        torch.autograd.backward(loss)

    def step(self) -> StepInfo:
        """Clip the gradients to max_grad_norm, move the weights, and drop the gradients."""
        rate = learning_rate(self._hyper, self._step, self._num_steps)
        for name, weight in self._copies():
            weight.grad = None if (grad := self._rounded[name].grad) is None else grad.float()
            self._rounded[name].grad = None
        grad_norm = float(torch.nn.utils.clip_grad_norm_(self._weights.values(), longest_gradient(self._hyper)))
        if math.isfinite(grad_norm):
            for group in self._optimizer.param_groups:
                group["lr"] = rate
            self._optimizer.step()
            self._round()
            self._step += 1
        self._optimizer.zero_grad(set_to_none=True)
        return StepInfo(grad_norm, rate)

    def move(self, changes: Sequence[Tensor]) -> None:
        """Add fp32 changes to the weights, in the order of `trained_weights`. No gradient, moment or step counts it."""
        with torch.no_grad():
            for weight, change in zip(self._weights.values(), changes, strict=True):
                weight.add_(change)
        self._round()

    def state(self) -> dict[str, Tensor]:
        """Return everything that a step changes, besides the number of steps: weights and both moments of AdamW."""
        tensors = {}
        for name, weight in self._weights.items():
            moments = self._optimizer.state[weight]
            tensors[f"weight.{name}"] = weight.detach()
            tensors[f"exp_avg.{name}"] = moments["exp_avg"]
            tensors[f"exp_avg_sq.{name}"] = moments["exp_avg_sq"]
        return tensors

    def load_state(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        """Go on after `step` steps, from what `state` returned then."""
        self._step = step
        with torch.no_grad():
            for name, weight in self._weights.items():
                weight.copy_(tensors[f"weight.{name}"])
                self._optimizer.state[weight] = {
                    "step": torch.tensor(float(step)),
                    "exp_avg": tensors[f"exp_avg.{name}"].to(weight),
                    "exp_avg_sq": tensors[f"exp_avg_sq.{name}"].to(weight),
                }
        self._round()

    def close(self) -> None:
        """Nothing is held that would outlive the engine."""

    def _copies(self) -> Iterator[tuple[str, nn.Parameter]]:
        for name, weight in self._weights.items():
            if weight is not self._rounded[name]:
                yield name, weight

    def _round(self) -> None:
        with torch.no_grad():
            for name, weight in self._copies():
                self._rounded[name].copy_(weight)


def _fp32(weight: nn.Parameter) -> nn.Parameter:
    return weight if weight.dtype == torch.float32 else nn.Parameter(weight.detach().float())


def longest_gradient(hyper: Hyperparameters) -> float:
    """The norm that gradients are cut to; infinite where they are left as they are."""
    return math.inf if hyper.max_grad_norm is None else hyper.max_grad_norm


def learning_rate(hyper: Hyperparameters, step: int, num_steps: int) -> float:
    """Return the rate of step `step` (from 0): linear warm-up, then linear decay to zero, or none."""
    num_warmup = math.ceil(hyper.warmup_share * num_steps)
    if hyper.schedule == "constant" and step >= num_warmup:
        return hyper.learning_rate
    return hyper.learning_rate * rate_share(step, num_steps, num_warmup)


def rate_share(step: int, num_steps: int, num_warmup: int) -> float:
    """Return the share, in (0, 1], of the peak rate that step `step` (from 0) uses. It is 0 after the last one."""
    if step < num_warmup:
        return (step + 1) / num_warmup
    return (num_steps - step) / (num_steps - num_warmup)
