"""A part of a suite, drawn by a seed, in which every part and category has its share."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Hashable, Sequence

from rolekeeper.contracts.suites import SuitePrompt


def draw(prompts: Sequence[SuitePrompt], count: int, seed: int) -> tuple[SuitePrompt, ...]:
    """Return `count` of the prompts in their order.

    All are brought into an order in which any beginning holds every part in its share, and within each part every
    category; the first `count` are taken. The i-th of n prompts of a category comes at (i + u) / n of its part, with
    one u from 0 to 1 for each category: so small categories are not always the ones that few prompts leave out. The
    i-th of n prompts of a part comes at (i + 1/2) / n of the whole.
    """
    chance = random.Random(f"suite {seed}")
    order = list(range(len(prompts)))
    chance.shuffle(order)
    order = _spread(order, [(prompt.part, prompt.category) for prompt in prompts], chance)
    order = _spread(order, [prompt.part for prompt in prompts])
    return tuple(prompts[index] for index in sorted(order[:count]))


def _spread(order: Sequence[int], strata: Sequence[Hashable], chance: random.Random | None = None) -> list[int]:
    """Spread each stratum evenly over the whole; level ones stay as they are. Without `chance` every u is 1/2."""
    sizes, taken = Counter(strata), Counter[Hashable]()
    starts = {stratum: 0.5 if chance is None else chance.random() for stratum in dict.fromkeys(strata)}
    places: dict[int, float] = {}
    for index in order:
        stratum = strata[index]
        places[index] = (taken[stratum] + starts[stratum]) / sizes[stratum]
        taken[stratum] += 1
    return sorted(order, key=places.__getitem__)
