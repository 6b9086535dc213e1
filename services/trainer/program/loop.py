"""The training loop: Role-Safety Balance Optimization (RBO) of the adapter.

Shapes: B samples, T response tokens of all samples of a micro-batch, flat, V vocabulary. Logits exist for response
tokens only.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import NamedTuple

import torch
from peft import PeftModel
from torch import Tensor

from rolekeeper.contracts.jobs import Method
from rolekeeper.contracts.training import TrainSpec
from rolekeeper.lm.batch import token_budget_batches
from rolekeeper.lm.forward import Batch, collate, response_logits
from rolekeeper.method.rbo import KlDirection, RboTerms, ce_sum, kl_sum, rbo_loss, token_kl
from services.trainer.program.checkpoint import Checkpoints
from services.trainer.program.data import GlobalBatch, TrainingData, count_steps, global_batches
from services.trainer.program.engine import TorchEngine
from services.trainer.program.failures import Diverged
from services.trainer.program.meter import Meter, Report

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
    """`sft` is `sarft` without the anchor."""
    weight = method.kl_weight if method.name == "sarft" else 0.0
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
    objective = objective_of(spec.method)
    for batch in global_batches(len(data.samples), hyper, first_step=len(losses)):
        started_at = time.monotonic()
        step_loss = backward_batch(policy, engine, data, batch, objective, spec.max_batch_tokens)
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


def backward_batch(
    policy: PeftModel,
    engine: TorchEngine,
    data: TrainingData,
    batch: GlobalBatch,
    objective: Objective,
    max_batch_tokens: int,
) -> StepLoss:
    """Add up the gradients of a global batch, micro-batch by micro-batch. Raises Diverged, which names the samples."""
    num_tokens = sum(len(data.samples[index].response_ids) for index in batch.indices)
    num_samples = len(batch.indices)
    lengths = [len(data.samples[index].prompt_ids) + len(data.samples[index].response_ids) for index in batch.indices]
    groups = [
        [batch.indices[position] for position in group]
        for group in token_budget_batches(lengths, max_batch_tokens, num_samples)
    ]
    sums: list[Tensor] = []
    for group in groups:
        terms = micro_batch_terms(policy, data, group, objective)
        loss = rbo_loss(terms.ce_sum, num_tokens, terms.kl_sum, num_samples, objective.kl_weight)
        engine.backward(loss)
        sums.append(torch.stack([loss.detach(), terms.ce_sum.detach(), terms.kl_sum.detach()]))
    # The one place of a step where an accelerator is waited for.
    by_group = torch.stack(sums).tolist()
    for group, (loss_value, _, _) in zip(groups, by_group, strict=True):
        if not math.isfinite(loss_value):
            raise _diverged("loss", batch.step, group)
    loss_sum, ce, kl = (sum(column) for column in zip(*by_group, strict=True))
    return StepLoss(loss_sum, ce / num_tokens, kl / num_samples, sum(lengths))


def micro_batch_terms(policy: PeftModel, data: TrainingData, indices: Sequence[int], objective: Objective) -> RboTerms:
    """Return the two sums of RBO for some samples. The KL one is 0 where none is flagged, or where it has no weight."""
    flagged = [index for index in indices if data.harmful[index]] if objective.kl_weight else []
    # The reference goes first: switching the adapter off and on must not fall between a forward and its backward.
    reference = _collate(policy, data, flagged) if flagged else None
    reference_TV = None if reference is None else _reference_logits(policy, reference)
    batch = _collate(policy, data, indices)
    logits_TV = response_logits(policy, batch)
    ce = ce_sum(logits_TV, batch.labels_T)
    if reference is None or reference_TV is None:
        return RboTerms(ce, torch.zeros_like(ce))
    flagged_B = torch.tensor([data.harmful[index] for index in indices], device=logits_TV.device)
    kl_T = token_kl(logits_TV[flagged_B[batch.sample_T]], reference_TV, objective.kl_direction)
    return RboTerms(ce, kl_sum(kl_T, reference.sample_T, len(flagged)))


def _reference_logits(policy: PeftModel, batch: Batch) -> Tensor:
    """Logits [T, V] of the same weights with the adapter off."""
    with torch.no_grad(), policy.disable_adapter():
        return response_logits(policy, batch)


def _collate(policy: PeftModel, data: TrainingData, indices: Sequence[int]) -> Batch:
    return collate([data.samples[index] for index in indices], pad_id=0, device=policy.device)


def _diverged(what: str, step: int, indices: Sequence[int]) -> Diverged:
    named = ", ".join(str(index) for index in sorted(indices)[:_NAMED_SAMPLES])
    more = f" and {len(indices) - _NAMED_SAMPLES} more" if len(indices) > _NAMED_SAMPLES else ""
    return Diverged(
        f"the {what} of step {step + 1} is not a finite number, in a batch with the samples {named}{more} (counted "
        "from 0): lower learning_rate, and look at these samples"
    )
