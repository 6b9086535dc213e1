"""A measured value and how sure it is."""

from __future__ import annotations

from rolekeeper.contracts.problems import Contract


class Estimate(Contract):
    """A measured value with its 95 % interval."""

    value: float
    low: float
    high: float
    num_samples: int
