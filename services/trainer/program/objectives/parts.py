"""Parts that an objective is put together from: KL on safety anchors, KL on flagged samples."""

from __future__ import annotations

from collections.abc import Sequence

from services.trainer.program.data import GlobalBatch, epoch_order
from services.trainer.program.objectives.divergence import KlLoss
from services.trainer.program.objectives.step import Objective, StepLoss, TakesLoss, add_losses


class AnchorTurns:
    """Which anchors a step takes: all in turn, each round in another order. The step alone decides."""

    def __init__(self, num_anchors: int, per_step: int, seed: int) -> None:
        self._num_anchors = num_anchors
        self._per_step = min(per_step, num_anchors)
        self._seed = seed

    def of_step(self, step: int) -> list[int]:
        """The anchors of a step, counted from 0."""
        places = range(step * self._per_step, (step + 1) * self._per_step)
        return [
            epoch_order(self._num_anchors, self._seed, place // self._num_anchors)[place % self._num_anchors]
            for place in places
        ]


class AnchorKl:
    """weight * the mean KL of the step's anchors."""

    def __init__(self, anchors: KlLoss, turns: AnchorTurns, weight: float) -> None:
        self._anchors = anchors
        self._turns = turns
        self._weight = weight

    def backward(self, engine: TakesLoss, batch: GlobalBatch) -> StepLoss:
        """Add up the gradients. Raises Diverged, which names the anchors."""
        indices = self._turns.of_step(batch.step)
        divergence = self._anchors.backward(engine, batch.step, indices, len(indices))
        kl = divergence.kl_sum / len(indices)
        return StepLoss(self._weight * kl, 0.0, 0.0, divergence.num_tokens, {"anchor_kl": kl})


class HarmfulKl:
    """The KL term of RBO alone: weight * KL of the flagged samples of the step."""

    def __init__(self, samples: KlLoss, harmful: Sequence[bool], weight: float) -> None:
        self._samples = samples
        self._harmful = harmful
        self._weight = weight

    def backward(self, engine: TakesLoss, batch: GlobalBatch) -> StepLoss:
        """Add up the gradients. Raises Diverged, which names the samples."""
        flagged = [index for index in batch.indices if self._harmful[index]]
        divergence = self._samples.backward(engine, batch.step, flagged, len(batch.indices))
        kl = divergence.kl_sum / len(batch.indices)
        return StepLoss(self._weight * kl, 0.0, kl, divergence.num_tokens)


class Together:
    """The sum of several objectives."""

    def __init__(self, parts: Sequence[Objective]) -> None:
        self._parts = parts

    def backward(self, engine: TakesLoss, batch: GlobalBatch) -> StepLoss:
        """Add up the gradients of all parts. Raises Diverged."""
        return add_losses([part.backward(engine, batch) for part in self._parts])
