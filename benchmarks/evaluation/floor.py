"""The least time that answers can take on this machine: products at the rate of its linear layers, and keys read.

A prompt of n tokens of which p are shared, answered with y tokens: n - p + y - 1 tokens run through the trunk, y
through the head, and the shared p once for all. What a step reads of keys and values is read from memory: (n - p + t)
tokens for the token at place t, and the shared ones once for all rows of a step.

    floor = operations / (operations per second of the layers at so many rows) + bytes / (bytes per second of a copy)

The weights' own bytes are in the rate of the layers, which is measured over all of them in turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import nn
from transformers import PreTrainedModel

from benchmarks.scoring.floor import ModelSize
from benchmarks.timing import median_seconds
from rolekeeper.lm.linear import linear

_COPY_BYTES = 256 << 20


class Lengths(NamedTuple):
    """Tokens of each prompt and of its answer, and those that all prompts begin with."""

    prompts: list[int]
    answers: list[int]
    shared: int


class Rates(NamedTuple):
    """Operations a second of the model's layers at some rows, and bytes a second that are read."""

    flops: float
    read_bytes: float


def measure_rates(model: PreTrainedModel, rows: int, rounds: int = 3) -> Rates:
    """Run rows through every linear layer of a model once, as often as `rounds`, and read a large tensor."""
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    inputs = {size: torch.randn(rows, size) for size in {layer.in_features for layer in layers}}
    weights = [(inputs[layer.in_features], layer.weight.data) for layer in layers]
    block = torch.randn(_COPY_BYTES // 4)
    seconds = median_seconds([partial(_multiply, weights), block.sum], rounds)
    flops = sum(2 * rows * weight.numel() for _, weight in weights)
    return Rates(flops / seconds[0], block.nbytes / seconds[1])


def floor_seconds(size: ModelSize, lengths: Lengths, bytes_per_token: int, rows: int, rates: Rates) -> float:
    """Return the least seconds for all answers with so many rows at once."""
    own = [prompt - lengths.shared for prompt in lengths.prompts]
    flops = size.trunk(0, lengths.shared)
    read = 0.0
    for prompt, answer in zip(own, lengths.answers, strict=True):
        flops += size.trunk(lengths.shared, prompt + answer - 1) + size.head * answer
        steps = answer - 1  # the first token comes with the prompt
        read += steps * (prompt + answer / 2 + lengths.shared / rows)
    return flops / rates.flops + read * bytes_per_token / rates.read_bytes


def shared_tokens(prompts: Sequence[Sequence[int]]) -> int:
    """How many ids all prompts begin with."""
    first, last = min(map(list, prompts)), max(map(list, prompts))
    same = [one == other for one, other in zip(first[:-1], last[:-1], strict=False)]
    return same.index(False) if False in same else len(same)


def _multiply(weights: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> None:
    with torch.inference_mode():
        for x_NI, weight_OI in weights:
            linear(x_NI, weight_OI)
