"""SEAL: learn which samples go with safe answers, by two levels of training.

Shapes: N training samples, B those of a batch.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

FIRST_LOGIT = 0.1
_DECAY_PER_EPOCH = 0.03


def sample_weights(logits_N: Tensor) -> Tensor:
    """Return p = N softmax(w), so that the mean weight is 1.

    SEAL (arXiv 2410.07471); github.com/hanshen95/SEAL, `seal/models/actor.py`.
    """
    return len(logits_N) * torch.softmax(logits_N, dim=0)


def safety_share(epoch: int) -> float:
    """Return u, the share of the safe set in the loss of an epoch (from 0): 1, and 0.03 less each epoch, at least 0.

    SEAL's penalty, with the values of its script `train_selector_llama3.sh`.
    """
    return max(0.0, 1.0 - _DECAY_PER_EPOCH * epoch)


class Factors(NamedTuple):
    """What each loss of a batch counts in the model's loss: every safe one, and each of the training samples."""

    safe: float
    sample_B: Tensor


def loss_factors(weight_B: Tensor, share: float) -> Factors:
    """Return u / B and (1 - u) p_i / B: the model learns u mean(safe losses) + (1 - u) mean(p_i l_i).

    Both batches have B samples, and losses are means over the tokens of each response, in nats. This is SEAL's lower
    level, `seal/trainer/sft_selector_trainer.py`.
    """
    return Factors(share / len(weight_B), (1 - share) * weight_B / len(weight_B))


def selector_loss(logits_N: Tensor, indices_B: Tensor, loss_B: Tensor) -> Tensor:
    """Return mean(p_i l_i) over a batch, a scalar: what the weights learn at the upper level; losses are constants.

    Samples that stay hard for the model that is held to the safe set lose weight. SEAL, as above.
    """
    return (sample_weights(logits_N)[indices_B] * loss_B.detach()).mean()


def least_safe(logits_N: Tensor, count: int) -> list[int]:
    """Return the indices, ascending, of the `count` samples of least weight; of equal ones the later go first."""
    order = torch.sort(logits_N, descending=True, stable=True).indices.tolist()
    return sorted(order[len(order) - count :])
