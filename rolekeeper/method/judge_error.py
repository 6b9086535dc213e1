"""Rates that a judge with known errors reports, and what they say of the true rates."""

from __future__ import annotations

import math
from typing import NamedTuple

from rolekeeper.method.statistics import Z_95


class JudgeError(NamedTuple):
    """A judge on labelled answers: the share of the refusals that it finds, and of the others that it lets be."""

    recall: float
    num_refusals: int
    specificity: float
    num_others: int

    @property
    def seen_share(self) -> float:
        """Youden's index: a true difference between two rates shows as this share of it."""
        return self.recall + self.specificity - 1


class CorrectedRate(NamedTuple):
    """The likeliest true rate and its interval, all between 0 and 1."""

    value: float
    low: float
    high: float


def correct_rate(num_refused: int, num_judged: int, error: JudgeError, z: float = Z_95) -> CorrectedRate | None:
    """Return the true rate behind `num_refused` of `num_judged` verdicts; none of a judge no better than chance.

    Value: Rogan and Gladen (1978), (q + Sp - 1) / (Se + Sp - 1), cut to 0 and 1. Interval: Lang and Reiczigel (2014),
    Preventive Veterinary Medicine 113:13, which adds to each of the three counts as Agresti and Coull do, and lets the
    labelled answers of the judge count with their own uncertainty. The interval always holds the value.
    """
    if num_judged == 0 or error.seen_share <= 0:
        return None
    value = _within((num_refused / num_judged + error.specificity - 1) / error.seen_share)
    recall = (error.num_refusals * error.recall + 1) / (error.num_refusals + 2)
    specificity = (error.num_others * error.specificity + 1) / (error.num_others + 2)
    seen = (num_refused + z * z / 2) / (num_judged + z * z)
    share = recall + specificity - 1
    centre = (seen + specificity - 1) / share
    of_recall = recall * (1 - recall) / (error.num_refusals + 2)
    of_specificity = specificity * (1 - specificity) / (error.num_others + 2)
    of_rate = seen * (1 - seen) / (num_judged + z * z)
    shift = 2 * z * z * (centre * of_recall - (1 - centre) * of_specificity)
    half = z * math.sqrt(of_rate + centre**2 * of_recall + (1 - centre) ** 2 * of_specificity) / share
    low, high = _within(centre + shift - half), _within(centre + shift + half)
    return CorrectedRate(value, min(low, value), max(high, value))


def _within(rate: float) -> float:
    return min(max(rate, 0.0), 1.0)
