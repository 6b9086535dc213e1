"""Role-Safety Balance Optimization (RBO) of the adapter: cross-entropy on all samples, KL on the flagged ones.

Shapes: B samples, T response tokens of all samples of a micro-batch, flat, F those of the flagged samples, D hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from rolekeeper.contracts.jobs import Method
from rolekeeper.lm.forward import project, response_rows
from rolekeeper.method.fused import Anchor, FusedLoss, fused_rbo
from rolekeeper.method.rbo import KlDirection
from services.trainer.program.data import GlobalBatch, TrainingData
from services.trainer.program.objectives.step import (
    StepLoss,
    TakesLoss,
    add_up,
    flagged_token_weights,
    micro_batches,
    sample_length,
    stand_in,
)
from services.trainer.program.policy import Policy, trained_head
from services.trainer.program.reference import Reference


class KlTerm(NamedTuple):
    """The KL term of CE(all) + weight * KL(flagged)."""

    weight: float
    direction: KlDirection


def kl_term(method: Method) -> KlTerm:
    """`sft` is `sarft` without the anchor; the controls differ from `sarft` in the samples that are anchored.

    Where prompts are anchored instead, no sample is. Where the KL has a limit, the loss is CE alone.
    """
    is_term = method.anchors_samples and method.options.kl_limit is None
    return KlTerm(method.kl_weight if is_term else 0.0, KlDirection(method.kl_direction))


class RboLoss:
    """RBO of a policy on its training data: gradients of a global batch, micro-batch by micro-batch."""

    def __init__(self, policy: Policy, data: TrainingData, term: KlTerm, max_batch_tokens: int) -> None:
        self._policy = policy
        self._data = data
        self._term = term
        self._max_batch_tokens = max_batch_tokens
        self._reference = Reference(policy, data, max_batch_tokens) if term.weight else None

    def backward(self, engine: TakesLoss, batch: GlobalBatch) -> StepLoss:
        """Add up the gradients of a global batch. Raises Diverged, which names the samples."""
        samples = [self._data.samples[index] for index in batch.indices]
        num_tokens = sum(len(sample.response_ids) for sample in samples)
        groups = micro_batches(self._data.samples, batch.indices, self._max_batch_tokens, engine.world)
        sums: list[Tensor] = []
        for group in groups:
            fused = engine.forward(partial(self._share, group, batch, num_tokens))
            engine.backward(fused.loss)
            sums.append(torch.stack([fused.loss.detach(), fused.ce_sum, fused.weighted_kl]))
        loss, ce, weighted_kl = add_up(batch.step, groups, sums, engine.world)
        kl = weighted_kl / self._term.weight if self._term.weight else 0.0
        return StepLoss(loss, ce / num_tokens, kl, sum(map(sample_length, samples)))

    def _share(self, group: Sequence[int], batch: GlobalBatch, num_tokens: int) -> FusedLoss:
        if group:
            return self._micro_batch(group, num_tokens, len(batch.indices))
        idle = self._micro_batch([stand_in(self._data.samples, batch.indices)], num_tokens, len(batch.indices))
        return FusedLoss(*(term * 0.0 for term in idle))

    def _micro_batch(self, indices: Sequence[int], num_tokens: int, num_samples: int) -> FusedLoss:
        """The micro-batch's share of the loss of a global batch with so many response tokens and samples."""
        # The reference goes first: switching the adapter off and on must not fall between a forward and its backward.
        flagged = [index for index in indices if self._data.harmful[index]] if self._reference else []
        reference_FD = self._reference.states(flagged) if self._reference and flagged else None
        rows = response_rows(self._policy, [self._data.samples[index] for index in indices])
        anchor = None
        if self._reference and reference_FD is not None:
            flagged_B = torch.tensor([self._data.harmful[index] for index in indices], device=rows.hidden_TD.device)
            rows_F = torch.nonzero(flagged_B[rows.sample_T]).flatten()
            tokens_B = torch.bincount(rows.sample_T, minlength=len(indices))
            even_F = self._term.weight / (tokens_B[rows.sample_T[rows_F]] * num_samples)
            weights_F = flagged_token_weights(self._data, flagged, even_F)
            anchor = Anchor(rows_F, reference_FD, weights_F, self._term.direction, self._reference.project)
        logits_of, head = partial(project, self._policy), trained_head(self._policy)
        return fused_rbo(logits_of, rows.hidden_TD, rows.labels_T, 1 / num_tokens, anchor, head)
