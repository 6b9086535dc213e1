"""Which stage of ZeRO several processes train with: 2 spreads gradients and optimizer state, 3 the weights too."""

from __future__ import annotations

import socket
from typing import Literal

import structlog
import torch

from rolekeeper.contracts.training import TrainSpec
from rolekeeper.lm.catalog import ModelEntry
from rolekeeper.lm.load import count_weights, default_device, dtype_on
from rolekeeper.lm.memory import available_bytes
from services.trainer.program.failures import BadSpec
from services.trainer.program.recompute import USABLE_SHARE
from services.trainer.program.world import World

AskedStage = Literal["auto", "2", "3"]
ZeroStage = Literal[2, 3]

_SPREAD_BYTES = 16
"""Of each weight, over all processes: an fp32 copy, its gradient, and both moments of AdamW."""


def choose_stage(asked: AskedStage, spec: TrainSpec, entry: ModelEntry, world: World) -> ZeroStage:
    """Return the stage of a run: the asked one, or with `auto` 3 where stage 2 would not fit into a process's memory.

    Raises BadSpec if stage 3 is asked for and can't train what the spec wants.
    """
    refusal = why_not_spread(spec)
    if asked == "3" and refusal:
        raise BadSpec(f"ZeRO-3 can't train this: {refusal}. Leave --zero and ROLEKEEPER_TRAIN_ZERO_STAGE at auto")
    if asked == "2" or (asked == "auto" and (refusal or _fits(entry, world))):
        return 2
    return 3


def why_not_spread(spec: TrainSpec) -> str | None:
    """Say what of the spec needs whole weights in every process; None if nothing does."""
    hyper, method = spec.hyperparameters, spec.method
    if hyper.training == "lora":
        return "hyperparameters.training is lora, whose base model is frozen and whose trained weights are few"
    if hyper.early_stop_epochs is not None:
        return "hyperparameters.early_stop_epochs keeps the weights of the best epoch"
    if method.name == "vaccine":
        return "method.name vaccine takes gradients of its own in each micro-batch"
    if method.options.surgery or method.options.kl_limit is not None:
        return "method.options.surgery and kl_limit hold all gradients in each process"
    return None


def stage_2_bytes(num_weights: int, num_processes: int, dtype: torch.dtype) -> int:
    """Return the bytes that a process needs to train all weights with stage 2, without activations.

    Weights and gradients in `dtype` are whole in each; the rest is spread.
    """
    return num_weights * 2 * dtype.itemsize + num_weights * _SPREAD_BYTES // num_processes


def _fits(entry: ModelEntry, world: World) -> bool:
    device = default_device()
    free = available_bytes(device)
    if free is None:
        return True
    # On a CPU the processes of one machine share its memory.
    sharing = world.gather(socket.gethostname()).count(socket.gethostname()) if device.type == "cpu" else 1
    needed = stage_2_bytes(count_weights(entry), world.size, dtype_on(device))
    usable = min(world.gather(int(USABLE_SHARE * free / sharing)))
    structlog.get_logger().info("memory of ZeRO-2", needed_mb=round(needed / 1e6), usable_mb=round(usable / 1e6))
    return needed <= usable
