from __future__ import annotations

from array import array
from collections import Counter

from rolekeeper.contracts.jobs import Method
from services.conductor.scores import MAX_POINTS, Drafted, Drawn, choose_harmful
from tests.unit.rolekeeper.client.samples import make_scores


def draw(seed: int, num_samples: int, size: int = MAX_POINTS) -> list[int]:
    drawn = Drawn(seed, size)
    for score in make_scores(num_samples):
        drawn.offer(score)
    return [point.index for point in drawn.points()]


def test_a_few_scores_are_all_kept() -> None:
    assert draw(7, 12) == list(range(12))


def test_of_many_a_thousand_are_drawn_by_the_seed_in_their_order() -> None:
    points = draw(7, 3000)
    assert len(set(points)) == MAX_POINTS
    assert points == sorted(points) == draw(7, 3000) != draw(8, 3000)


def test_each_is_as_likely_as_any_other() -> None:
    """400 draws of 2 out of 8: 100 of each are expected, with a standard deviation of 8.7."""
    counts = Counter(index for seed in range(400) for index in draw(seed, 8, size=2))
    assert all(65 <= counts[index] <= 135 for index in range(8))


def test_a_share_takes_the_place_of_the_scorers_flags() -> None:
    drafted = Drafted(bytearray([0, 1, 1, 1]), array("d", [-0.1, 0.2, 0.1, 0.2]), bytearray(4))
    assert list(choose_harmful(Method(), drafted)) == [0, 1, 1, 1]
    assert list(choose_harmful(Method(harmful_share=0.25), drafted)) == [0, 1, 0, 0]
    assert list(choose_harmful(Method(harmful_share=1.0), drafted)) == [1, 1, 1, 1]
