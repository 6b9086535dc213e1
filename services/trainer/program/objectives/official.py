"""RBO as SaRFT's released code computes it: `compat: official`.

Naive twin: `official_terms` of `rolekeeper.method.rbo`.

Shapes: B samples, S positions of one sample, prompt and response, D hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from rolekeeper.lm.encode import EncodedSample
from rolekeeper.lm.forward import project, response_rows
from rolekeeper.method.fused import Anchor, FusedLoss, fused_rbo
from services.trainer.program.data import GlobalBatch, TrainingData
from services.trainer.program.objectives.rbo import KlTerm
from services.trainer.program.objectives.step import (
    StepLoss,
    TakesLoss,
    add_up,
    micro_batches,
    sample_length,
    stand_in,
)
from services.trainer.program.policy import Policy, trained_head
from services.trainer.program.reference import Reference


def at_all_positions(sample: EncodedSample) -> EncodedSample:
    """The sample with a row for each of its tokens. The last row's label stands for what comes after the end."""
    ids = [*sample.prompt_ids, *sample.response_ids]
    return sample._replace(prompt_ids=ids[:1], response_ids=[*ids[1:], ids[-1]])


class OfficialLoss:
    """Mean over the samples of a global batch of CE / length + weight * flag * KL at all positions / length."""

    def __init__(self, policy: Policy, data: TrainingData, term: KlTerm, max_batch_tokens: int) -> None:
        self._policy = policy
        self._prompt_lengths = [len(sample.prompt_ids) for sample in data.samples]
        self._data = data._replace(samples=tuple(map(at_all_positions, data.samples)))
        self._term = term
        self._max_batch_tokens = max_batch_tokens
        self._reference = Reference(policy, self._data, max_batch_tokens) if term.weight else None

    def backward(self, engine: TakesLoss, batch: GlobalBatch) -> StepLoss:
        """Add up the gradients of a global batch. Raises Diverged, which names the samples."""
        groups = micro_batches(self._data.samples, batch.indices, self._max_batch_tokens, engine.world)
        idle = stand_in(self._data.samples, batch.indices)
        sums: list[Tensor] = []
        for group in groups:
            share = engine.forward(partial(self._share, group, idle, len(batch.indices)))
            engine.backward(share.loss)
            sums.append(torch.stack([share.loss.detach(), share.ce_sum, share.weighted_kl]))
        loss, ce, weighted_kl = add_up(batch.step, groups, sums, engine.world)
        kl = weighted_kl / self._term.weight if self._term.weight else 0.0
        num_tokens = sum(sample_length(self._data.samples[index]) - 1 for index in batch.indices)
        return StepLoss(loss, ce, kl, num_tokens)

    def _share(self, group: Sequence[int], idle: int, num_samples: int) -> FusedLoss:
        if group:
            return self._micro_batch(group, num_samples)
        return FusedLoss(*(term * 0.0 for term in self._micro_batch([idle], num_samples)))

    def _micro_batch(self, indices: Sequence[int], num_samples: int) -> FusedLoss:
        """The micro-batch's share of the loss, its CE with what it counts there, and its weighted KL."""
        # The reference goes first: switching the adapter off and on must not fall between a forward and its backward.
        references = [self._reference_of(index) for index in indices]
        rows = response_rows(self._policy, [self._data.samples[index] for index in indices])
        lengths = [len(self._data.samples[index].response_ids) for index in indices]
        hidden, labels = rows.hidden_TD.split(lengths), rows.labels_T.split(lengths)
        terms = [
            part
            for index, hidden_SD, labels_S, reference_SD in zip(indices, hidden, labels, references, strict=True)
            for part in self._sample(self._prompt_lengths[index], hidden_SD, labels_S, reference_SD, num_samples)
        ]
        return FusedLoss(*(torch.stack(column).sum() for column in zip(*terms, strict=True)))

    def _reference_of(self, index: int) -> Tensor | None:
        return self._reference.states([index]) if self._reference and self._data.harmful[index] else None

    def _sample(
        self, num_prompt: int, hidden_SD: Tensor, labels_S: Tensor, reference_SD: Tensor | None, num_samples: int
    ) -> list[FusedLoss]:
        """A sample's rows that predict the response, with CE, and the others, which KL alone looks at."""
        share = 1 / (len(labels_S) * num_samples)
        answers = torch.zeros(len(labels_S), dtype=torch.bool, device=labels_S.device)
        answers[num_prompt - 1 : -1] = True
        parts = [(answers, share)] if reference_SD is None else [(answers, share), (~answers, 0.0)]
        return [self._rows(taken, hidden_SD, labels_S, reference_SD, (ce, share)) for taken, ce in parts]

    def _rows(
        self,
        taken_S: Tensor,
        hidden_SD: Tensor,
        labels_S: Tensor,
        reference_SD: Tensor | None,
        counts: tuple[float, float],
    ) -> FusedLoss:
        """CE and KL of some rows of a sample; `counts` is what a token counts in each."""
        ce_weight, share = counts
        anchor = None
        if self._reference and reference_SD is not None:
            rows_F = torch.arange(int(taken_S.sum()), device=labels_S.device)
            weights_F = torch.full((len(rows_F),), self._term.weight * share, device=labels_S.device)
            project_by = self._reference.project
            anchor = Anchor(rows_F, reference_SD[taken_S], weights_F, self._term.direction, project_by)
        logits_of, head = partial(project, self._policy), trained_head(self._policy)
        fused = fused_rbo(logits_of, hidden_SD[taken_S], labels_S[taken_S], ce_weight, anchor, head)
        return fused._replace(ce_sum=fused.ce_sum * ce_weight)
