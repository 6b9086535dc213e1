"""Bi-Selection: samples whose gradient is like that of harmful answers, and unlike that of safe ones.

Shapes: P weights, K safe anchors.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

ANCHOR_TOKENS = 10
"""Of an anchor only the first response tokens count: they decide whether a request is followed or refused."""


def bidirectional_score(gradient_P: Tensor, harmful_P: Tensor, safe_KP: Tensor) -> Tensor:
    """Return cos(g, g_harmful) - sum_k cos(g, g_safe_k), a scalar.

    He et al. (arXiv 2404.01099), gradient matching with bidirectional anchors. `gradient_P` is that of one sample's
    loss, the anchors are mean gradients over a few examples each. Gradients that are 0 have a cosine of 0.
    """
    cosine_K = torch.nn.functional.cosine_similarity(gradient_P, safe_KP, dim=-1)
    return torch.nn.functional.cosine_similarity(gradient_P, harmful_P, dim=-1) - cosine_K.sum()


def highest(scores: Sequence[float], count: int) -> list[int]:
    """Return the indices, ascending, of the `count` highest scores; of equal ones the earlier go first."""
    return sorted(sorted(range(len(scores)), key=lambda index: -scores[index])[:count])
