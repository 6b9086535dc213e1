"""Log-probs of responses that were scored before, kept in memory under a bound.

A response under a prompt has the same log-probs whenever it is asked for, so the same samples sent again, by a stage
that is repeated or by a job with another margin, cost no forward pass. What is kept may be lost at any time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from threading import Lock

import numpy as np
import torch
from cachetools import LRUCache
from torch import Tensor

from rolekeeper.lm.encode import EncodedSample
from rolekeeper.lm.load import LoadedModel

ENTRY_BYTES = 512
"""What Python needs for one entry beside its numbers: key, size, and places in three tables. Measured by a test."""

MEBIBYTE = 1 << 20


def response_key(loaded: LoadedModel, sample: EncodedSample, alone: bool = False) -> bytes:
    """Return the sha256 of all that a response's log-probs depend on: weights, dtype, prompt ids and response ids.

    What is computed `alone`, outside any batch, may differ in the last digits and has a key of its own.
    """
    how = "alone" if alone else "batched"
    digest = hashlib.sha256(f"{loaded.digest} {loaded.dtype} {how} {len(sample.prompt_ids)} ".encode())
    digest.update(np.asarray(sample.prompt_ids + sample.response_ids, dtype=np.int32).tobytes())
    return digest.digest()


class LogprobCache:
    """The most recently used log-probs, fp32, in at most `max_mib` MiB. Safe for several threads; 0 keeps nothing."""

    def __init__(self, max_mib: int) -> None:
        self._entries: LRUCache[bytes, bytes] = LRUCache(max_mib * MEBIBYTE, getsizeof=_entry_bytes)
        self._lock = Lock()

    def find(self, keys: Iterable[bytes]) -> dict[bytes, Tensor]:
        """Return the log-probs [T] of those responses that are kept."""
        with self._lock:
            kept = {key: self._entries.get(key) for key in keys}
        return {key: _to_tensor(values) for key, values in kept.items() if values is not None}

    def keep(self, logprobs: Mapping[bytes, Tensor]) -> None:
        """Keep log-probs [T]. Those that are not finite are left out: the next one who asks computes them anew."""
        packed = {
            key: logprobs_T.float().numpy().tobytes() for key, logprobs_T in logprobs.items() if _is_finite(logprobs_T)
        }
        with self._lock:
            for key, values in packed.items():
                if _entry_bytes(values) <= self._entries.maxsize:
                    self._entries[key] = values

    @property
    def num_bytes(self) -> int:
        """What the entries take, by estimate."""
        with self._lock:
            return int(self._entries.currsize)


def _entry_bytes(values: bytes) -> int:
    return len(values) + ENTRY_BYTES


def _is_finite(logprobs_T: Tensor) -> bool:
    return bool(logprobs_T.isfinite().all())


def _to_tensor(values: bytes) -> Tensor:
    # Copied, since torch warns of memory that it may not write to.
    return torch.from_numpy(np.frombuffer(values, dtype=np.float32).copy())
