"""The training loop: Role-Safety Balance Optimization (RBO) of the adapter.

Shapes: B samples, T response tokens of all samples of a micro-batch, flat, F those of the flagged samples, D hidden.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from peft import PeftModel
from torch import Tensor

from rolekeeper.contracts.jobs import Method
from rolekeeper.contracts.training import TrainSpec
from rolekeeper.lm.batch import token_budget_batches
from rolekeeper.lm.forward import collate, project, response_hidden
from rolekeeper.method.fused import Anchor, FusedLoss, fused_rbo
from rolekeeper.method.rbo import KlDirection
from services.trainer.program.checkpoint import Checkpoints
from services.trainer.program.data import GlobalBatch, TrainingData, count_steps, global_batches
from services.trainer.program.engine import TorchEngine
from services.trainer.program.failures import Diverged
from services.trainer.program.meter import Meter, Report
from services.trainer.program.reference import Reference

_NAMED_SAMPLES = 16


class Objective(NamedTuple):
    """What is minimised: CE(all) + kl_weight * KL(harmful)."""

    kl_weight: float
    kl_direction: KlDirection


class StepLoss(NamedTuple):
    """Loss of a global batch and its two terms (nats), and how many tokens went through the policy."""

    loss: float
    ce: float
    kl: float
    num_tokens: int


def objective_of(method: Method) -> Objective:
    """`sft` is `sarft` without the anchor; the controls differ from `sarft` in the samples that are anchored."""
    weight = 0.0 if method.name == "sft" else method.kl_weight
    return Objective(weight, KlDirection(method.kl_direction))


def train(
    policy: PeftModel,
    engine: TorchEngine,
    data: TrainingData,
    spec: TrainSpec,
    checkpoints: Checkpoints,
    report: Report,
) -> tuple[float, ...]:
    """Train from the newest checkpoint, or from the start, to the end. Returns the loss of every step of the run.

    Raises Diverged at the first loss or gradient that is not finite, before it can reach the weights.
    """
    hyper = spec.hyperparameters
    losses: list[float] = []
    restored = checkpoints.restore()
    if restored is not None:
        losses.extend(restored.losses)
        engine.load_state(len(losses), restored.tensors)
    meter = Meter(count_steps(len(data.samples), hyper), len(losses), report)
    rbo = RboLoss(policy, data, objective_of(spec.method), spec.max_batch_tokens)
    for batch in global_batches(len(data.samples), hyper, first_step=len(losses)):
        started_at = time.monotonic()
        step_loss = rbo.backward(engine, batch)
        info = engine.step()
        if not math.isfinite(info.grad_norm):
            raise _diverged("gradient", batch.step, batch.indices)
        losses.append(step_loss.loss)
        checkpoints.offer(losses, engine.state)
        seconds = time.monotonic() - started_at
        metrics = {
            "loss": step_loss.loss,
            "ce": step_loss.ce,
            "kl": step_loss.kl,
            "learning_rate": info.learning_rate,
            "grad_norm": info.grad_norm,
            "tokens_per_second": round(step_loss.num_tokens / seconds, 1),
        }
        meter.update(len(losses), metrics)
    return tuple(losses)


class RboLoss:
    """RBO of a policy on its training data: gradients of a global batch, micro-batch by micro-batch."""

    def __init__(self, policy: PeftModel, data: TrainingData, objective: Objective, max_batch_tokens: int) -> None:
        self._policy = policy
        self._data = data
        self._objective = objective
        self._max_batch_tokens = max_batch_tokens
        self._reference = Reference(policy, data, max_batch_tokens)

    def backward(self, engine: TorchEngine, batch: GlobalBatch) -> StepLoss:
        """Add up the gradients of a global batch. Raises Diverged, which names the samples."""
        samples = [self._data.samples[index] for index in batch.indices]
        num_tokens = sum(len(sample.response_ids) for sample in samples)
        lengths = [len(sample.prompt_ids) + len(sample.response_ids) for sample in samples]
        groups = [
            [batch.indices[position] for position in group]
            for group in token_budget_batches(lengths, self._max_batch_tokens, len(samples))
        ]
        sums: list[Tensor] = []
        for group in groups:
            fused = self._micro_batch(group, num_tokens, len(samples))
            engine.backward(fused.loss)
            sums.append(torch.stack([fused.loss.detach(), fused.ce_sum, fused.weighted_kl]))
        # The one place of a step where an accelerator is waited for.
        by_group = torch.stack(sums).tolist()
        for group, (loss_value, _, _) in zip(groups, by_group, strict=True):
            if not math.isfinite(loss_value):
                raise _diverged("loss", batch.step, group)
        loss, ce, weighted_kl = (sum(column) for column in zip(*by_group, strict=True))
        kl = weighted_kl / self._objective.kl_weight if self._objective.kl_weight else 0.0
        return StepLoss(loss, ce / num_tokens, kl, sum(lengths))

    def _micro_batch(self, indices: Sequence[int], num_tokens: int, num_samples: int) -> FusedLoss:
        """The micro-batch's share of the loss of a global batch with so many response tokens and samples."""
        # The reference goes first: switching the adapter off and on must not fall between a forward and its backward.
        flagged = [index for index in indices if self._data.harmful[index]] if self._objective.kl_weight else []
        reference_FD = self._reference.states(flagged) if flagged else None
        batch = collate([self._data.samples[index] for index in indices], pad_id=0, device=self._policy.device)
        hidden_TD = response_hidden(self._policy, batch)
        anchor = None
        if reference_FD is not None:
            flagged_B = torch.tensor([self._data.harmful[index] for index in indices], device=hidden_TD.device)
            rows_F = torch.nonzero(flagged_B[batch.sample_T]).flatten()
            tokens_B = torch.bincount(batch.sample_T, minlength=len(indices))
            weights_F = self._objective.kl_weight / (tokens_B[batch.sample_T[rows_F]] * num_samples)
            anchor = Anchor(rows_F, reference_FD, weights_F, self._objective.kl_direction)
        return fused_rbo(partial(project, self._policy), hidden_TD, batch.labels_T, 1 / num_tokens, anchor)


def _diverged(what: str, step: int, indices: Sequence[int]) -> Diverged:
    named = ", ".join(str(index) for index in sorted(indices)[:_NAMED_SAMPLES])
    more = f" and {len(indices) - _NAMED_SAMPLES} more" if len(indices) > _NAMED_SAMPLES else ""
    return Diverged(
        f"the {what} of step {step + 1} is not a finite number, in a batch with the samples {named}{more} (counted "
        "from 0): lower learning_rate, and look at these samples"
    )
