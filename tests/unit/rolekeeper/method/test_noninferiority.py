"""Bounds, powers and numbers of prompts, against hand-computed values and naive twins."""

from __future__ import annotations

import math
import random
from itertools import product

import pytest

from rolekeeper.method.noninferiority import (
    Z_ONE_SIDED_95,
    Changes,
    caught_loss,
    chance_of_loss,
    holm,
    num_pairs_to_decide,
    release_probability,
    rules_out,
    tango_interval,
    tango_score,
)
from rolekeeper.method.statistics import wilson_interval

Z = Z_ONE_SIDED_95


def naive_score(changes: Changes, difference: float) -> float:
    """The likeliest share of lost prompts by looking at many, in place of the root of the quadratic."""
    total, lost, gained = changes

    def likelihood(share: float) -> float:
        better = share + difference
        rest = 1 - share - better
        parts = ((lost, share), (gained, better), (total - lost - gained, rest))
        if any(part < 0 or (part == 0 and count) for count, part in parts):
            return -math.inf
        return sum(count * math.log(part) for count, part in parts if count)

    low, high = max(0.0, -difference), (1 - difference) / 2
    share = max((low + (high - low) * step / 40_000 for step in range(40_001)), key=likelihood)
    variance = total * (2 * share + difference * (1 - difference))
    return (gained - lost - total * difference) / math.sqrt(variance)


@pytest.mark.parametrize(
    "changes", [Changes(20, 3, 1), Changes(40, 0, 5), Changes(150, 5, 2), Changes(60, 12, 12), Changes(10, 4, 0)]
)
@pytest.mark.parametrize("difference", [-0.3, -0.05, 0.02, 0.2])
def test_the_score_is_that_of_the_likeliest_share(changes: Changes, difference: float) -> None:
    assert tango_score(changes, difference) == pytest.approx(naive_score(changes, difference), abs=2e-3)


@pytest.mark.parametrize(("num_lost", "total"), [(0, 20), (1, 60), (7, 40), (20, 20)])
def test_losses_alone_have_wilsons_interval(num_lost: int, total: int) -> None:
    """Nobody gains, so the lower end is minus the largest share that may be lost."""
    low, _ = tango_interval(Changes(total, num_lost, 0), 1.959964)
    assert low == pytest.approx(-wilson_interval(num_lost, total).high, abs=1e-9)


def test_losses_and_gains_that_change_places_turn_the_interval_round() -> None:
    low, high = tango_interval(Changes(50, 9, 3))
    assert (-high, -low) == pytest.approx(tango_interval(Changes(50, 3, 9)))
    assert tango_interval(Changes(0, 0, 0)) == (-1, 1)


@pytest.mark.parametrize(("total", "is_out"), [(20, False), (51, False), (52, True), (150, True)])
def test_how_many_prompts_without_a_loss_rule_out_five_points(total: int, is_out: bool) -> None:
    """By hand: the lower end is -z^2 / (n + z^2), not below -0.05 from n = z^2 (1 / 0.05 - 1) = 51.4 on."""
    assert rules_out(Changes(total, 0, 0), 0.05) == is_out
    assert num_pairs_to_decide(Changes(total, 0, 0), 0.05) == 52


@pytest.mark.parametrize(("total", "most"), [(60, 0), (100, 1), (150, 3), (300, 8)])
def test_how_many_prompts_may_be_lost(total: int, most: int) -> None:
    allowed = [lost for lost in range(total) if rules_out(Changes(total, lost, 0), 0.05)]
    assert allowed == list(range(most + 1))
    assert not rules_out(Changes(0, 0, 0), 0.05)


def test_how_many_prompts_would_decide_is_where_the_same_rates_do() -> None:
    """The rates of 4 lost and 2 gained of 100, at the last whole hundred before the number and the first after it."""
    needed = num_pairs_to_decide(Changes(100, 4, 2), 0.05)
    assert needed is not None
    assert not rules_out(Changes(needed // 100 * 100, needed // 100 * 4, needed // 100 * 2), 0.05)
    more = needed // 100 + 1
    assert rules_out(Changes(more * 100, more * 4, more * 2), 0.05)
    assert num_pairs_to_decide(Changes(0, 0, 0), 0.05) is None


def test_a_loss_over_the_margin_is_decided_by_showing_it() -> None:
    """6 of 40 lost and 2 gained: (6 - 2) / sqrt(8) = 1.414 at 40, so z = 1.645 at 40 (1.645 / 1.414)^2 = 54.1."""
    assert num_pairs_to_decide(Changes(40, 6, 2), 0.05) == 55


def test_chance_of_a_loss_by_hand() -> None:
    """5 of 5: 1/32. 7 of 8: (8 + 1) / 256. None: 1."""
    assert chance_of_loss(Changes(40, 5, 0)) == 1 / 32
    assert chance_of_loss(Changes(40, 7, 1)) == 9 / 256
    assert chance_of_loss(Changes(40, 0, 0)) == 1
    assert chance_of_loss(Changes(40, 0, 4)) == 1


def test_holm_by_hand() -> None:
    """0.01 <= 0.05 / 3 and 0.02 <= 0.05 / 2, but 0.06 > 0.05. Of (0.02, 0.03, 0.04) the first is over 0.05 / 3."""
    assert holm({"a": 0.06, "b": 0.01, "c": 0.02}) == {"b", "c"}
    assert holm({"a": 0.02, "b": 0.03, "c": 0.04}) == set()
    assert holm({}) == set()


def naive_release(total: int, loss: float, gained: float, margin: float) -> float:
    """Every pair of counts for itself."""
    probability = 0.0
    for num_lost, num_gained in product(range(total + 1), repeat=2):
        same = total - num_lost - num_gained
        if same >= 0 and tango_interval(Changes(total, num_lost, num_gained)).low >= -margin:
            ways = math.comb(total, num_lost) * math.comb(total - num_lost, num_gained)
            probability += ways * (gained + loss) ** num_lost * gained**num_gained * (1 - loss - 2 * gained) ** same
    return probability


@pytest.mark.parametrize(("loss", "gained"), [(0.0, 0.0), (0.0, 0.05), (0.1, 0.02), (0.02, 0.0)])
def test_the_power_is_that_of_all_tables(loss: float, gained: float) -> None:
    expected = naive_release(24, loss, gained, 0.15)
    assert release_probability(24, loss, gained, 0.15) == pytest.approx(expected, abs=1e-9)


def test_the_power_is_that_of_simulated_prompts() -> None:
    """4,000 draws: 3.3 standard errors are at most 0.026."""
    rng, total, loss, gained = random.Random(7), 150, 0.01, 0.02
    released = 0
    for _ in range(4000):
        draws = [rng.random() for _ in range(total)]
        num_lost = sum(draw < gained + loss for draw in draws)
        num_gained = sum(gained + loss <= draw < 2 * gained + loss for draw in draws)
        released += rules_out(Changes(total, num_lost, num_gained), 0.05)
    assert released / 4000 == pytest.approx(release_probability(total, loss, gained, 0.05), abs=0.026)


@pytest.mark.parametrize(("total", "num_gained"), [(100, 0), (150, 2), (300, 6)])
def test_the_loss_that_is_caught_is_released_one_time_in_five(total: int, num_gained: int) -> None:
    loss, gained = caught_loss(total, num_gained, 0.05), (num_gained + 0.5) / (total + 1)
    assert 0 < loss < 0.05
    assert release_probability(total, loss, gained, 0.05) <= 0.2
    assert release_probability(total, loss - 0.002, gained, 0.05) > 0.2


def test_few_prompts_catch_everything_as_they_release_nothing() -> None:
    assert caught_loss(20, 0, 0.05) == 0
    assert release_probability(20, 0.0, 0.0, 0.05) == 0
