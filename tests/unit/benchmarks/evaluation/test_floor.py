from __future__ import annotations

import pytest

from benchmarks.evaluation.floor import Lengths, Rates, floor_seconds, shared_tokens
from benchmarks.scoring.floor import ModelSize


def test_the_floor_by_hand() -> None:
    """P = 10, d = 2, V = 5, A = 1. Prompts of 5 and 4 tokens, 3 of them shared, with answers of 2 and 1."""
    size = ModelSize(trunk_weights=10, hidden=2, vocabulary=5, attention=1)
    shared = 2 * 10 * 3 + (1 + 2 + 3)
    first = 2 * 10 * 3 + (4 + 5 + 6) + 2 * 20  # two of the prompt and one of the answer run, two have logits
    second = 2 * 10 * 1 + 4 + 20
    # One step of the first answer reads its two own tokens and half its answer, and the shared ones for two rows.
    read = (2 + 1 + 3 / 2) * 100
    lengths = Lengths(prompts=[5, 4], answers=[2, 1], shared=3)
    seconds = floor_seconds(size, lengths, bytes_per_token=100, rows=2, rates=Rates(flops=1000.0, read_bytes=50.0))
    assert seconds == pytest.approx((shared + first + second) / 1000 + read / 50)


def test_the_last_token_of_a_prompt_is_never_shared() -> None:
    assert shared_tokens([[1, 2, 3], [1, 2, 4, 5]]) == 2
    assert shared_tokens([[1, 2, 3], [1, 2, 3, 5]]) == 2
    assert shared_tokens([[1, 2], [2, 2]]) == 0
