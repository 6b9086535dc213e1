"""The hierarchical bootstrap against loops, Holm and the front against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.reproduce.resample import Floats, Resampler, holm, interval, p_value, pareto_front, ratio


def test_the_first_mean_is_of_seeds_then_of_characters() -> None:
    # Two characters, two seeds, three prompts; by hand: (1/3 + 2/3) / 2 = 1/2 and (0 + 1) / 2 = 1/2.
    values = np.array([[[1.0, 0, 0], [1, 1, 0]], [[0, 0, 0], [1, 1, 1]]])
    means = Resampler(2, 2, num_resamples=10).means("prompts", values, is_nested=False)
    assert means.shape == (11,)
    assert means[0] == pytest.approx(0.5)


def test_a_character_with_fewer_dialogues_counts_as_much() -> None:
    values = np.array([[[1.0, 0.0]], [[1.0, math.nan]]])
    means = Resampler(2, 1, num_resamples=10).means("held_out", values, is_nested=True)
    assert means[0] == pytest.approx(0.75)


@pytest.mark.parametrize("is_nested", [False, True])
def test_every_resample_is_the_mean_that_loops_give(is_nested: bool) -> None:
    rng = np.random.default_rng(5)
    values = rng.normal(size=(3, 2, 4))
    values[1, :, 3] = math.nan
    resampler = Resampler(3, 2, seed=1, num_resamples=40)
    means = resampler.means("p", values, is_nested)
    characters, seeds = resampler._draw("characters", (), 3), resampler._draw("seeds", (3,), 2)
    prompts = resampler._draw("prompts p", (3,) if is_nested else (), 4)
    for row in range(41):
        of_row = np.broadcast_to(prompts[row], (3, 4))
        assert means[row] == pytest.approx(_naive(values, characters[row], seeds[row], of_row))


def test_each_resample_takes_as_many_as_there_are() -> None:
    resampler = Resampler(4, 3, num_resamples=50)
    resampler.means("p", np.zeros((4, 3, 5)), is_nested=False)
    assert (resampler._draw("characters", (), 4).sum(-1) == 4).all()
    assert (resampler._draw("seeds", (4,), 3).sum(-1) == 3).all()
    assert (resampler._draw("prompts p", (), 5).sum(-1) == 5).all()


def test_two_arms_with_the_same_values_never_differ() -> None:
    resampler, values = Resampler(3, 2, num_resamples=50), np.random.default_rng(1).random((3, 2, 6))
    one, other = (resampler.means("p", values + shift, is_nested=False) for shift in (0.0, 0.25))
    np.testing.assert_allclose(other - one, 0.25)


def test_the_interval_of_many_prompts_is_that_of_the_mean() -> None:
    values = np.random.default_rng(2).normal(size=(1, 1, 400))
    found = interval(Resampler(1, 1, num_resamples=4000).means("p", values, is_nested=False))
    error = values.std() / math.sqrt(400)
    assert found.value == pytest.approx(values.mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_p_counts_the_rarer_sign_twice() -> None:
    # 9 others: 2 at or below 0, so 2 * (1 + 2) / (1 + 9).
    assert p_value(np.array([1.0, -1, 0, 1, 1, 1, 1, 1, 1, 1])) == pytest.approx(0.6)
    assert p_value(np.array([0.0, 0, 0, 0])) == 1.0


def test_holm_multiplies_and_never_falls() -> None:
    # 0.01 * 3, then max(0.03, 0.02 * 2), then max(0.04, 0.03 * 1).
    adjusted = holm({"c": 0.03, "a": 0.01, "b": 0.02})
    assert list(adjusted) == ["c", "a", "b"]
    assert adjusted == pytest.approx({"a": 0.03, "b": 0.04, "c": 0.04})
    assert holm({"a": 0.6, "b": 0.9}) == {"a": 1.0, "b": 1.0}


def test_a_share_of_nothing_is_none() -> None:
    shares = ratio(np.array([1.0, 1.0]), np.array([2.0, 0.0]))
    assert shares[0] == 0.5
    assert math.isnan(shares[1])


def test_the_front_holds_what_no_other_beats() -> None:
    points = {"a": (0.0, 3.0), "b": (1.0, 2.0), "c": (0.5, 1.0), "d": (2.0, 0.0), "e": (1.0, 2.0)}
    assert pareto_front(points) == ["a", "b", "e", "d"]


def _naive(values: Floats, characters: Floats, seeds: Floats, prompts: Floats) -> float:
    """The same mean by taking each character, seed and prompt as often as it was drawn."""
    of_characters = []
    for character in range(values.shape[0]):
        of_seeds = []
        for seed in range(values.shape[1]):
            taken = [
                values[character, seed, prompt]
                for prompt in range(values.shape[2])
                for _ in range(int(prompts[character, prompt]))
                if not math.isnan(values[character, seed, prompt])
            ]
            of_seeds += [sum(taken) / len(taken)] * int(seeds[character, seed]) if taken else []
        of_characters += [sum(of_seeds) / len(of_seeds)] * int(characters[character]) if of_seeds else []
    return float(sum(of_characters) / len(of_characters))
