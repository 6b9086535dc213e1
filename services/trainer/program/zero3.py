"""Backward and step with DeepSpeed ZeRO-3: the weights themselves are spread over the processes of a world.

Each layer's weights are gathered for its forward and its backward pass, by hooks that DeepSpeed puts on its module. So
whatever reads weights must run inside such a pass, in all processes alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import deepspeed
import torch
from deepspeed.runtime.zero import parameter_offload
from deepspeed.utils import safe_set_local_fp32_param, safe_set_local_optimizer_state
from torch import Tensor, nn
from torch.nn import functional

from rolekeeper.contracts.jobs import Hyperparameters
from rolekeeper.lm.forward import unwrap
from rolekeeper.lm.packing import never_pack
from services.trainer.program.policy import Policy
from services.trainer.program.world import World
from services.trainer.program.zero import MOMENTS, ZeroEngine

T = TypeVar("T")


class PartitionedEngine(ZeroEngine):
    """The same as ZeroEngine, but for what a process holds: of each weight its share, besides what works just now.

    The policy may lie in the memory of the CPU; its shares go to the accelerator, weight by weight. After `close` it is
    of no more use.
    """

    def __init__(self, policy: Policy, hyper: Hyperparameters, num_steps: int, world: World) -> None:
        never_pack(unwrap(policy))  # a pass that ends half way would leave weights gathered
        self._linear = functional.linear
        super().__init__(policy, hyper, num_steps, world)
        # The outermost module has the head's weights at hand for as long as a pass lasts: the loss calls the head once
        # for each chunk of rows, which are not as many in every process.
        head = unwrap(policy).get_output_embeddings()
        head._forward_pre_hooks.clear()
        head._forward_hooks.clear()

    def look(self, compute: Callable[[], T]) -> T:
        """Run what reads the policy without learning from it, and return what it returns."""
        box: list[T] = []
        self._module(lambda: box.append(compute()))
        self._engine.empty_partition_cache()  # of what was gathered ahead for a pass like the last one
        return box[0]

    def whole(self, weight: Tensor) -> Tensor | None:
        """Return a weight of the policy in the leader's memory; None in the others."""
        with deepspeed.zero.GatheredParameters([weight]):
            return weight.detach().to("cpu", copy=True) if self.world.leads else None

    def close(self) -> None:
        """Take from DeepSpeed what would outlive the run."""
        super().close()
        functional.linear = self._linear
        parameter_offload.FWD_MODULE_STACK.clear()
        # A cache of functions that is never emptied still knows the modules.
        for weight in self._module.parameters():
            vars(weight).clear()

    def _spread(self, policy: Policy) -> dict[str, Any]:
        """Matrices are spread. Vectors (norms, biases) stay whole: gathering them costs more than keeping them."""
        longest = max((weight.numel() for weight in policy.parameters() if weight.dim() == 1), default=0)
        return {"stage": 3, "contiguous_gradients": True, "stage3_param_persistence_threshold": longest}

    def _around(self, policy: Policy, config: Mapping[str, Any]) -> nn.Module:
        module = _Partitioned(policy)
        deepspeed.zero.Init(module=module, config_dict_or_path=config)
        for buffer in policy.buffers():
            buffer.data = buffer.data.to(policy.device)
        return module

    def _grad_norm(self) -> float:
        """Where DeepSpeed has left a step out it still tells the norm of the one before."""
        return float("inf") if self._engine.optimizer.overflow else super()._grad_norm()

    def _make_moments(self) -> None:
        for flat in self._engine.optimizer.fp32_partitioned_groups_flat:
            zeros = {moment: torch.zeros_like(flat) for moment in MOMENTS}
            self._optimizer.state[flat] = {"step": torch.tensor(0.0), **zeros}

    def _set(self, weight: Any, parts: Mapping[str, Tensor]) -> None:
        value = self._share(weight, parts["weight"])
        safe_set_local_fp32_param(weight, value)
        weight.ds_tensor.data.copy_(value)
        for moment in MOMENTS:
            safe_set_local_optimizer_state(weight, self._share(weight, parts[moment]), moment)
        if weight.ds_status.name == "AVAILABLE":
            weight.data.copy_(parts["weight"])

    def _share(self, weight: Any, tensor: Tensor) -> Tensor:
        """This process's part of what belongs to a weight: of equal parts in a row, the last ones padded."""
        size = weight.ds_tensor.numel()
        start = size * self.world.rank
        mine = tensor.flatten()[start : start + size]
        return functional.pad(mine, (0, size - len(mine))).to(weight.ds_tensor.device, torch.float32)


class _Partitioned(nn.Module):
    """The policy, and a forward that is whatever is asked for. The head's weights count as its own."""

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.policy = policy
        for name, weight in unwrap(policy).get_output_embeddings().named_parameters():
            self.register_parameter(f"head_{name}", weight)

    def forward(self, compute: Callable[[], Any]) -> Any:
        return compute()
