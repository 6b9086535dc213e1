"""Keys and values of prompt prefixes, computed once and kept.

Shapes: K key heads, P tokens of a prefix, D head size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from cachetools import LRUCache
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

Layers = list[tuple[Tensor, Tensor]]
"""Keys and values [1, K, P, D] of each layer."""

MAX_BYTES = 256 << 20
# A kept prefix that lacks so many tokens of what all samples share is used all the same: chunks of one character
# share a few tokens more or less by chance.
_MISSING = 16


class PrefixCache:
    """Prefixes of one model, at most `max_bytes` of them: the least recently used go first. Not thread-safe."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._kept: LRUCache[tuple[int, ...], Layers] = LRUCache(max_bytes, getsizeof=_num_bytes)
        self.num_computed = 0

    def get(self, model: PreTrainedModel, prefix: Sequence[int]) -> tuple[Layers, int]:
        """Return keys and values of the first n tokens of a prefix, and n: all of them, or a few less."""
        if not prefix:
            return [], 0
        key, length = self._longest(prefix)
        if len(prefix) - length <= min(_MISSING, len(prefix) // 8):
            # Attention is causal: the keys of the first n tokens do not depend on what came after.
            return [(keys[:, :, :length], values[:, :, :length]) for keys, values in self._kept[key]], length
        layers = compute_prefix(model, prefix)
        self.num_computed += 1
        if _num_bytes(layers) <= self._kept.maxsize:
            self._kept[tuple(prefix)] = layers
        return layers, len(prefix)

    def _longest(self, prefix: Sequence[int]) -> tuple[tuple[int, ...], int]:
        found = [(kept, _num_shared(kept, prefix)) for kept in self._kept]
        return max(found, key=lambda pair: pair[1], default=((), 0))


def compute_prefix(model: PreTrainedModel, prefix: Sequence[int]) -> Layers:
    """Return the keys and values of a prefix of at least one token."""
    cache = DynamicCache()
    model.base_model(input_ids=torch.tensor([list(prefix)], device=model.device), past_key_values=cache, use_cache=True)
    return [(keys, values) for keys, values, *_ in cache]


def _num_bytes(layers: Layers) -> int:
    return sum(tensor.nbytes for pair in layers for tensor in pair)


def _num_shared(first: Sequence[int], second: Sequence[int]) -> int:
    length = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        length += 1
    return length
