from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolekeeper.method.statistics import (
    Z_95,
    PairedCounts,
    cohen_kappa,
    count_pairs,
    mcnemar_exact,
    mean_interval,
    paired_difference,
    student_t_quantile,
    wilson_interval,
)

few_pairs = st.tuples(*[st.integers(0, 40)] * 4).map(lambda counts: PairedCounts(*counts))


def test_wilson_hand_computed() -> None:
    # Newcombe (1998), method 3: 81 of 263 and 15 of 148.
    for successes, trials, low, high in [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)]:
        interval = wilson_interval(successes, trials)
        assert interval.low == pytest.approx(low, abs=1e-4)
        assert interval.high == pytest.approx(high, abs=1e-4)


def test_wilson_without_trials_knows_nothing() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


@given(st.integers(0, 500), st.integers(1, 500))
def test_the_ends_solve_the_score_equation(successes: int, trials: int) -> None:
    successes = min(successes, trials)
    for end in wilson_interval(successes, trials, Z_95):
        distance = abs(successes / trials - end)
        assert math.isclose(distance, Z_95 * math.sqrt(end * (1 - end) / trials), abs_tol=1e-9) or end in (0.0, 1.0)


@pytest.mark.parametrize(("successes", "trials"), [(-1, 3), (4, 3)])
def test_impossible_counts(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="between 0 and trials"):
        wilson_interval(successes, trials)


def test_pairs_are_counted() -> None:
    counts = count_pairs([True, True, False, False, False, True], [True, False, True, False, False, False])
    assert counts == PairedCounts(both=1, only_base=2, only_tuned=1, neither=2)
    assert (counts.num_pairs, counts.num_base, counts.num_tuned) == (6, 3, 2)
    with pytest.raises(ValueError, match="zip"):
        count_pairs([True], [])


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        # Newcombe (1998), table III, method 10, with the sides swapped: 36, 12, 2, 0 has 0.0569 to 0.3404.
        (PairedCounts(both=36, only_base=2, only_tuned=12, neither=0), 0.0569, 0.3404),
        (PairedCounts(both=36, only_base=12, only_tuned=2, neither=0), -0.3404, -0.0569),
        # Fagerland, Lydersen and Laake (2014), airway hyper-responsiveness of 21 children: 0.026 to 0.507.
        (PairedCounts(both=1, only_base=1, only_tuned=7, neither=12), 0.0256, 0.5069),
    ],
)
def test_paired_differences_of_the_literature(counts: PairedCounts, low: float, high: float) -> None:
    interval = paired_difference(counts)
    assert interval.low == pytest.approx(low, abs=1e-4)
    assert interval.high == pytest.approx(high, abs=1e-4)


def test_paired_difference_hand_computed_without_correlation() -> None:
    # 2 of 4 and 2 of 4, ad - bc = 0. Wilson of 2/4: 0.15004 to 0.84996; 0.34996 * sqrt(2) = 0.49492.
    interval = paired_difference(PairedCounts(1, 1, 1, 1))
    assert interval == pytest.approx((-0.49492, 0.49492), abs=1e-5)


@given(few_pairs)
def test_a_paired_difference_is_around_the_difference_and_turns_with_the_sides(counts: PairedCounts) -> None:
    interval = paired_difference(counts)
    assert -1 <= interval.low <= interval.high <= 1
    if counts.num_pairs:
        difference = (counts.num_tuned - counts.num_base) / counts.num_pairs
        assert interval.low - 1e-12 <= difference <= interval.high + 1e-12
    turned = paired_difference(PairedCounts(counts.both, counts.only_tuned, counts.only_base, counts.neither))
    assert (-turned.high, -turned.low) == pytest.approx(interval, abs=1e-12)


@given(st.integers(1, 30))
def test_all_refused_by_both_still_leaves_doubt(total: int) -> None:
    low, high = paired_difference(PairedCounts(total, 0, 0, 0))
    width = 1 - wilson_interval(total, total).low
    assert (low, high) == pytest.approx((-width, width))


def test_mcnemar_hand_computed() -> None:
    # 8 pairs differ, 1 one way: 2 (1 + 8) / 2^8.
    assert mcnemar_exact(PairedCounts(1, 1, 7, 12)) == 18 / 256
    assert mcnemar_exact(PairedCounts(5, 0, 6, 5)) == 2 / 64
    assert mcnemar_exact(PairedCounts(5, 3, 3, 5)) == 1.0
    assert mcnemar_exact(PairedCounts(5, 0, 0, 5)) == 1.0


def naive_mcnemar(first: int, second: int) -> float:
    """Over every way to toss a coin for each pair: how often is the result at least as one-sided?"""
    tosses = [sum(toss) for toss in product((0, 1), repeat=first + second)]
    extreme = abs(first - second)
    return float(Fraction(sum(abs(first + second - 2 * heads) >= extreme for heads in tosses), len(tosses)))


@given(st.integers(0, 5), st.integers(0, 5))
def test_mcnemar_is_the_share_of_coin_tosses(first: int, second: int) -> None:
    assert mcnemar_exact(PairedCounts(3, first, second, 3)) == pytest.approx(naive_mcnemar(first, second))


def test_mcnemar_of_many_pairs() -> None:
    # The normal approximation with continuity: (200 - 1)^2 / 5000 = 7.92, p = 0.00489.
    assert mcnemar_exact(PairedCounts(0, 2400, 2600, 0)) == pytest.approx(0.00489, rel=0.01)
    assert mcnemar_exact(PairedCounts(0, 0, 5000, 0)) == 0.0


def test_kappa_hand_computed() -> None:
    # Of 50: 20 both, 5 and 10 one alone, 15 neither; p_o = 0.7, p_e = 0.5 * 0.6 + 0.5 * 0.4 = 0.5.
    assert cohen_kappa(PairedCounts(20, 5, 10, 15)) == pytest.approx(0.4)
    assert cohen_kappa(PairedCounts(4, 0, 0, 4)) == 1.0
    assert cohen_kappa(PairedCounts(9, 0, 0, 0)) is None
    assert cohen_kappa(PairedCounts(0, 0, 0, 0)) is None


@pytest.mark.parametrize(
    ("freedom", "quantile"),
    [(1, 12.70620), (2, 4.302653), (3, 3.182446), (4, 2.776445), (19, 2.093024), (30, 2.042272), (1000, 1.962339)],
)
def test_t_quantiles_of_the_tables(freedom: int, quantile: float) -> None:
    assert student_t_quantile(0.975, freedom) == pytest.approx(quantile, rel=1e-6)
    assert student_t_quantile(0.5, freedom) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(("probability", "freedom"), [(0.4, 3), (1.0, 3), (0.9, 0)])
def test_t_quantiles_that_are_not_there(probability: float, freedom: int) -> None:
    with pytest.raises(ValueError, match="are needed"):
        student_t_quantile(probability, freedom)


def test_mean_interval_hand_computed() -> None:
    # Mean 3, s = sqrt(2.5), n = 5, t(4) = 2.776445.
    half = 2.776445 * math.sqrt(2.5 / 5)
    assert mean_interval([1, 2, 3, 4, 5]) == pytest.approx((3 - half, 3 + half), rel=1e-6)
    assert mean_interval([2.0, 2.0]) == (2.0, 2.0)
    assert mean_interval([7.0]) == (-math.inf, math.inf)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=20), st.floats(-5, 5))
def test_a_shift_shifts_the_interval(values: Sequence[float], shift: float) -> None:
    interval, moved = mean_interval(values), mean_interval([value + shift for value in values])
    assert moved == pytest.approx((interval.low + shift, interval.high + shift), abs=1e-6)
