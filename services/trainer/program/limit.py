"""The limit on the KL to the base model: measured after each step, and kept by moving the weights back."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from rolekeeper.contracts.jobs import Method
from rolekeeper.contracts.training import TrainSpec
from rolekeeper.method.limit import step_back
from rolekeeper.method.rbo import KlDirection
from services.trainer.program.data import TrainingData, epoch_order
from services.trainer.program.engine import Engine
from services.trainer.program.objectives.divergence import KlLoss
from services.trainer.program.objectives.parts import AnchorTurns
from services.trainer.program.objectives.rbo import KlTerm
from services.trainer.program.objectives.step import TakesLoss, diverged
from services.trainer.program.objectives.surgery import Gradients
from services.trainer.program.policy import Policy, trained_weights
from services.trainer.program.world import World

_MEASURED = 256
"""What is anchored and looked at when the training is over, at most."""

T = TypeVar("T")


class Onlooker:
    """Takes losses as an engine does, for their values alone."""

    def __init__(self, world: World) -> None:
        self.world = world

    def forward(self, compute: Callable[[], T]) -> T:
        """Run a forward pass of the policy, and return what it returns."""
        with torch.no_grad():
            return compute()

    def backward(self, loss: Tensor) -> None:
        """Nothing is wanted."""


class KlLimit:
    """Keeps the mean KL of what is anchored, `anchors_per_step` of it in each step, at `kl_limit` or below.

    It has no state but the weights: a run that resumes does what it would have done. AdamW's moments are those of the
    loss alone.
    """

    def __init__(self, policy: Policy, data: TrainingData, spec: TrainSpec, limit: float) -> None:
        self._limit = limit
        self._weights = [*trained_weights(policy).values()]
        anchored = everything_anchored(data, spec.method)
        self._anchored = [index for index, is_anchored in enumerate(anchored.harmful) if is_anchored]
        self._seed = spec.hyperparameters.seed
        self._turns = AnchorTurns(len(self._anchored), spec.method.options.anchors_per_step, self._seed)
        term = KlTerm(1.0, KlDirection(spec.method.kl_direction))
        self._kl = KlLoss(policy, anchored, term, spec.max_batch_tokens)

    def hold(self, engine: Engine, step: int, learning_rate: float) -> dict[str, float]:
        """Measure after a step, counted from 0, and move the weights back where the KL is over the limit.

        The way back is at most as long as a step of AdamW that moves each weight by the learning rate. Returns the
        metrics: the KL before the move, and its length. Raises Diverged, which names the samples; anchor prompts are
        counted on from the last sample.
        """
        if not self._anchored:
            return {}
        indices = [self._anchored[place] for place in self._turns.of_step(step)]
        kl = self._mean_kl(Onlooker(engine.world), step, indices)
        if kl <= self._limit:
            return {"anchor_kl": kl, "step_back": 0.0}
        gradients = Gradients(self._weights, engine.world)
        self._mean_kl(gradients, step, indices)
        totals = gradients.totals()
        squared_norm = float(torch.stack([total.double().square().sum() for total in totals]).sum())
        if not math.isfinite(squared_norm):
            raise diverged("gradient of the KL", step, indices)
        longest = learning_rate * math.sqrt(sum(weight.numel() for weight in self._weights))
        factor = step_back(kl - self._limit, squared_norm, longest)
        engine.move([total.float() * -factor for total in totals])
        return {"anchor_kl": kl, "step_back": factor * math.sqrt(squared_norm)}

    def measure(self, world: World, num_steps: int) -> float | None:
        """Return the mean KL of what is anchored, of up to 256 of it, after the training; None where nothing is."""
        order = epoch_order(len(self._anchored), self._seed, 0)[:_MEASURED]
        if not order:
            return None
        return self._mean_kl(Onlooker(world), num_steps, [self._anchored[place] for place in order])

    def _mean_kl(self, taker: TakesLoss, step: int, indices: Sequence[int]) -> float:
        return self._kl.backward(taker, step, indices, len(indices)).kl_sum / len(indices)


def kl_limit_of(policy: Policy, data: TrainingData, spec: TrainSpec) -> KlLimit | None:
    """Return what keeps the limit, if the method has one."""
    limit = spec.method.options.kl_limit
    return None if limit is None else KlLimit(policy, data, spec, limit)


def everything_anchored(data: TrainingData, method: Method) -> TrainingData:
    """The samples, those flagged that the method anchors, and after them the anchor prompts, flagged all."""
    flagged = data.harmful if method.anchors_samples else (False,) * len(data.samples)
    weights = data.token_weights
    if weights is not None:
        ones = {len(flagged) + place: torch.ones(len(each.response_ids)) for place, each in enumerate(data.anchors)}
        weights = weights | ones
    samples = (*data.samples, *data.anchors)
    return TrainingData(samples, (*flagged, *(True,) * len(data.anchors)), token_weights=weights)
