"""Memory: how much is free, and back to the system what Python and the allocators have freed but still hold."""

from __future__ import annotations

import contextlib
import ctypes
import gc
from pathlib import Path

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


def available_bytes(device: torch.device) -> int | None:
    """Return how much memory can still be taken on a device; None where the system does not tell.

    On the CPU it is what the kernel could hand out, or what is left of the limit of the control group (a container's
    memory limit), whichever is less. On CUDA it is what is free, with what the allocator of this process keeps unused.
    """
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + kept
    known = [size for size in (_free_of_machine(), _free_of_group()) if size is not None]
    return min(known, default=None)


def _free_of_machine(meminfo: str = "/proc/meminfo") -> int | None:
    try:
        fields = dict(line.split(":", 1) for line in Path(meminfo).read_text(encoding="ascii").splitlines())
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):  # not Linux
        return None


def _free_of_group(folder: str = "/sys/fs/cgroup") -> int | None:
    try:
        limit = int(Path(folder, "memory.max").read_text(encoding="ascii"))
        used = int(Path(folder, "memory.current").read_text(encoding="ascii"))
        stats = dict(line.split() for line in Path(folder, "memory.stat").read_text(encoding="ascii").splitlines())
        # Files that nobody reads just now make room when memory is asked for.
        return limit - used + int(stats["inactive_file"])
    except (OSError, KeyError, ValueError):  # no such group, or without a limit: "max"
        return None
