"""Whether a loss over a margin is ruled out, shown, or neither: two models on the same prompts, which differ on few.

A loss is a share of all prompts. Everything here is a function of three counts. Bounds are one-sided and 95 % sure
unless another `z` is given: each end of an interval is wrong at most one time in twenty.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple, TypeVar

from rolekeeper.method.statistics import Interval

Z_ONE_SIDED_95 = 1.644854
CAUGHT = 0.8
_NEGLIGIBLE = 1e-12

Key = TypeVar("Key")


class Changes(NamedTuple):
    """Prompts that were asked of both models, and how many got worse and better."""

    num_pairs: int
    num_lost: int
    num_gained: int


def tango_score(changes: Changes, difference: float) -> float:
    """Return how many standard errors gained minus lost lies above num_pairs * `difference`, which is between -1 and 1.

    Tango (1998), Statistics in Medicine 17:891: (c - b - n d) / sqrt(n (2 q + d (1 - d))) with b lost, c gained, and q
    the likeliest share of lost prompts where the difference of the rates is d:
    q = (sqrt(B^2 - 4 A C) - B) / 2 A with A = 2 n, B = (2 n - c + b) d - b - c, C = -b d (1 - d).
    """
    total, lost, gained = changes
    linear = (2 * total - gained + lost) * difference - lost - gained
    constant = -lost * difference * (1 - difference)
    root = math.sqrt(max(0.0, linear * linear - 8 * total * constant))
    likeliest = (root - linear) / (4 * total)
    variance = total * (2 * likeliest + difference * (1 - difference))
    distance = gained - lost - total * difference
    if variance <= _NEGLIGIBLE:
        return 0.0 if abs(distance) <= _NEGLIGIBLE else math.copysign(math.inf, distance)
    return distance / math.sqrt(variance)


def tango_interval(changes: Changes, z: float = Z_ONE_SIDED_95) -> Interval:
    """Return the differences whose score is between -z and z; (-1, 1) without pairs.

    Where nothing is gained the lower end is minus the upper end of Wilson's interval of the share that is lost.
    """
    if changes.num_pairs == 0:
        return Interval(-1.0, 1.0)
    centre = (changes.num_gained - changes.num_lost) / changes.num_pairs
    return Interval(_end(changes, -1.0, centre, z), _end(changes, centre, 1.0, -z))


def rules_out(changes: Changes, margin: float, z: float = Z_ONE_SIDED_95) -> bool:
    """Whether a loss of `margin` or more is ruled out: the lower end of the interval is not below -margin."""
    return changes.num_pairs > 0 and tango_score(changes, -margin) >= z


def chance_of_loss(changes: Changes) -> float:
    """Return how often chance alone would lose so many, or more, of the prompts that differ; 1 if none does.

    McNemar's test, exact and one-sided: of the b + c that differ the lost ones are binomial with rate 1/2.
    """
    differing = changes.num_lost + changes.num_gained
    ways = sum(math.comb(differing, lost) for lost in range(changes.num_lost, differing + 1))
    return ways / (1 << differing)


def holm(p_values: Mapping[Key, float], level: float = 0.05) -> frozenset[Key]:
    """Return which of several findings are shown, so that all of them together are wrong at most so often.

    Holm (1979): the k-th smallest of m p-values is compared with level / (m - k + 1), and the first over it ends it.
    """
    shown: set[Key] = set()
    for rank, key in enumerate(sorted(p_values, key=lambda key: p_values[key])):
        if p_values[key] > level / (len(p_values) - rank):
            break
        shown.add(key)
    return frozenset(shown)


def num_pairs_to_decide(changes: Changes, margin: float, z: float = Z_ONE_SIDED_95) -> int | None:
    """Return how many prompts would rule the loss out or show one, if they differed at the rates seen here.

    With all counts k times as large a score is sqrt(k) times as large. None where no number would, or without pairs.
    """
    if changes.num_pairs == 0:
        return None
    scores = (tango_score(changes, -margin), -tango_score(changes, 0.0))
    needed = (math.ceil(changes.num_pairs * (z / score) ** 2) for score in scores if score > 0)
    return min(needed, default=None)


def release_probability(num_pairs: int, loss: float, gained: float, margin: float, z: float = Z_ONE_SIDED_95) -> float:
    """Return how often a loss over `margin` is ruled out where the true one is `loss`, exactly.

    A share `gained` of the prompts gets better, and `gained` + `loss` get worse: lost and gained are trinomial.
    """
    probability, num_allowed = 0.0, -1
    for num_gained in range(num_pairs + 1):
        while _allows(num_pairs, num_allowed + 1, num_gained, margin, z):
            num_allowed += 1
        chance = _binomial(num_gained, num_pairs, gained)
        if chance > _NEGLIGIBLE:
            rest, rate = num_pairs - num_gained, min(1.0, (gained + loss) / (1 - gained)) if gained < 1 else 0.0
            probability += chance * math.fsum(_binomial(lost, rest, rate) for lost in range(num_allowed + 1))
        elif num_gained > num_pairs * gained:
            break
    return min(1.0, probability)


@lru_cache(maxsize=4096)
def caught_loss(num_pairs: int, num_gained: int, margin: float, z: float = Z_ONE_SIDED_95) -> float:
    """Return the smallest true loss that is not ruled out in 80 of 100 cases, so that the adapter is not released.

    Gains are as frequent as here, (c + 1/2) / (n + 1). It is 0 where even no loss is ruled out so seldom, as it is for
    few prompts, and is rounded up to three decimals otherwise.
    """
    gained = min(0.5, (num_gained + 0.5) / (num_pairs + 1))
    low, high = 0.0, min(margin + 0.05, 1 - 2 * gained)
    if release_probability(num_pairs, 0.0, gained, margin, z) <= 1 - CAUGHT:
        return 0.0
    while high - low > 5e-4:
        middle = (low + high) / 2
        is_caught = release_probability(num_pairs, middle, gained, margin, z) <= 1 - CAUGHT
        low, high = (low, middle) if is_caught else (middle, high)
    return math.ceil(1000 * high) / 1000


def _allows(num_pairs: int, num_lost: int, num_gained: int, margin: float, z: float) -> bool:
    return num_lost + num_gained <= num_pairs and rules_out(Changes(num_pairs, num_lost, num_gained), margin, z)


def _end(changes: Changes, low: float, high: float, z: float) -> float:
    """The difference between `low` and `high` whose score is z; the score falls as the difference grows."""
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if tango_score(changes, middle) > z else (low, middle)
    return (low + high) / 2


def _binomial(successes: int, trials: int, rate: float) -> float:
    """P(X = successes), by logarithms."""
    if not 0 < rate < 1:
        return float(successes == (trials if rate >= 1 else 0))
    if successes > trials:
        return 0.0
    ways = math.lgamma(trials + 1) - math.lgamma(successes + 1) - math.lgamma(trials - successes + 1)
    return math.exp(ways + successes * math.log(rate) + (trials - successes) * math.log1p(-rate))
