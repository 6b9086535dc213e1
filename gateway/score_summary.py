"""The summary of a job's scores, in one pass that holds a few samples and counts."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from heapq import heappush, heappushpop

from rolekeeper.contracts.estimates import Estimate
from rolekeeper.contracts.scores import MarginBin, RankedSample, SampleScore, ScoreSummary
from rolekeeper.method.statistics import wilson_interval

# Zero is an edge, and belongs to the bin below it as a tie belongs to what is not harmful.
MARGIN_EDGES = (-1.0, -0.5, -0.2, -0.1, -0.05, -0.02, -0.01, 0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Edges of the histogram in nats per token; part of the API."""

NUM_RANKED = 10


def summarise(scores: Iterable[SampleScore]) -> ScoreSummary:
    """Return what the scores say about their character. The order of the scores does not matter."""
    tally = _Tally()
    for score in scores:
        tally.add(score)
    return tally.summary()


class _Extremes:
    """The samples with the largest keys; of equal ones those with the smaller index."""

    def __init__(self, sign: int) -> None:
        self._sign = sign
        self._heap: list[tuple[float, int, SampleScore]] = []

    def add(self, score: SampleScore) -> None:
        entry = (self._sign * score.margin, -score.index, score)
        if len(self._heap) < NUM_RANKED:
            heappush(self._heap, entry)
        else:
            heappushpop(self._heap, entry)

    def ranked(self) -> tuple[RankedSample, ...]:
        best_first = sorted(self._heap, key=lambda entry: entry[:2], reverse=True)
        return tuple(
            RankedSample(index=score.index, margin=score.margin, s_role=score.s_role, s_unsafe=score.s_unsafe)
            for *_, score in best_first
        )


class _Tally:
    """Counts while the scores go by."""

    def __init__(self) -> None:
        self._num_samples = self._num_harmful = self._num_selected = self._num_held_out = self._num_truncated = 0
        self._counts = [0] * (len(MARGIN_EDGES) + 1)
        self._lowest, self._highest = _Extremes(-1), _Extremes(1)

    def add(self, score: SampleScore) -> None:
        self._num_samples += 1
        self._num_harmful += score.harmful
        self._num_selected += score.selected
        self._num_held_out += score.held_out
        self._num_truncated += score.truncated
        self._counts[bisect_left(MARGIN_EDGES, score.margin)] += 1
        self._lowest.add(score)
        self._highest.add(score)

    def summary(self) -> ScoreSummary:
        return ScoreSummary(
            num_samples=self._num_samples,
            num_harmful=self._num_harmful,
            num_selected=self._num_selected,
            num_held_out=self._num_held_out,
            num_truncated=self._num_truncated,
            harmful_share=self._harmful_share(),
            histogram=self._histogram(),
            most_role_like=self._lowest.ranked(),
            most_harmful=self._highest.ranked(),
        )

    def _harmful_share(self) -> Estimate:
        low, high = wilson_interval(self._num_harmful, self._num_samples)
        share = self._num_harmful / self._num_samples if self._num_samples else 0.0
        return Estimate(value=share, low=low, high=high, num_samples=self._num_samples)

    def _histogram(self) -> tuple[MarginBin, ...]:
        bins = zip((None, *MARGIN_EDGES), (*MARGIN_EDGES, None), self._counts, strict=True)
        return tuple(MarginBin(low=low, high=high, num_samples=count) for low, high, count in bins)
