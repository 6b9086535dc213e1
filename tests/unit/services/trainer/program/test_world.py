from __future__ import annotations

from typing import Any

import pytest

from rolekeeper.lm.encode import EncodedSample
from services.trainer.program.objectives.step import micro_batches, sample_length, stand_in
from services.trainer.program.world import ALONE, World

SAMPLES = [
    EncodedSample([1] * (3 + 7 * index % 20), [2] * (1 + index % 5), truncated=False, dropped_messages=0)
    for index in range(13)
]


@pytest.mark.parametrize("indices", [range(13), [4, 1, 9], [7]])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_processes_share_a_batch(indices: Any, size: int) -> None:
    shares = [micro_batches(SAMPLES, list(indices), 40, World(rank, size)) for rank in range(size)]
    assert sorted(index for share in shares for group in share for index in group) == sorted(indices)
    assert len({len(share) for share in shares}) == 1
    for group in (group for share in shares for group in share if len(group) > 1):
        assert len(group) * max(sample_length(SAMPLES[index]) for index in group) <= 40
    lengths = [sum(sample_length(SAMPLES[index]) for group in share for index in group) for share in shares]
    # Dealt out from the longest on, shares differ by less than the longest sample.
    assert max(lengths) - min(lengths) <= max(map(sample_length, SAMPLES))
    assert sample_length(SAMPLES[stand_in(SAMPLES, list(indices))]) == min(sample_length(SAMPLES[i]) for i in indices)


def test_alone_everything_is_ones_own() -> None:
    assert ALONE.leads
    assert ALONE.agree(3) == 3
    assert ALONE.gather(3) == [3]
    assert micro_batches(SAMPLES, [0, 1], 1000) == micro_batches(SAMPLES, [0, 1], 1000, ALONE)
