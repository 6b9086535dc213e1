"""Which samples the anchor holds to the base model: the harmful subset of RDS, or a baseline that it is compared with.

Plain Python, because the process that chooses has no torch.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

_NOTHING_YET = ("sft", "sppft", "vaccine", "seal", "seal_filter", "bi_selection")


def select_subset(method: str, harmful: Sequence[bool], seed: int) -> list[bool]:
    """Return for each training sample whether it is anchored, given which ones RDS calls harmful.

    `sarft` takes the harmful ones, `sft` none, `flip` the others, `all` every one, and `random` as many as are harmful.
    Methods without an anchor take none, and nor do those that choose in training, by gradients.
    The same arguments always give the same subset. Raises ValueError on any other name.
    """
    if method == "sarft":
        return list(harmful)
    if method == "random":
        return select_random(harmful, seed)
    if method == "flip":
        return select_flip(harmful)
    if method in ("all", *_NOTHING_YET):
        return [method == "all"] * len(harmful)
    raise ValueError(f"there is no selection {method!r}")


def select_share(margins: Sequence[float], share: float) -> list[bool]:
    """Return the mask of the floor(share * B + 1/2) samples with the highest margins; of equal ones the earlier.

    margins are s_unsafe - s_role of all B samples. It compares methods at the same size of the harmful subset.
    """
    count = math.floor(share * len(margins) + 0.5)
    ranked = sorted(range(len(margins)), key=lambda index: (-margins[index], index))
    chosen = frozenset(ranked[:count])
    return [index in chosen for index in range(len(margins))]


def select_random(harmful: Sequence[bool], seed: int) -> list[bool]:
    """Return a subset as large as the harmful one, drawn without replacement from all samples, harmful or not.

    The control of SaRFT's ablation (arXiv 2502.20968). It is drawn over the whole data set at once: flags that are only
    shuffled within small batches mostly stay where they were.
    """
    drawn = frozenset(random.Random(f"random subset {seed}").sample(range(len(harmful)), sum(map(bool, harmful))))
    return [index in drawn for index in range(len(harmful))]


def select_flip(harmful: Sequence[bool]) -> list[bool]:
    """Return the complement: the samples that are not harmful."""
    return [not flag for flag in harmful]
