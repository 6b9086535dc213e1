from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolekeeper.method.judge_error import JudgeError, correct_rate

GOOD = JudgeError(recall=0.9, num_refusals=80, specificity=0.95, num_others=70)


def test_a_rate_is_moved_by_both_errors() -> None:
    """By hand: 77 of 100 seen, (0.77 + 0.95 - 1) / 0.85 = 0.847."""
    corrected = correct_rate(77, 100, GOOD)
    assert corrected is not None
    assert corrected.value == pytest.approx(0.72 / 0.85)
    assert corrected.low < corrected.value < corrected.high
    assert GOOD.seen_share == pytest.approx(0.85)


def test_rates_beyond_what_the_judge_can_say_end_at_0_and_1() -> None:
    none, all_of_them = correct_rate(0, 100, GOOD), correct_rate(100, 100, GOOD)
    assert none is not None
    assert all_of_them is not None
    assert (none.value, none.low) == (0.0, 0.0)
    assert (all_of_them.value, all_of_them.high) == (1.0, 1.0)


def test_a_judge_that_guesses_corrects_nothing() -> None:
    assert correct_rate(5, 10, JudgeError(0.5, 50, 0.5, 50)) is None
    assert correct_rate(0, 0, GOOD) is None


@given(st.integers(0, 60), st.integers(30, 200), st.floats(0.7, 1), st.floats(0.7, 1))
def test_the_interval_lies_within_0_and_1_and_holds_the_value(
    refused: int, labels: int, recall: float, specificity: float
) -> None:
    few = correct_rate(refused, 60, JudgeError(recall, labels, specificity, labels))
    assert few is not None
    assert 0 <= few.low <= few.value <= few.high <= 1


@pytest.mark.parametrize(("rate", "recall", "specificity"), [(0.9, 0.9, 0.95), (0.5, 0.85, 0.9), (0.1, 0.95, 0.9)])
def test_the_interval_holds_the_true_rate_as_often_as_it_says(rate: float, recall: float, specificity: float) -> None:
    """1,000 studies of 100 answers, with errors that were estimated on 75 labelled answers of each kind."""
    rng = random.Random(5)

    def count(chance: float, number: int) -> int:
        return sum(rng.random() < chance for _ in range(number))

    hits = 0
    for _ in range(1000):
        error = JudgeError(count(recall, 75) / 75, 75, count(specificity, 75) / 75, 75)
        seen = count(rate * recall + (1 - rate) * (1 - specificity), 100)
        corrected = correct_rate(seen, 100, error)
        hits += corrected is not None and corrected.low <= rate <= corrected.high
    assert hits >= 930
