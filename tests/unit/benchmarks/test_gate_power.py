"""The power table, where it must hold: the gate's own decisions on reports that are simulated from fixed seeds."""

from __future__ import annotations

import pytest

from benchmarks.gate_power import MODELS, NUM_PROMPTS, Truth, part_verdicts, shares, suite_verdicts

SIMULATIONS = 200


@pytest.mark.parametrize(("base", "noise"), MODELS)
@pytest.mark.parametrize("num_prompts", NUM_PROMPTS)
def test_a_true_loss_of_ten_points_is_released_one_time_in_twenty_at_most(
    base: float, noise: float, num_prompts: int
) -> None:
    """By `release_probability` it is 0.01 or less in every case here, so that 200 reports leave 0.05 far off."""
    found = shares(part_verdicts(Truth(base, noise, 0.1), num_prompts, SIMULATIONS, seed=1))
    assert found["released"] <= 0.05


def test_a_good_adapter_is_mostly_released_where_there_are_prompts_enough() -> None:
    for base, noise in MODELS[:3]:
        found = shares(part_verdicts(Truth(base, noise, 0.0), 150, SIMULATIONS, seed=2))
        assert found["released"] >= 0.75
        assert found["blocked"] <= 0.05


def test_fewer_prompts_release_less() -> None:
    released = [
        shares(part_verdicts(Truth(0.95, 0.02, 0.0), number, SIMULATIONS, seed=3))["released"] for number in NUM_PROMPTS
    ]
    assert released[0] <= 0.05
    assert released == sorted(released)


def test_the_whole_suite_holds_the_bound_too() -> None:
    assert shares(suite_verdicts(Truth(0.95, 0.01, 0.1), 100, seed=4))["released"] <= 0.05
    assert shares(suite_verdicts(Truth(0.95, 0.0, 0.0), 100, seed=4))["released"] == 1.0
