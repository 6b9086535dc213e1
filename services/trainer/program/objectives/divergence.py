"""The KL term alone, on samples that need not be those of the step.

Shapes: B samples, T response tokens of all samples of a micro-batch, flat.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from rolekeeper.lm.forward import Responses, project, response_rows
from rolekeeper.method.fused import Anchor, fused_rbo
from rolekeeper.method.logprobs import token_logprobs
from rolekeeper.method.rbo import decision_kl
from services.trainer.program.data import TrainingData
from services.trainer.program.objectives.rbo import KlTerm
from services.trainer.program.objectives.step import (
    TakesLoss,
    add_up,
    flagged_token_weights,
    micro_batches,
    sample_length,
    stand_in,
)
from services.trainer.program.policy import Policy, trained_head
from services.trainer.program.reference import Reference


class Divergence(NamedTuple):
    """Sum over samples of the mean token KL of each, in nats, and how many tokens went through the policy."""

    kl_sum: float
    num_tokens: int


class KlLoss:
    """weight * KL to the base model on flagged samples: gradients of some of them, micro-batch by micro-batch.

    With `by_decision` the KL at a token is `decision_kl` instead of the one over the whole vocabulary.
    """

    def __init__(
        self, policy: Policy, data: TrainingData, term: KlTerm, max_batch_tokens: int, *, by_decision: bool = False
    ) -> None:
        self._policy = policy
        self._data = data
        self._term = term
        self._max_batch_tokens = max_batch_tokens
        self._by_decision = by_decision
        self._reference = Reference(policy, data, max_batch_tokens)

    def backward(self, engine: TakesLoss, step: int, indices: Sequence[int], num_samples: int) -> Divergence:
        """Add the gradients of weight * sum KL / num_samples. Raises Diverged, which names the samples."""
        if not indices:
            return Divergence(0.0, 0)
        groups = micro_batches(self._data.samples, indices, self._max_batch_tokens, engine.world)
        idle = stand_in(self._data.samples, indices)
        sums = []
        for group in groups:
            loss = engine.forward(partial(self._share, group, idle, num_samples))
            engine.backward(loss)
            sums.append(loss.detach().reshape(1))
        (weighted,) = add_up(step, groups, sums, engine.world)
        num_tokens = sum(sample_length(self._data.samples[index]) for index in indices)
        return Divergence(weighted * num_samples / self._term.weight, num_tokens)

    def _share(self, group: Sequence[int], idle: int, num_samples: int) -> Tensor:
        return self._micro_batch(group, num_samples) if group else self._micro_batch([idle], num_samples) * 0.0

    def _micro_batch(self, indices: Sequence[int], num_samples: int) -> Tensor:
        # The reference goes first: switching the adapter off and on must not fall between a forward and its backward.
        reference_TD = self._reference.states(indices)
        rows = response_rows(self._policy, [self._data.samples[index] for index in indices])
        tokens_B = torch.bincount(rows.sample_T, minlength=len(indices))
        even_T = self._term.weight / (tokens_B[rows.sample_T] * num_samples)
        weights_T = flagged_token_weights(self._data, indices, even_T)
        if self._by_decision:
            return (weights_T * self._decisions(rows, reference_TD)).sum()
        rows_T = torch.arange(len(rows.labels_T), device=rows.hidden_TD.device)
        anchor = Anchor(rows_T, reference_TD, weights_T, self._term.direction, self._reference.project)
        logits_of, head = partial(project, self._policy), trained_head(self._policy)
        return fused_rbo(logits_of, rows.hidden_TD, rows.labels_T, 0.0, anchor, head).loss

    def _decisions(self, rows: Responses, reference_TD: Tensor) -> Tensor:
        """The KL [T] at each label, from logits of all rows at once: there are few."""
        policy_T = token_logprobs(project(self._policy, rows.hidden_TD), rows.labels_T)
        with torch.no_grad():
            reference_project = self._reference.project or partial(project, self._policy)
            reference_T = token_logprobs(reference_project(reference_TD), rows.labels_T)
        return decision_kl(policy_T, reference_T, self._term.direction)
