from __future__ import annotations

import tracemalloc
from dataclasses import replace

import torch

from rolekeeper.lm.encode import EncodedSample
from rolekeeper.lm.load import LoadedModel
from services.scorer.cache import ENTRY_BYTES, MEBIBYTE, LogprobCache, response_key


def number_key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def test_what_was_kept_is_found_as_it_was() -> None:
    cache = LogprobCache(1)
    logprobs_T = -torch.rand(50)
    cache.keep({number_key(1): logprobs_T})
    found = cache.find([number_key(1), number_key(2)])
    assert list(found) == [number_key(1)]
    assert torch.equal(found[number_key(1)], logprobs_T)
    found[number_key(1)].zero_()
    assert torch.equal(cache.find([number_key(1)])[number_key(1)], logprobs_T)


def test_the_least_recently_used_go_first() -> None:
    cache = LogprobCache(1)
    fits = MEBIBYTE // (4 * 1000 + ENTRY_BYTES)
    for number in range(fits):
        cache.keep({number_key(number): torch.zeros(1000)})
    cache.find([number_key(0)])
    cache.keep({number_key(fits): torch.zeros(1000)})
    assert list(cache.find(map(number_key, (0, 1, 2)))) == [number_key(0), number_key(2)]
    assert cache.num_bytes <= MEBIBYTE


def test_the_bound_is_what_python_really_needs() -> None:
    cache = LogprobCache(8)
    tracemalloc.start()
    try:
        for number in range(30_000):
            cache.keep({number_key(number): torch.zeros(40)})
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0.5 * 8 * MEBIBYTE < used < 1.05 * 8 * MEBIBYTE


def test_what_is_not_finite_or_too_large_is_not_kept() -> None:
    cache = LogprobCache(1)
    cache.keep({number_key(1): torch.tensor([-1.0, float("nan")]), number_key(2): torch.zeros(MEBIBYTE)})
    assert cache.find([number_key(1), number_key(2)]) == {}
    nothing = LogprobCache(0)
    nothing.keep({number_key(1): torch.zeros(3)})
    assert nothing.find([number_key(1)]) == {}


def test_a_key_holds_all_that_the_numbers_depend_on(loaded: LoadedModel) -> None:
    def key(prompt_ids: list[int], response_ids: list[int], model: LoadedModel = loaded) -> bytes:
        return response_key(model, EncodedSample(prompt_ids, response_ids, truncated=False, dropped_messages=0))

    keys = {
        key([1, 2], [3]),
        key([1], [2, 3]),
        key([1, 2], [4]),
        key([1, 2], [3], replace(loaded, digest="other")),
        key([1, 2], [3], replace(loaded, dtype=torch.bfloat16)),
    }
    assert len(keys) == 5
    sample = EncodedSample([1, 2], [3], truncated=False, dropped_messages=0)
    assert response_key(loaded, sample, alone=True) not in keys
    assert key([1, 2], [3]) in keys
