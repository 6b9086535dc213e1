"""Peak memory of our SFT and RBO, each run in a process of its own.

What the allocator keeps of one training would count in the next. It keeps much, and now more, now less: freed memory
between tensors that still live is resident and of no use. So there are two figures, both from the kernel's high-water
mark: what is resident as the product runs, the median of several processes; and what is in use, where the allocator is
told to map every large tensor alone, so that what is freed is gone.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from statistics import median
from typing import NamedTuple

from benchmarks.scoring.machine import measure_peak_memory
from benchmarks.training.ours import KL_WEIGHT, Ours
from rolekeeper.method.fused import CHUNK_ROWS

KL_WEIGHTS = {"sft": 0.0, "rbo": KL_WEIGHT}
PROCESSES = 5
CHUNK_TENSORS = 3
"""Logits and log-probs of the policy and log-probs of the reference, of one chunk."""

_AS_THE_PRODUCT: Mapping[str, str] = {}
_MAPPED_ALONE = {"MALLOC_MMAP_THRESHOLD_": "1048576"}


class Peaks(NamedTuple):
    """The most memory of a training in MB; None where the system does not tell."""

    resident_mb: float | None
    in_use_mb: float | None


def peak_mb(ours: Ours, name: str) -> float | None:
    """Train one epoch in this process, and return the most memory resident meanwhile in MB."""
    return measure_peak_memory(partial(ours.train, KL_WEIGHTS[name], epochs=1)).peak_mb


def measure_peaks(command: Sequence[str]) -> dict[str, Peaks]:
    """Peaks of `sft` and `rbo`. `command` and one of these names print `peak_mb` of it, or nothing for None."""
    resident: dict[str, list[float | None]] = {name: [] for name in KL_WEIGHTS}
    for _ in range(PROCESSES):
        for name, found in resident.items():
            found.append(_peak_of_child([*command, name], _AS_THE_PRODUCT))
    in_use = {name: _peak_of_child([*command, name], _MAPPED_ALONE) for name in KL_WEIGHTS}
    return {name: Peaks(_median(found), in_use[name]) for name, found in resident.items()}


def allowed_mb(sft_mb: float | None, ours: Ours) -> float | None:
    """The target for RBO: the peak of SFT, the tensors of one chunk, and the states of the reference that are kept."""
    if sft_mb is None:
        return None
    config = ours.loaded.model.config
    numbers: int = CHUNK_TENSORS * CHUNK_ROWS * config.vocab_size
    numbers += ours.rows.flagged_response_tokens * config.hidden_size
    return sft_mb + 4 * numbers / 1e6


def _peak_of_child(command: Sequence[str], environment: Mapping[str, str]) -> float | None:
    child = subprocess.run(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, check=False)
    if child.returncode:
        sys.exit(child.returncode)  # it has said why
    return float(child.stdout) if child.stdout.strip() else None


def _median(found: Sequence[float | None]) -> float | None:
    known = [peak for peak in found if peak is not None]
    return median(known) if known else None
