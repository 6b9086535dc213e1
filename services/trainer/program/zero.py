"""Backward and step with DeepSpeed ZeRO-2: gradients and optimizer state spread over the processes of a world.

What ZeRO-3 does otherwise is in `zero3.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

import deepspeed
import torch
from deepspeed.utils import (
    safe_get_full_fp32_param,
    safe_get_full_optimizer_state,
    safe_set_full_fp32_param,
    safe_set_full_optimizer_state,
)
from torch import Tensor, nn

from rolekeeper.contracts.jobs import Hyperparameters
from services.trainer.program.engine import StepInfo, learning_rate
from services.trainer.program.policy import Policy, trained_weights
from services.trainer.program.world import World

MOMENTS = ("exp_avg", "exp_avg_sq")

T = TypeVar("T")


class ZeroEngine:
    """The same AdamW as TorchEngine's. State is as TorchEngine gives and takes it, whatever the number of processes."""

    def __init__(self, policy: Policy, hyper: Hyperparameters, num_steps: int, world: World) -> None:
        # DeepSpeed would compile it when it first starts on a CPU; gloo does the same.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        self.world = world
        self._weights = trained_weights(policy)
        is_bf16 = {weight.dtype for weight in self._weights.values()} == {torch.bfloat16}
        self._optimizer = torch.optim.AdamW(self._weights.values(), lr=hyper.learning_rate, weight_decay=0.0)
        config = zero_config(hyper.max_grad_norm, is_bf16) | {"zero_optimization": self._spread(policy)}
        self._module = self._around(policy, config)
        self._engine, *_ = deepspeed.initialize(model=self._module, optimizer=self._optimizer, config=config)
        self._hyper = hyper
        self._num_steps = num_steps
        self._step = 0

    def forward(self, compute: Callable[[], T]) -> T:
        """Run a forward pass of the policy inside DeepSpeed's own, and return what it returns."""
        return cast(T, self._engine(compute))

    def look(self, compute: Callable[[], T]) -> T:
        """Run what reads the policy without learning from it, and return what it returns."""
        return compute()

    def whole(self, weight: Tensor) -> Tensor | None:
        """Return a weight of the policy in the leader's memory; None in the others."""
        return weight.detach().cpu() if self.world.leads else None

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of this process's micro-batch. DeepSpeed averages over processes, and we want the sum."""
        self._engine.backward(loss * self.world.size)

    def step(self) -> StepInfo:
        """Clip the gradients of all processes to max_grad_norm, move the weights, and drop the gradients."""
        rate = learning_rate(self._hyper, self._step, self._num_steps)
        for group in self._engine.optimizer.param_groups:
            group["lr"] = rate
        self._engine.step()
        grad_norm = self._grad_norm()
        if math.isfinite(grad_norm):
            self._step += 1
        return StepInfo(grad_norm, rate)

    def move(self, changes: Sequence[Tensor]) -> None:
        """Add the same fp32 changes in all processes, as TorchEngine does."""
        with torch.no_grad():
            for weight, change in zip(self._weights.values(), changes, strict=True):
                value = safe_get_full_fp32_param(weight) + change
                safe_set_full_fp32_param(weight, value)
                weight.copy_(value)

    def state(self) -> dict[str, Tensor]:
        """Return everything that a step changes, besides the number of steps: weights and both moments of AdamW.

        All processes must ask; only the leader, which writes it down, gets it.
        """
        tensors: dict[str, Tensor] = {}
        for name, weight in self._weights.items():
            parts = {"weight": safe_get_full_fp32_param(weight)}
            parts |= {moment: safe_get_full_optimizer_state(weight, moment) for moment in MOMENTS}
            if self.world.leads:
                tensors |= {f"{part}.{name}": tensor.cpu() for part, tensor in parts.items()}
        return tensors

    def load_state(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        """Go on after `step` steps, from what `state` returned then, with any number of processes."""
        self._make_moments()
        self._step = step
        with torch.no_grad():
            for name, weight in self._weights.items():
                self._set(weight, {part: tensors[f"{part}.{name}"] for part in ("weight", *MOMENTS)})
        for moments in self._optimizer.state.values():
            moments["step"].fill_(float(step))

    def close(self) -> None:
        """Take DeepSpeed's hooks off the policy."""
        self._engine.destroy()

    def _spread(self, _policy: Policy) -> dict[str, Any]:
        """What is spread over the processes, in words of DeepSpeed's config."""
        return {"stage": 2, "contiguous_gradients": True}

    def _around(self, _policy: Policy, _config: Mapping[str, Any]) -> nn.Module:
        """The module that DeepSpeed is given."""
        return _Trained([*self._weights.values()])

    def _grad_norm(self) -> float:
        return float(self._engine.get_global_grad_norm())

    def _make_moments(self) -> None:
        """A step at rate 0 with gradients of 0: AdamW has no moments before its first step, and nothing moves."""
        for group in self._engine.optimizer.param_groups:
            group["lr"] = 0.0
        zeros = [weight.sum() * 0.0 for weight in self._weights.values()]
        self.backward(self.forward(lambda: torch.stack(zeros).sum()))
        self._engine.step()

    def _set(self, weight: nn.Parameter, parts: Mapping[str, Tensor]) -> None:
        """Set a weight, in fp32 and as it is used, and its moments."""
        value = parts["weight"].to(weight.device, torch.float32)
        safe_set_full_fp32_param(weight, value)
        weight.copy_(value)
        for moment in MOMENTS:
            safe_set_full_optimizer_state(weight, parts[moment].to(value), moment)


def zero_config(max_grad_norm: float | None, is_bf16: bool) -> dict[str, Any]:
    """The DeepSpeed config, but for the stage. Batches are split and normalised by us, so its sizes mean nothing."""
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 1,
        "managed_gradient_accumulation": False,
        "gradient_clipping": max_grad_norm or 0.0,
        "zero_allow_untested_optimizer": True,
    }
    if is_bf16:
        config["bf16"] = {"enabled": True, "check_grad_overflow": True}
        config["data_types"] = {"grad_accum_dtype": "fp32"}
    return config


class _Trained(nn.Module):
    """The trained weights, and a forward that is whatever is asked for: DeepSpeed wants to be around every one.

    Of frozen weights it knows nothing: each process has read them from the same files.
    """

    def __init__(self, weights: list[nn.Parameter]) -> None:
        super().__init__()
        self.weights = nn.ParameterList(weights)

    def forward(self, compute: Callable[[], Any]) -> Any:
        return compute()
