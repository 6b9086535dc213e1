from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rolekeeper.lm.batch import bin_pack, token_budget_batches


def test_hand_computed() -> None:
    # 10 alone (two rows would cost 20), then 6 + 5 (12), then 3 + 3 + 2 (9; a fourth row would cost 12).
    assert token_budget_batches([3, 10, 5, 3, 6, 2], max_tokens=12, max_rows=3) == [[1], [4, 2], [0, 3, 5]]


def test_nothing() -> None:
    assert token_budget_batches([], max_tokens=12, max_rows=3) == []


def test_a_sample_over_the_budget_is_alone() -> None:
    assert token_budget_batches([50, 2], max_tokens=12, max_rows=3) == [[0], [1]]


@given(st.lists(st.integers(1, 300)), st.integers(1, 1000), st.integers(1, 20))
def test_every_sample_once_and_never_over_the_limits(lengths: list[int], max_tokens: int, max_rows: int) -> None:
    batches = token_budget_batches(lengths, max_tokens, max_rows)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        cost = len(batch) * max(lengths[index] for index in batch)
        assert len(batch) <= max_rows
        assert cost <= max_tokens or len(batch) == 1


def test_packing_by_hand() -> None:
    # 10 alone, then 6 + 5, then 3 + 3 + 2: a group is closed by the first sample that does not fit.
    assert bin_pack([3, 10, 5, 3, 6, 2], max_tokens=12) == [[1], [4, 2], [0, 3, 5]]
    assert bin_pack([50, 2], max_tokens=12) == [[0], [1]]
    assert bin_pack([], max_tokens=12) == []


@given(st.lists(st.integers(1, 300)), st.integers(1, 1000))
def test_packing_holds_every_sample_once_within_the_budget(lengths: list[int], max_tokens: int) -> None:
    groups = bin_pack(lengths, max_tokens)
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    assert all(sum(lengths[index] for index in group) <= max_tokens or len(group) == 1 for group in groups)
