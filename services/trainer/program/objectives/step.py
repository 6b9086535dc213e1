"""What every objective does for the loop, and what they share: micro-batches, and errors that name samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from rolekeeper.lm.batch import token_budget_batches
from rolekeeper.lm.encode import EncodedSample
from services.trainer.program.data import GlobalBatch, TrainingData
from services.trainer.program.failures import Diverged
from services.trainer.program.world import ALONE, World

_NAMED_SAMPLES = 16

T = TypeVar("T")


class StepLoss(NamedTuple):
    """Loss of a global batch and its two terms (nats), and how many tokens went through the policy."""

    loss: float
    ce: float
    kl: float
    num_tokens: int
    more: Mapping[str, float] = MappingProxyType({})
    """Other numbers for the progress, by name."""


class TakesLoss(Protocol):
    """What an objective asks of an engine."""

    world: World

    def forward(self, compute: Callable[[], T]) -> T:
        """Run a forward pass of the policy, and return what it returns."""

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a micro-batch's share of the loss to those of the step."""


class Objective(Protocol):
    """What the loop asks of an objective."""

    def backward(self, engine: TakesLoss, batch: GlobalBatch) -> StepLoss:
        """Add up the gradients of a global batch. Raises Diverged, which names the samples."""


def sample_length(sample: EncodedSample) -> int:
    """Tokens of prompt and response."""
    return len(sample.prompt_ids) + len(sample.response_ids)


def flagged_token_weights(data: TrainingData, flagged: Sequence[int], per_token_F: Tensor) -> Tensor:
    """Return what the KL at each response token of some flagged samples counts [F].

    `per_token_F` is what it counts where all tokens of a sample count alike, in the order of the samples given.
    """
    if data.token_weights is None:
        return per_token_F
    return per_token_F * torch.cat([data.token_weights[index] for index in flagged]).to(per_token_F)


def micro_batches(
    samples: Sequence[EncodedSample], indices: Sequence[int], max_batch_tokens: int, world: World = ALONE
) -> list[list[int]]:
    """Split this process's share of the samples with these indices into groups of at most so many padded tokens.

    Shares are alike in length. Every process gets the same number of groups, as they meet in each; where one has fewer
    samples than the others have groups, some of its groups are empty.
    """
    lengths = [sample_length(samples[index]) for index in indices]
    longest_first = sorted(range(len(indices)), key=lambda position: -lengths[position])
    by_process = []
    for rank in range(world.size):
        share = sorted(longest_first[rank :: world.size])
        groups = token_budget_batches([lengths[position] for position in share], max_batch_tokens, len(indices))
        by_process.append([[indices[share[position]] for position in group] for group in groups])
    empty: list[list[int]] = [[]] * (max(map(len, by_process)) - len(by_process[world.rank]))
    return by_process[world.rank] + empty


def stand_in(samples: Sequence[EncodedSample], indices: Sequence[int]) -> int:
    """Return the shortest sample: what a process runs, without weight, while the others run their last group."""
    return min(indices, key=lambda index: sample_length(samples[index]))


def add_up(step: int, groups: Sequence[Sequence[int]], sums: Sequence[Tensor], world: World = ALONE) -> list[float]:
    """Add up the sums of all micro-batches; the first of them is the loss. Raises Diverged if one is not finite."""
    # The one place of a step where an accelerator is waited for.
    by_group = world.total(torch.stack(list(sums))).tolist()
    for group, values in zip(groups, by_group, strict=True):
        if not math.isfinite(values[0]):
            raise diverged("loss", step, [*chain.from_iterable(world.gather(list(group)))])
    return [sum(column) for column in zip(*by_group, strict=True)]


def add_losses(parts: Sequence[StepLoss]) -> StepLoss:
    """The loss of several objectives together."""
    loss, ce, kl, num_tokens = (sum(column) for column in list(zip(*parts, strict=True))[:4])
    more = {name: value for part in parts for name, value in part.more.items()}
    return StepLoss(loss, ce, kl, num_tokens, more)


def diverged(what: str, step: int, indices: Sequence[int]) -> Diverged:
    """Return the error for a loss or a gradient that is not finite. `step` counts from 0."""
    named = ", ".join(str(index) for index in sorted(indices)[:_NAMED_SAMPLES])
    more = f" and {len(indices) - _NAMED_SAMPLES} more" if len(indices) > _NAMED_SAMPLES else ""
    return Diverged(
        f"the {what} of step {step + 1} is not a finite number, in a batch with the samples {named}{more} (counted "
        "from 0): lower learning_rate, and look at these samples"
    )
