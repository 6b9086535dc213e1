"""The anchored share: the same number of samples, whichever are picked."""

from __future__ import annotations

from benchmarks.reproduce.selection import pick_share

MARGINS = [0.1, -0.3, 0.4, 0.4, -0.1, 0.0, 0.2, -0.2, 0.3, -0.4]


def test_the_highest_and_the_lowest_margins_are_picked() -> None:
    assert _indices(pick_share(MARGINS, 0.3, "highest", 1)) == [2, 3, 8]
    assert _indices(pick_share(MARGINS, 0.3, "lowest", 1)) == [1, 7, 9]


def test_of_equal_margins_the_earlier_is_the_higher() -> None:
    assert _indices(pick_share(MARGINS, 0.1, "highest", 1)) == [2]


def test_a_random_pick_is_as_large_and_goes_by_the_seed() -> None:
    picks = [pick_share(MARGINS, 0.3, "random", seed) for seed in range(20)]
    assert {sum(pick) for pick in picks} == {3}
    assert pick_share(MARGINS, 0.3, "random", 4) == picks[4]
    assert len({tuple(pick) for pick in picks}) > 10


def test_all_and_next_to_none() -> None:
    assert all(pick_share(MARGINS, 1.0, "lowest", 1))
    assert not any(pick_share(MARGINS, 0.01, "lowest", 1))


def _indices(flags: list[bool]) -> list[int]:
    return [index for index, flag in enumerate(flags) if flag]
