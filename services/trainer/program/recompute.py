"""Gradient checkpointing: where a step would not fit into memory, layers are computed again in the backward pass."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial

import structlog
import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from rolekeeper.contracts.training import TrainSpec
from rolekeeper.lm.cascade import attention
from rolekeeper.lm.forward import unwrap
from rolekeeper.lm.memory import available_bytes
from services.trainer.program.data import TrainingData
from services.trainer.program.policy import Policy, is_spread

USABLE_SHARE = 0.8
"""Of the free memory. The rest is for logits, gradients and whoever else runs on the machine."""

_MEASURED_TOKENS = 32


@contextlib.contextmanager
def recomputing(policy: Policy, data: TrainingData, spec: TrainSpec) -> Iterator[bool]:
    """Train within it: layers are computed twice if the spec says so, or if memory is too small. Yields whether.

    A model whose weights are spread over processes counts as too large for its memory. The numbers are the same to the
    bit on the CPU. At the end the model is as it was.
    """
    if not _is_needed(policy, data, spec):
        yield False
        return
    model = unwrap(policy)
    layers = _layers(policy)
    again = partial(_same_attention, model)
    # The hooks that gather spread weights know the older way only. It never packs, so its attention is never another.
    how = {"use_reentrant": True} if is_spread(policy) else {"use_reentrant": False, "context_fn": again}
    model.activation_checkpointing_enable(how)
    for layer in layers:
        layer.training = True  # of the layer alone, which asks for it; what is in it keeps its dropout off
    try:
        yield True
    finally:
        model.activation_checkpointing_disable()
        for layer in layers:
            layer.training = False


@contextlib.contextmanager
def computing_once(policy: Policy) -> Iterator[None]:
    """Layers are computed once within it: those that are to be computed twice take no keys and values of a prefix."""
    layers = [layer for layer in _layers(policy) if layer.training]
    for layer in layers:
        layer.training = False
    try:
        yield
    finally:
        for layer in layers:
            layer.training = True


def _layers(policy: Policy) -> list[GradientCheckpointingLayer]:
    return [module for module in unwrap(policy).modules() if isinstance(module, GradientCheckpointingLayer)]


def largest_micro_batch(data: TrainingData, spec: TrainSpec) -> int:
    """Tokens that the largest micro-batch can have, padding included."""
    longest = max(len(sample.prompt_ids) + len(sample.response_ids) for sample in data.samples)
    return max(longest, min(spec.max_batch_tokens, spec.hyperparameters.batch_size * longest))


def kept_bytes_per_token(policy: Policy) -> float:
    """What the backward pass keeps of each token that runs through the model, measured on a few of them.

    Weights and buffers, which are there anyway, do not count; a tensor that is kept twice counts once.
    """
    there = {tensor.untyped_storage().data_ptr() for tensor in (*policy.parameters(), *policy.buffers())}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in there:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    model = unwrap(policy)
    input_ids_BS = torch.zeros((1, _MEASURED_TOKENS), dtype=torch.long, device=model.device)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        # Held until the sum is taken: memory that is given back could be counted for the next tensor.
        output = model.base_model(input_ids=input_ids_BS, use_cache=False)
    total = sum(kept.values())
    del output
    return total / _MEASURED_TOKENS


def _same_attention(model: PreTrainedModel) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """For a layer that runs now, and runs again when the attention may have been switched back."""
    return contextlib.nullcontext(), attention(model, model.config._attn_implementation)


def _is_needed(policy: Policy, data: TrainingData, spec: TrainSpec) -> bool:
    if spec.gradient_checkpointing != "auto":
        return spec.gradient_checkpointing == "on"
    if is_spread(policy):
        return True
    free = available_bytes(policy.device)
    if free is None:
        return False
    needed = kept_bytes_per_token(policy) * largest_micro_batch(data, spec)
    is_needed = needed > USABLE_SHARE * free
    if is_needed:
        structlog.get_logger().info(
            "layers are computed twice to save memory", needed_mb=round(needed / 1e6), free_mb=round(free / 1e6)
        )
    return is_needed
