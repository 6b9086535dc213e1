"""The training loop: what every run does step by step, whatever its objective."""

from __future__ import annotations

import math
import time
from functools import partial
from typing import NamedTuple

from rolekeeper.contracts.training import TrainSpec
from services.trainer.program.checkpoint import Checkpoints
from services.trainer.program.data import TrainingData, count_steps, global_batches
from services.trainer.program.engine import Engine
from services.trainer.program.limit import kl_limit_of
from services.trainer.program.meter import Meter, Report
from services.trainer.program.objectives.choose import objective_of
from services.trainer.program.objectives.step import diverged
from services.trainer.program.policy import Policy
from services.trainer.program.validation import Validation


class Curves(NamedTuple):
    """The loss of every step, and of the validation samples after every epoch (none without such samples)."""

    losses: tuple[float, ...]
    validation_losses: tuple[float, ...] = ()
    anchor_kl: float | None = None
    """After the training, where `kl_limit` holds it."""


def train(
    policy: Policy,
    engine: Engine,
    data: TrainingData,
    spec: TrainSpec,
    checkpoints: Checkpoints,
    report: Report,
) -> Curves:
    """Train from the newest checkpoint, or from the start, to the end or the early stop. Returns all losses of the run.

    Raises Diverged at the first loss or gradient that is not finite, before it can reach the weights.
    """
    hyper = spec.hyperparameters
    # Before a checkpoint moves the weights: an objective may need the model as it was.
    objective = engine.look(partial(objective_of, policy, data, spec))
    limit = kl_limit_of(policy, data, spec)
    losses: list[float] = []
    validation = Validation(policy, data, spec)
    restored = checkpoints.restore()
    if restored is not None:
        losses.extend(restored.losses)
        engine.load_state(len(losses), restored.tensors)
        validation.load_state(restored.tensors)
    training = data.training
    meter = Meter(count_steps(len(training), hyper), len(losses), report)
    for batch in global_batches(training, hyper, first_step=len(losses)):
        if engine.world.agree(validation.is_over):
            break
        started_at = time.monotonic()
        step_loss = objective.backward(engine, batch)
        info = engine.step()
        if not math.isfinite(info.grad_norm):
            raise diverged("gradient", batch.step, batch.indices)
        held = limit.hold(engine, batch.step, info.learning_rate) if limit else {}
        losses.append(step_loss.loss)
        seconds = time.monotonic() - started_at
        measured = engine.look(validation.measure) if batch.ends_epoch else {}
        checkpoints.offer(losses, lambda: {**engine.state(), **validation.state()})
        metrics = {
            "loss": step_loss.loss,
            "ce": step_loss.ce,
            "kl": step_loss.kl,
            "flagged_share": sum(data.harmful[index] for index in batch.indices) / len(batch.indices),
            "learning_rate": info.learning_rate,
            "grad_norm": info.grad_norm,
            "tokens_per_second": round(step_loss.num_tokens / seconds, 1),
            **step_loss.more,
        }
        meter.update(len(losses), {**metrics, **held, **measured})
    validation.take_best()
    anchor_kl = limit.measure(engine.world, len(losses)) if limit else None
    return Curves(tuple(losses), tuple(validation.losses), anchor_kl)
