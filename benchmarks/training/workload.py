"""What is trained on: the same rows, in the same order and with the same hyperparameters, for all."""

from __future__ import annotations

import random
from typing import NamedTuple

from benchmarks.scoring.workload import Character, Workload
from rolekeeper.contracts.jobs import Hyperparameters
from rolekeeper.lm.encode import EncodedSample
from services.trainer.program.data import TrainingData, epoch_order

SEED = 7


class Rows(NamedTuple):
    """Samples under role, unsafe and plain, and the training data: the plain ones, some of them flagged."""

    contexts: Character
    data: TrainingData

    @property
    def num_tokens(self) -> int:
        """Tokens of prompts and responses that one epoch trains on, without padding."""
        return sum(len(sample.prompt_ids) + len(sample.response_ids) for sample in self.data.samples)

    @property
    def flagged_share(self) -> float:
        """h: the share of the tokens that is in flagged samples."""
        pairs = zip(self.data.samples, self.data.harmful, strict=True)
        flagged = sum(len(sample.prompt_ids) + len(sample.response_ids) for sample, harmful in pairs if harmful)
        return flagged / self.num_tokens

    @property
    def flagged_response_tokens(self) -> int:
        """Response tokens of flagged samples: so many hidden states of the reference are kept."""
        pairs = zip(self.data.samples, self.data.harmful, strict=True)
        return sum(len(sample.response_ids) for sample, harmful in pairs if harmful)

    def in_order(self, hyper: Hyperparameters) -> list[EncodedSample]:
        """The training samples in the order in which our first epoch takes them."""
        return [self.data.samples[index] for index in self.order(hyper)]

    def order(self, hyper: Hyperparameters) -> list[int]:
        """The order of our first epoch."""
        return epoch_order(len(self.data.samples), hyper.seed, 0)


def make_rows(workload: Workload, share: float) -> Rows:
    """All characters' samples as one training set, of which a seeded `share` is flagged."""
    role, unsafe, plain = (
        tuple(sample for character in workload.characters for sample in character[context]) for context in range(3)
    )
    chosen = random.Random(SEED).sample(range(len(plain)), round(share * len(plain)))
    flags = tuple(index in frozenset(chosen) for index in range(len(plain)))
    return Rows(Character(role, unsafe, plain), TrainingData(plain, flags))


class Outcome(NamedTuple):
    """What one training took and gave: seconds of each epoch, and the loss of each step."""

    epoch_seconds: list[float]
    losses: list[float]


def greatest_difference(ours: list[float], theirs: list[float]) -> float:
    """The greatest difference between two loss curves; infinite if their lengths differ."""
    if len(ours) != len(theirs):
        return float("inf")
    return max(abs(our - their) for our, their in zip(ours, theirs, strict=True))
