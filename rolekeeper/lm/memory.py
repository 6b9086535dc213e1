"""Memory back to the system: what Python and the allocators have freed but still hold."""

from __future__ import annotations

import contextlib
import ctypes
import gc

import torch


def release_memory() -> None:
    """Collect garbage and return freed memory, of the heap and of CUDA, to the system.

    The processes share one machine: what one holds unused after a job, the next one has not.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    with contextlib.suppress(AttributeError):  # a C library other than glibc has no malloc_trim
        ctypes.CDLL(None).malloc_trim(0)
