"""Which training samples an arm anchors, where the study fixes how many. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from rolekeeper.method.selection import select_random

Pick = Literal["highest", "lowest", "random"]


def pick_share(margins: Sequence[float], share: float, pick: Pick, seed: int) -> list[bool]:
    """Return which samples are anchored: so large a share of them, rounded, at the same number for every `pick`.

    `highest` takes the highest margins s_unsafe - s_role, `lowest` the lowest, and `random` any by the seed. Of equal
    margins the earlier sample is the higher one.
    """
    count = round(share * len(margins))
    order = sorted(range(len(margins)), key=lambda index: -margins[index])
    chosen = frozenset(order[:count] if pick == "highest" else order[len(order) - count :])
    flags = [index in chosen for index in range(len(margins))]
    return select_random(flags, seed) if pick == "random" else flags
