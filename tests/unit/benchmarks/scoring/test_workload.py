from __future__ import annotations

import math

import pytest

from benchmarks.scoring.workload import Character, Disagreement, Workload, check_agreement, slice_by_length
from rolekeeper.lm.encode import EncodedSample


def sample(num_prompt: int, num_response: int = 10) -> EncodedSample:
    return EncodedSample([1] * num_prompt, [2] * num_response, truncated=False, dropped_messages=0)


WORKLOAD = Workload((Character((sample(5),), (sample(6),), (sample(1),)),))


def test_requests_are_contexts_one_after_another() -> None:
    two = Workload((*WORKLOAD.characters, *WORKLOAD.characters))
    assert [len(request.prompt_ids) for request in two.requests] == [5, 6, 1, 5, 6, 1]
    assert two.num_samples == 2


def test_sums_agree_within_the_tolerances() -> None:
    check_agreement("peer", [-20.0005, -20.0, -20.0], [-20.0, -20.0, -20.0], WORKLOAD)


@pytest.mark.parametrize("wrong", [-20.0015, math.nan, math.inf])
def test_a_difference_is_named(wrong: float) -> None:
    with pytest.raises(Disagreement, match="request 1 of 3: peer gives"):
        check_agreement("peer", [-20.0, wrong, -20.0], [-20.0, -20.0, -20.0], WORKLOAD)


def test_a_small_sum_must_agree_relatively() -> None:
    # 1e-5 in the mean over tokens, but 1e-2 of the sum.
    with pytest.raises(Disagreement):
        check_agreement("peer", [-0.0101, -20.0, -20.0], [-0.01, -20.0, -20.0], WORKLOAD)


def test_a_slice_is_whole_blocks_over_all_lengths() -> None:
    requests = [sample(length) for length in (3, 8, 1, 6, 5, 2, 7, 4)]
    chosen = slice_by_length(requests, block=2, count=2)
    assert [len(request.prompt_ids) for request in chosen] == [8, 7, 4, 3]
    assert len(slice_by_length(requests, block=2, count=9)) == 8
