"""Shares, their order by group, and how far they follow the length of the prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, combinations
from statistics import correlation, fmean
from typing import Any

from rolekeeper.contracts.problems import Contract
from rolekeeper.method.statistics import wilson_interval


class Numbers(Contract):
    """Margins in nats per token, one for each response: U - S, U - P, those of the released prompts, and S - P."""

    contrast: tuple[float, ...]
    append: tuple[float, ...]
    paper_v2: tuple[float, ...] | None
    length: tuple[float, ...]

    @property
    def shares(self) -> dict[str, float]:
        """How many of the margins are above 0, by column."""
        return {name: fmean(margin > 0 for margin in margins) for name, margins in self.columns.items()}

    @property
    def columns(self) -> dict[str, tuple[float, ...]]:
        """The columns that there are."""
        columns = {"contrast": self.contrast, "append": self.append, "paper_v2": self.paper_v2, "length": self.length}
        return {name: margins for name, margins in columns.items() if margins is not None}


class Measured(Contract):
    """One character: a line of the file."""

    character: str
    group: str
    conditions: Mapping[str, str | int | bool]
    numbers: Numbers


def figures_of(numbers: Numbers) -> dict[str, Any]:
    """Return the shares of a character with their 95 % Wilson intervals, and its mean margin under contrast."""
    figures: dict[str, Any] = {"num_samples": len(numbers.contrast)}
    for name, margins in numbers.columns.items():
        interval = wilson_interval(sum(margin > 0 for margin in margins), len(margins))
        figures |= {name: round(numbers.shares[name], 3)}
        figures |= {f"{name}_low": round(interval.low, 3), f"{name}_high": round(interval.high, 3)}
    return figures | {"mean_contrast": round(fmean(numbers.contrast), 4)}


def pooled(lines: Sequence[Measured]) -> dict[str, Any]:
    """Return the mean share of each group with p, and the correlation of all responses' U - P with S - P."""
    figures: dict[str, Any] = {}
    is_villain = [line.group == "villain" for line in lines]
    for name in lines[0].numbers.columns:
        shares = [line.numbers.shares[name] for line in lines]
        for group in ("villain", "other"):
            members = [share for share, line in zip(shares, lines, strict=True) if line.group == group]
            figures[f"{name}_{group}s"] = round(fmean(members), 3) if members else None
        figures[f"{name}_p"] = round(permutation_p(shares, is_villain), 4)
    unsafe = [*chain(*(line.numbers.append for line in lines))]
    safe = [*chain(*(line.numbers.length for line in lines))]
    return figures | {"correlation_with_length": round(correlation(unsafe, safe), 3)}


def permutation_p(values: Sequence[float], is_first: Sequence[bool]) -> float:
    """Return the exact one-sided p of the first group's mean being higher: over all ways to choose a group of its size.

    1 where a group is empty.
    """
    observed = sum(value for value, first in zip(values, is_first, strict=True) if first)
    sums = [sum(chosen) for chosen in combinations(values, sum(is_first))]
    # The total is the same for all, so the higher sum is the larger difference of means; additions may differ in order.
    return fmean(total >= observed - 1e-9 for total in sums)
