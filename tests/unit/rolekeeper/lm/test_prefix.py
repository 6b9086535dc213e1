from __future__ import annotations

import torch

from rolekeeper.lm.load import LoadedModel
from rolekeeper.lm.prefix import Layers, PrefixCache, compute_prefix


def assert_same(found: Layers, wanted: Layers) -> None:
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_the_same_prefix_is_computed_once(llama: LoadedModel) -> None:
    prefixes, prefix = PrefixCache(), list(range(5, 45))
    with torch.inference_mode():
        first, length = prefixes.get(llama.model, prefix)
        again, _ = prefixes.get(llama.model, prefix)
        assert length == 40
        assert prefixes.num_computed == 1
        assert_same(first, compute_prefix(llama.model, prefix))
        assert_same(again, first)


def test_a_kept_prefix_serves_one_that_is_like_it(llama: LoadedModel) -> None:
    prefixes, prefix = PrefixCache(), list(range(5, 45))
    with torch.inference_mode():
        prefixes.get(llama.model, prefix)
        shorter, length = prefixes.get(llama.model, prefix[:38])
        assert (prefixes.num_computed, length) == (1, 38)
        assert_same(shorter, compute_prefix(llama.model, prefix[:38]))
        longer, length = prefixes.get(llama.model, [*prefix, 7, 7, 7])
        assert (prefixes.num_computed, length) == (1, 40)
        assert_same(longer, compute_prefix(llama.model, prefix))
        _, length = prefixes.get(llama.model, prefix[:20] + [3] * 20)
        assert (prefixes.num_computed, length) == (2, 40)


def test_the_least_recently_used_goes_first(llama: LoadedModel) -> None:
    with torch.inference_mode():
        size = sum(tensor.nbytes for pair in compute_prefix(llama.model, [1] * 40) for tensor in pair)
        prefixes = PrefixCache(max_bytes=2 * size)
        for token in (1, 2, 1, 3, 1):
            prefixes.get(llama.model, [token] * 40)
        assert prefixes.num_computed == 3
        prefixes.get(llama.model, [2] * 40)
        assert prefixes.num_computed == 4


def test_one_that_is_too_large_is_not_kept_and_an_empty_one_is_nothing(llama: LoadedModel) -> None:
    prefixes = PrefixCache(max_bytes=1)
    with torch.inference_mode():
        for _ in range(2):
            assert prefixes.get(llama.model, [4] * 40)[1] == 40
        assert prefixes.num_computed == 2
        assert prefixes.get(llama.model, []) == ([], 0)
