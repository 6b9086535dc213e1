from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolekeeper.method.selection import select_flip, select_random, select_share, select_subset

FLAGS = st.lists(st.booleans(), max_size=50)
SEEDS = st.integers(0, 2**31 - 1)


def test_by_hand() -> None:
    harmful = [True, False, False]
    assert select_subset("sarft", harmful, 0) == [True, False, False]
    assert select_subset("flip", harmful, 0) == [False, True, True]
    assert select_subset("all", harmful, 0) == [True, True, True]
    assert select_subset("sft", harmful, 0) == [False, False, False]
    assert sum(select_subset("random", harmful, 0)) == 1


@pytest.mark.parametrize("method", ["sppft", "vaccine", "seal", "seal_filter", "bi_selection"])
def test_what_is_not_anchored_or_chosen_later_is_not_chosen_here(method: str) -> None:
    assert select_subset(method, [True, False], 0) == [False, False]


def test_a_share_by_hand() -> None:
    margins = [0.1, -0.2, 0.3, 0.1, 0.0]
    assert select_share(margins, 0.4) == [True, False, True, False, False]  # of the two at 0.1 the earlier
    assert select_share(margins, 0.5) == [True, False, True, True, False]  # 2.5 rounds up
    assert select_share(margins, 0.09) == [False] * 5
    assert select_share(margins, 1.0) == [True] * 5


@given(st.lists(st.sampled_from([-0.5, 0.0, 0.25, 1.0]), max_size=40), st.floats(0.01, 1.0))
def test_a_share_is_the_top_of_the_margins(margins: list[float], share: float) -> None:
    """Against a naive twin that takes the best one that is left, again and again."""
    left = list(range(len(margins)))
    expected = [False] * len(margins)
    for _ in range(int(share * len(margins) + 0.5)):
        best = max(left, key=lambda index: margins[index])  # the first of equals
        expected[best] = True
        left.remove(best)
    assert select_share(margins, share) == expected


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(ValueError, match="no selection 'half'"):
        select_subset("half", [True], 0)


@given(FLAGS, SEEDS)
def test_random_has_the_same_size_and_repeats(harmful: list[bool], seed: int) -> None:
    drawn = select_random(harmful, seed)
    assert (len(drawn), sum(drawn)) == (len(harmful), sum(harmful))
    assert select_random(harmful, seed) == drawn


@given(FLAGS)
def test_flip_is_the_complement(harmful: list[bool]) -> None:
    flipped = select_flip(harmful)
    assert all(one != other for one, other in zip(harmful, flipped, strict=True))
    assert select_flip(flipped) == harmful


def test_random_is_drawn_over_the_whole_data_set_whatever_is_harmful() -> None:
    """20 of 100 samples are harmful, all at the front: over 1000 seeds every sample is drawn about 200 times."""
    harmful = [True] * 20 + [False] * 80
    counts = [0] * 100
    for seed in range(1000):
        for index, drawn in enumerate(select_random(harmful, seed)):
            counts[index] += drawn
    # Binomial(1000, 0.2) has a standard deviation of 12.6: five of them either way.
    assert all(137 < count < 263 for count in counts)
    assert len({tuple(select_random(harmful, seed)) for seed in range(50)}) == 50
