"""Rates and means with their intervals, and base against tuned model on the same prompts. Pure functions of counts.

All intervals are two-sided and 95 % wide unless another `z` or `confidence` is given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from statistics import fmean, stdev
from typing import NamedTuple

Z_95 = 1.959964


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


class PairedCounts(NamedTuple):
    """How often something holds for two answers to the same prompt."""

    both: int
    only_base: int
    only_tuned: int
    neither: int

    @property
    def num_pairs(self) -> int:
        """All pairs."""
        return sum(self)

    @property
    def num_base(self) -> int:
        """Pairs where it holds for the base model's answer."""
        return self.both + self.only_base

    @property
    def num_tuned(self) -> int:
        """Pairs where it holds for the tuned model's answer."""
        return self.both + self.only_tuned


def count_pairs(base: Sequence[bool], tuned: Sequence[bool]) -> PairedCounts:
    """Count two columns of the same prompts. Raises ValueError if one is longer."""
    both = sum(one and other for one, other in zip(base, tuned, strict=True))
    num_base, num_tuned = sum(base), sum(tuned)
    return PairedCounts(both, num_base - both, num_tuned - both, len(base) - num_base - num_tuned + both)


def wilson_interval(successes: int, trials: int, z: float = Z_95) -> Interval:
    """Return the Wilson score interval of successes / trials, both ends within 0 and 1; (0, 1) without trials.

    Wilson (1927): (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n). Raises ValueError on impossible counts.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"successes must be between 0 and trials, got {successes} of {trials}")
    if trials == 0:
        return Interval(0.0, 1.0)
    rate = successes / trials
    scale = 1 + z * z / trials
    centre = (rate + z * z / (2 * trials)) / scale
    half = z * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials)) / scale
    # The ends are exactly 0 and 1 at the extremes; rounding must not move them.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == trials else min(1.0, centre + half)
    return Interval(low, high)


def paired_difference(counts: PairedCounts, z: float = Z_95) -> Interval:
    """Return the interval of the rate of tuned minus that of base, within -1 and 1; (-1, 1) without pairs.

    Newcombe (1998), Statistics in Medicine 17:2635, method 10: the distances of the two Wilson intervals from their
    rates are added as squares, less twice their product times phi, the correlation of the two columns. A positive
    phi is taken with the numerator ad - bc less n/2, and not below 0.
    """
    total = counts.num_pairs
    if total == 0:
        return Interval(-1.0, 1.0)
    base, tuned = counts.num_base / total, counts.num_tuned / total
    base_low, base_high = wilson_interval(counts.num_base, total, z)
    tuned_low, tuned_high = wilson_interval(counts.num_tuned, total, z)
    phi = _corrected_phi(counts)
    below = _correlated_length(tuned - tuned_low, base_high - base, phi)
    above = _correlated_length(tuned_high - tuned, base - base_low, phi)
    return Interval(max(-1.0, tuned - base - below), min(1.0, tuned - base + above))


def mcnemar_exact(counts: PairedCounts) -> float:
    """Return the two-sided p-value of "base and tuned have the same rate"; 1 if no pair differs.

    McNemar's test, exact: of the n pairs that differ, the smaller count k is binomial with rate 1/2, and
    p = min(1, 2 P(X <= k)). In whole numbers, so it is right for any n.
    """
    differing = counts.only_base + counts.only_tuned
    fewer = min(counts.only_base, counts.only_tuned)
    ways = accumulate(range(1, fewer + 1), lambda ways, k: ways * (differing - k + 1) // k, initial=1)
    return min(1.0, 2 * sum(ways) / (1 << differing))


def cohen_kappa(counts: PairedCounts) -> float | None:
    """Return how far two judges agree beyond chance, up to 1. None where chance alone agrees always, or no pairs.

    Cohen (1960): (p_o - p_e) / (1 - p_e). The two judges stand where base and tuned do in the names of the counts.
    """
    total = counts.num_pairs
    by_chance = counts.num_base * counts.num_tuned + (total - counts.num_base) * (total - counts.num_tuned)
    if by_chance == total * total:
        return None
    agreed = (counts.both + counts.neither) * total
    return (agreed - by_chance) / (total * total - by_chance)


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Return Student's t interval of a mean: mean -+ t s / sqrt(n), s and t with n - 1 degrees of freedom.

    Also for paired differences, of which it is the paired t interval. Infinite for a single value, which says nothing
    of its spread. Raises ValueError without values.
    """
    mean, count = fmean(values), len(values)
    if count == 1:
        return Interval(-math.inf, math.inf)
    half = student_t_quantile((1 + confidence) / 2, count - 1) * stdev(values) / math.sqrt(count)
    return Interval(mean - half, mean + half)


def student_t_quantile(probability: float, freedom: int) -> float:
    """Return t with P(T <= t) = probability, for 0.5 <= probability < 1 and whole degrees of freedom from 1."""
    if not (0.5 <= probability < 1 and freedom >= 1):
        raise ValueError(f"0.5 <= probability < 1 and freedom >= 1 are needed, got {probability} and {freedom}")
    low, high = 0.0, math.pi / 2
    # Halving the angle atan(t / sqrt(freedom)) until it can't be halved finds t as exactly as doubles hold it.
    while low < (middle := (low + high) / 2) < high:
        is_below = 0.5 + _central_probability(middle, freedom) / 2 < probability
        low, high = (middle, high) if is_below else (low, middle)
    return math.tan(low) * math.sqrt(freedom)


def _central_probability(angle: float, freedom: int) -> float:
    """P(|T| <= t) at angle = atan(t / sqrt(freedom)): Abramowitz and Stegun 26.7.3 (odd) and 26.7.4 (even)."""
    sine, cosine = math.sin(angle), math.cos(angle)
    is_odd = freedom % 2
    term = cosine if is_odd else 1.0
    series = 0.0
    for k in range(is_odd, freedom - 1, 2):
        series += term
        term *= cosine * cosine * (k + 1) / (k + 2)
    return 2 / math.pi * (angle + sine * series) if is_odd else sine * series


def _corrected_phi(counts: PairedCounts) -> float:
    total = counts.num_pairs
    product = counts.num_base * (total - counts.num_base) * counts.num_tuned * (total - counts.num_tuned)
    if product == 0:
        return 0.0
    numerator: float = counts.both * counts.neither - counts.only_base * counts.only_tuned
    if numerator > 0:
        numerator = max(0.0, numerator - total / 2)
    return numerator / math.sqrt(product)


def _correlated_length(one: float, other: float, phi: float) -> float:
    # Rounding may take the sum just below 0.
    return math.sqrt(max(0.0, one * one + other * other - 2 * phi * one * other))
