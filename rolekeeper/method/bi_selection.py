"""Bi-Selection: samples whose gradient is like that of harmful answers, and unlike that of safe ones.

Shapes: P weights, K safe anchors.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

ANCHOR_TOKENS = 10
"""Of an anchor only the first response tokens count: they decide whether a request is followed or refused."""


def mean_direction(gradients: Iterable[Tensor]) -> Tensor:
    """Return the mean [P] of g / ||g|| over the gradients [P] of at least one example: an anchor, at most 1 long.

    As in `average_gradient.py --normalize` of the released code. A gradient that is 0 stays 0.
    """
    total, count = torch.zeros(()), 0
    for gradient_P in gradients:
        total, count = normalize(gradient_P, dim=0) + total.to(gradient_P), count + 1
    return total / count


def bidirectional_score(gradient_P: Tensor, harmful_P: Tensor, safe_KP: Tensor) -> Tensor:
    """Return u . h - sum_k u . s_k with u = g / ||g||, a scalar.

    He et al. (arXiv 2404.01099), gradient matching with bidirectional anchors, as in `rank.py --normalize` of the
    released code with the weights 1 -1 -1 of its `rank.sh`. `gradient_P` is that of one sample's loss, the anchors are
    as `mean_direction` gives them: examples that agree make a longer one, which counts more.
    """
    unit_P = normalize(gradient_P, dim=0)
    return unit_P @ harmful_P - (safe_KP @ unit_P).sum()


def highest(scores: Sequence[float], count: int) -> list[int]:
    """Return the indices, ascending, of the `count` highest scores; of equal ones the earlier go first."""
    return sorted(sorted(range(len(scores)), key=lambda index: -scores[index])[:count])
