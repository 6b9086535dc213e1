from __future__ import annotations

import pytest
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.scoring.floor import (
    ContextLengths,
    ModelSize,
    Question,
    bound,
    common_prefix,
    measure_lengths,
    measure_size,
    naive_flops,
    response_only_flops,
    shared_flops,
)
from rolekeeper.lm.encode import EncodedSample

# 2P = 20, 2dV = 60, A = 1.
SIZE = ModelSize(trunk_weights=10, hidden=3, vocabulary=10, attention=1)
# A prefix of 4; one prompt of 6 with responses of 3 and 1, one prompt of 5 with a response of 2.
CONTEXT = ContextLengths(4, (Question(2, (3, 1)), Question(1, (2,))))


def sample(prompt_ids: list[int], num_response: int) -> EncodedSample:
    return EncodedSample(prompt_ids, [9] * num_response, truncated=False, dropped_messages=0)


def test_trunk_counts_a_pair_for_every_key_that_is_seen() -> None:
    # Two tokens after three others see 4 and 5 keys: 2 x 20 + 9.
    assert SIZE.trunk(3, 2) == 49
    # Running in two pieces costs what running in one does.
    assert SIZE.trunk(0, 3) + SIZE.trunk(3, 4) == SIZE.trunk(0, 7)


def test_naive_by_hand() -> None:
    # Runs of 8, 6 and 6 tokens: 20 + 60 for each, and 36 + 21 + 21 pairs.
    assert naive_flops(SIZE, CONTEXT) == 20 * 80 + 78


def test_response_only_by_hand() -> None:
    # The same trunk, and logits for 3 + 1 + 2 tokens.
    assert response_only_flops(SIZE, CONTEXT) == 20 * 20 + 78 + 6 * 60


def test_shared_by_hand() -> None:
    # Prefix 4 tokens, 10 pairs. Prompts: 2 tokens that see 5 and 6 keys, 1 that sees 5. Responses: of 3, two tokens run
    # and see 7 and 8 keys; of 1, none runs; of 2, one runs and sees 6.
    tokens, pairs = 4 + 2 + 1 + 2 + 0 + 1, 10 + 11 + 5 + 15 + 0 + 6
    assert shared_flops(SIZE, CONTEXT) == tokens * 20 + pairs + 6 * 60
    assert shared_flops(SIZE, CONTEXT) == 607


def test_bound_by_hand() -> None:
    assert bound(SIZE, [CONTEXT]) == pytest.approx(1678 / 607)
    assert bound(SIZE, [CONTEXT, CONTEXT]) == pytest.approx(1678 / 607)


def test_without_anything_to_share_only_the_head_is_left() -> None:
    alone = ContextLengths(0, (Question(6, (3,)),))
    assert shared_flops(SIZE, alone) == response_only_flops(SIZE, alone)


def test_many_samples_approach_the_known_bounds() -> None:
    # SmolLM2-135M and the lengths of RoleBench; 8 template tokens are part of the prompts, as they are in the figures
    # that this must reproduce: 2.57 and 3.63.
    size = ModelSize(trunk_weights=106_168_320, hidden=576, vocabulary=49_152, attention=69_120)
    for question, response, expected in ((21, 79, 2.57), (31, 31, 3.63)):
        contexts = [
            ContextLengths(prefix, tuple(Question(question + 8, (response,)) for _ in range(10_000)))
            for prefix in (201, 263, 4)
        ]
        assert bound(size, contexts) == pytest.approx(expected, abs=0.02)


def test_lengths_are_measured_on_ids() -> None:
    samples = [sample([1, 2, 3, 4], 3), sample([1, 2, 5], 2), sample([1, 2, 3, 4], 1)]
    assert measure_lengths(samples) == ContextLengths(2, (Question(2, (3, 1)), Question(1, (2,))))


def test_the_prefix_leaves_a_token_to_predict_from() -> None:
    samples = [sample([1, 2, 3], 2), sample([1, 2, 3], 2)]
    assert measure_lengths(samples) == ContextLengths(2, (Question(1, (2, 2)),))


def test_common_prefix() -> None:
    assert common_prefix([[1, 2, 3], [1, 2], [1, 2, 4]]) == 2
    assert common_prefix([[1], [2]]) == 0
    assert common_prefix([[]]) == 0


def test_sizes_are_read_from_the_layers() -> None:
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=12,
        intermediate_size=20,
        num_hidden_layers=2,
        num_attention_heads=3,
        num_key_value_heads=1,
        head_dim=4,
        tie_word_embeddings=True,
    )
    # A layer: q and o 12 x 12, k and v 12 x 4, three of 12 x 20.
    weights = 2 * (2 * 144 + 2 * 48 + 3 * 240)
    assert measure_size(LlamaForCausalLM(config)) == ModelSize(weights, 12, 50, 4 * 2 * 3 * 4)
