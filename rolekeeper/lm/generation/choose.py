"""Which token comes next: the most likely one, or one drawn by the seed.

Shapes: B rows, V vocabulary.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

import torch
from torch import Tensor

NEAR_TIE = 1e-3
"""Logits of the two most likely tokens that are so close are computed again alone: what a row is answered with changes
its fp32 logits by less than this."""

NEAR_EDGE = 1e-5
"""The same for sampling, in probability: how close a draw may come to the edge between two tokens."""


class Choice(NamedTuple):
    """Token of each row, and whether rounding could have chosen another."""

    tokens: list[int]
    is_near: list[bool]


@dataclass(frozen=True)
class Chooser:
    """Greedy at temperature 0, else sampling from softmax(z / temperature) cut to its `top_p`."""

    temperature: float = 0.0
    top_p: float = 1.0

    def choose(self, logits_BV: Tensor, draws: Sequence[float]) -> Choice:
        """Choose for each row. `draws` are uniform in [0, 1), one a row; greedy takes no notice of them."""
        if self.temperature == 0:
            return most_likely(logits_BV)
        return drawn(nucleus(logits_BV, self.temperature, self.top_p), torch.tensor(list(draws), dtype=torch.float64))


def most_likely(logits_BV: Tensor) -> Choice:
    """Return the first of the largest logits of each row."""
    best_B, tokens_B = logits_BV.max(dim=-1)
    others_BV = logits_BV.scatter(1, tokens_B[:, None], float("-inf"))
    return Choice(tokens_B.tolist(), (best_B - others_BV.amax(dim=-1) < NEAR_TIE).tolist())


def nucleus(logits_BV: Tensor, temperature: float, top_p: float) -> Tensor:
    """Return the probabilities [B, V], fp64, of the fewest most likely tokens that have a mass of `top_p`, else 0.

    They do not add up to 1 where some were cut. Source: Holtzman et al., arXiv 1904.09751, section 3.1.
    """
    probs_BV = (logits_BV.double() / temperature).softmax(dim=-1)
    if top_p >= 1:
        return probs_BV
    sorted_BV, order_BV = probs_BV.sort(dim=-1, descending=True, stable=True)
    kept_BV = sorted_BV.cumsum(dim=-1) - sorted_BV < top_p
    return torch.zeros_like(probs_BV).scatter(1, order_BV, sorted_BV * kept_BV)


def drawn(probs_BV: Tensor, draws_B: Tensor) -> Choice:
    """Draw by the inverse of the distribution function, in the order of the vocabulary. `draws_B` are in [0, 1)."""
    edges_BV = probs_BV.cumsum(dim=-1)
    target_B1 = draws_B.to(edges_BV.device)[:, None] * edges_BV[:, -1:]
    tokens_B1 = torch.searchsorted(edges_BV, target_B1, right=True).clamp(max=probs_BV.shape[1] - 1)
    above_B1 = edges_BV.gather(1, tokens_B1) - target_B1
    below_B1 = probs_BV.gather(1, tokens_B1) - above_B1
    is_near_B = torch.minimum(above_B1, below_B1)[:, 0] < NEAR_EDGE
    return Choice(tokens_B1[:, 0].tolist(), is_near_B.tolist())


def random_of(seed: int, prompt_ids: Sequence[int]) -> Random:
    """Return the draws of a prompt: they depend on its ids and the seed, not on what it is answered with."""
    digest = hashlib.sha256(json.dumps([seed, list(prompt_ids)]).encode()).digest()
    return Random(int.from_bytes(digest[:16], "big"))
