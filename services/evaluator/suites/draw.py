"""A part of a suite, drawn by a seed, in which every part and category has its share."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from rolekeeper.contracts.suites import SuitePrompt


def draw(prompts: Sequence[SuitePrompt], count: int, seed: int) -> tuple[SuitePrompt, ...]:
    """Return `count` of the prompts in their order.

    Stratified by part and category. Each stratum of n prompts is shuffled and spread evenly over 0 to 1, the i-th at
    (i + 1/2) / n; the first `count` of all are taken. So a stratum gets its share to within one prompt or so, and the
    small ones are not forgotten; strata that are level go by the draw.
    """
    chance = random.Random(f"suite {seed}")
    order = list(range(len(prompts)))
    chance.shuffle(order)
    strata = [(prompt.part, prompt.category) for prompt in prompts]
    sizes, taken = Counter(strata), Counter[tuple[str, str]]()
    places: dict[int, float] = {}
    for index in order:
        stratum = strata[index]
        places[index] = (taken[stratum] + 0.5) / sizes[stratum]
        taken[stratum] += 1
    # The sort is stable, so prompts that are level stay in the shuffled order.
    chosen = sorted(order, key=places.__getitem__)[:count]
    return tuple(prompts[index] for index in sorted(chosen))
