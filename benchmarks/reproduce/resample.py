"""Means over characters, seeds and prompts, and their bootstrap. Pure functions of arrays.

Shapes: B resamples, C characters, S seeds, P prompts or dialogues. NaN stands where there is no value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NUM_RESAMPLES = 2000


class Interval(NamedTuple):
    """A value with its 95 % percentile interval."""

    value: float
    low: float
    high: float


@dataclass
class Resampler:
    """How often each resample takes each character, seed and prompt: the same for all arms, so that they are paired.

    Hierarchical: characters with replacement, of each of them seeds with replacement, and prompts with replacement.
    Prompts that all characters are asked are drawn once for all (crossed); dialogues of a character, for each (nested).
    The first row counts everything once: its mean is the estimate itself.
    """

    num_characters: int
    num_seeds: int
    seed: int = 0
    num_resamples: int = NUM_RESAMPLES
    _drawn: dict[str, Floats] = field(default_factory=dict)

    def means(self, group: str, values_CSP: Floats, is_nested: bool) -> Floats:
        """Return the means [1 + B]: over prompts, then over seeds, then over characters, each with its count.

        `group` names the prompts: the same group is drawn in the same way, whatever the arm.
        """
        weights = self._prompts(group, values_CSP.shape[2], is_nested)
        known_CSP = ~np.isnan(values_CSP)
        axes = "bcp,csp->bcs" if is_nested else "bp,csp->bcs"
        sums_BCS = np.einsum(axes, weights, np.where(known_CSP, values_CSP, 0.0), optimize=True)
        counts_BCS = np.einsum(axes, weights, known_CSP.astype(float), optimize=True)
        weights_BCS = self._seeds() * (counts_BCS > 0)
        means_BCS: Floats = np.divide(sums_BCS, counts_BCS, out=np.zeros_like(sums_BCS), where=counts_BCS > 0)
        return _mean(_mean(means_BCS, weights_BCS), self._characters() * (weights_BCS.sum(-1) > 0))

    def _characters(self) -> Floats:
        return self._draw("characters", (), self.num_characters)

    def _seeds(self) -> Floats:
        return self._draw("seeds", (self.num_characters,), self.num_seeds)

    def _prompts(self, group: str, count: int, is_nested: bool) -> Floats:
        return self._draw(f"prompts {group}", (self.num_characters,) if is_nested else (), count)

    def _draw(self, name: str, shape: tuple[int, ...], count: int) -> Floats:
        if name not in self._drawn:
            rng = np.random.default_rng([self.seed, *name.encode()])
            drawn = rng.multinomial(count, np.full(count, 1 / count), size=(self.num_resamples, *shape))
            self._drawn[name] = np.concatenate([np.ones((1, *shape, count)), drawn.astype(float)])
        return self._drawn[name]


def _mean(values: Floats, weights: Floats) -> Floats:
    """Weighted mean over the last axis; 0 where all weights are."""
    total = weights.sum(-1)
    summed: Floats = (values * weights).sum(-1)
    means: Floats = np.divide(summed, total, out=np.zeros_like(summed), where=total > 0)
    return means


def ratio(part: Floats, whole: Floats) -> Floats:
    """part / whole, NaN where the whole is nothing."""
    shares: Floats = np.divide(part, whole, out=np.full_like(part, math.nan), where=np.abs(whole) > 1e-9)
    return shares


def interval(draws: Floats) -> Interval:
    """The first draw, and between which values 95 % of the others lie. NaN draws say nothing and are left out."""
    known = draws[1:][~np.isnan(draws[1:])]
    if not known.size:
        return Interval(float(draws[0]), math.nan, math.nan)
    return Interval(float(draws[0]), *np.quantile(known, [0.025, 0.975]).tolist())


def p_value(draws: Floats) -> float:
    """Two-sided bootstrap p-value of "the first draw is 0": min(1, 2 (1 + the rarer sign's resamples) / (1 + B))."""
    others = draws[1:][~np.isnan(draws[1:])]
    rarer = min(int((others <= 0).sum()), int((others >= 0).sum()))
    return min(1.0, 2 * (1 + rarer) / (1 + others.size))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return Holm's adjusted p-values: of m, the k-th smallest times m - k + 1, none below a smaller one's, at most 1.

    Holm (1979). An adjusted value below alpha rejects with a family-wise error of at most alpha.
    """
    adjusted, highest = {}, 0.0
    for place, name in enumerate(sorted(p_values, key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[name]))
        adjusted[name] = highest
    return {name: adjusted[name] for name in p_values}


def pareto_front(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Return the names that no other point beats: as good in both and better in one. In order of the first value."""
    names: Sequence[str] = [
        name
        for name, (x, y) in points.items()
        if not any(a >= x and b >= y and (a, b) != (x, y) for a, b in points.values())
    ]
    return sorted(names, key=points.__getitem__)
