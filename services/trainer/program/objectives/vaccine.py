"""Vaccine: cross-entropy under the shift of the attention outputs that raises it most.

Two passes for each micro-batch: one for the gradients by the attention outputs, one that is learned from.

Shapes: B samples, S positions (padded), D hidden, T response tokens, flat.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from rolekeeper.lm.forward import Batch, collate, project, response_hidden, unwrap
from rolekeeper.lm.load import BaseModelUnusable
from rolekeeper.method.fused import FusedLoss, fused_rbo
from rolekeeper.method.vaccine import perturbations
from services.trainer.program.data import GlobalBatch, TrainingData
from services.trainer.program.objectives.step import (
    StepLoss,
    TakesLoss,
    add_up,
    micro_batches,
    sample_length,
    stand_in,
)
from services.trainer.program.policy import Policy, trained_head


class VaccineLoss:
    """The loss that is reported is that of the second pass. As released, the norm is that of one micro-batch."""

    def __init__(self, policy: Policy, data: TrainingData, rho: float, max_batch_tokens: int) -> None:
        self._policy = policy
        self._data = data
        self._rho = rho
        self._max_batch_tokens = max_batch_tokens
        self._attentions = find_attentions(policy)

    def backward(self, engine: TakesLoss, batch: GlobalBatch) -> StepLoss:
        """Add up the gradients of a global batch. Raises Diverged, which names the samples."""
        samples = [self._data.samples[index] for index in batch.indices]
        num_tokens = sum(len(sample.response_ids) for sample in samples)
        groups = micro_batches(self._data.samples, batch.indices, self._max_batch_tokens, engine.world)
        idle = stand_in(self._data.samples, batch.indices)
        sums: list[Tensor] = []
        for group in groups:
            worked = [self._data.samples[index] for index in group or [idle]]
            part = collate(worked, pad_id=0, device=self._policy.device)
            with shifted(self._attentions, self._worst_shifts(part)):
                fused = engine.forward(partial(self._share, part, num_tokens, counts=bool(group)))
                # Inside: where activations are computed again, they must be shifted again.
                engine.backward(fused.loss)
            sums.append(torch.stack([fused.loss.detach(), fused.ce_sum]))
        loss, ce = add_up(batch.step, groups, sums, engine.world)
        return StepLoss(loss, ce / num_tokens, 0.0, sum(map(sample_length, samples)))

    def _worst_shifts(self, batch: Batch) -> list[Tensor]:
        hidden_size = unwrap(self._policy).config.get_text_config().hidden_size
        shape = (*batch.input_ids_BS.shape, hidden_size)
        zeros = [
            torch.zeros(shape, dtype=self._policy.dtype, device=self._policy.device, requires_grad=True)
            for _ in self._attentions
        ]
        with shifted(self._attentions, zeros):
            gradients = torch.autograd.grad(self._loss(batch, len(batch.labels_T)).loss, zeros)
        return perturbations(gradients, self._rho)

    def _share(self, batch: Batch, num_tokens: int, *, counts: bool) -> FusedLoss:
        fused = self._loss(batch, num_tokens)
        return fused if counts else FusedLoss(*(term * 0.0 for term in fused))

    def _loss(self, batch: Batch, num_tokens: int) -> FusedLoss:
        hidden_TD = response_hidden(self._policy, batch)
        logits_of, head = partial(project, self._policy), trained_head(self._policy)
        return fused_rbo(logits_of, hidden_TD, batch.labels_T, 1 / num_tokens, head=head)


def find_attentions(model: nn.Module) -> list[nn.Module]:
    """The attention layers, in order. Raises BaseModelUnusable if there are none."""
    found = [module for name, module in model.named_modules() if name.rpartition(".")[2] == "self_attn"]
    if not found:
        raise BaseModelUnusable("the base model has no layer called self_attn, which vaccine shifts")
    return found


@contextmanager
def shifted(attentions: Sequence[nn.Module], shift_BSD: Sequence[Tensor]) -> Iterator[None]:
    """Add a tensor to what each attention layer gives, for as long as the block lasts."""
    hooks = [
        attention.register_forward_hook(partial(_add, shift))
        for attention, shift in zip(attentions, shift_BSD, strict=True)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _add(shift_BSD: Tensor, _module: nn.Module, _inputs: Any, output: Any) -> Any:
    if isinstance(output, tuple):
        return (output[0] + shift_BSD, *output[1:])
    return output + shift_BSD
