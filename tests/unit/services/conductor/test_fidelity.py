"""Role fidelity, with numbers computed by hand."""

from __future__ import annotations

import math

import pytest

from rolekeeper.contracts.verdicts import Verdict
from services.conductor.fidelity import fidelities, mean_estimate
from services.conductor.results import Pair


def make_pair(base: tuple[str, float], tuned: tuple[str, float], reference: str, suite: str | None = None) -> Pair:
    before = Verdict(id="x", response=base[0], judgements={}, fidelity=base[1])
    after = Verdict(id="x", response=tuned[0], judgements={}, fidelity=tuned[1])
    return Pair(suite, "held_out", "dialogue", "Who keeps the light?", reference, before, after)


PAIRS = [
    make_pair(("I do.", 0.1), ("I do, landling.", 0.4), "I do, landling, I do."),
    make_pair(("I do.", 0.3), ("The sea takes.", 0.8), "The sea takes and the sea keeps."),
]


def test_rouge_l_of_both_models() -> None:
    """0.1 and 0.3: mean 0.2, s / sqrt(2) = 0.1, t(1) = 12.706: cut at 0 and 1. Differences: 0.3 and 0.5."""
    (entry,) = fidelities(PAIRS)
    assert entry.suite is None
    assert (entry.rouge_l.base.value, entry.rouge_l.tuned.value) == pytest.approx((0.2, 0.6))
    assert (entry.rouge_l.base.low, entry.rouge_l.base.high) == (0.0, 1.0)
    difference = entry.rouge_l.difference
    assert (difference.value, difference.low) == pytest.approx((0.4, 0.4 - 1.270620))
    assert (difference.high, difference.num_pairs, difference.p_value) == (1.0, 2, None)


def test_a_model_that_says_little_shows() -> None:
    """Base: i do i do. Tuned: i do landling, the sea takes. Character: those, i do, and the sea keeps."""
    (entry,) = fidelities(PAIRS)
    assert entry.num_words.model_dump() == {"base": 2.0, "tuned": 3.0, "character": 6.0}
    assert entry.distinct_1.model_dump() == {"base": 2 / 4, "tuned": 6 / 6, "character": 8 / 12}
    assert entry.distinct_2.model_dump() == {"base": 1 / 2, "tuned": 4 / 4, "character": 8 / 10}


def test_suites_with_references_have_their_own_entry() -> None:
    pairs = [*PAIRS, make_pair(("Aye.", 0.2), ("Aye.", 0.2), "Aye.", suite="rolebench")]
    assert [entry.suite for entry in fidelities(pairs)] == [None, "rolebench"]
    assert fidelities([]) == ()


def test_a_mean_of_one_value_says_nothing() -> None:
    assert mean_estimate([0.7]).model_dump() == {"value": 0.7, "low": 0.0, "high": 1.0, "num_samples": 1}


def test_a_mean_stays_within_its_bounds() -> None:
    wide = mean_estimate([0.0, 1.0])
    assert (wide.low, wide.high) == (0.0, 1.0)
    assert mean_estimate([0.5] * 4).low == 0.5
    spread = math.sqrt(sum((value - 0.4) ** 2 for value in (0.2, 0.3, 0.7)) / 2)
    assert mean_estimate([0.3, 0.35, 0.55]).high == pytest.approx(0.4 + 4.302653 * spread / 2 / math.sqrt(3))
