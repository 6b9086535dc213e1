"""What the machine can do, and what memory a run takes.

Shapes: N rows, I inputs, O outputs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from benchmarks.timing import Run, median_seconds
from rolekeeper.lm.linear import linear
from rolekeeper.lm.memory import release_memory

ROWS = 1024
FLOPS = 2e10
_MB = 1e6


class GemmRates(NamedTuple):
    """GFLOP/s of `torch.mm`, and of the linear layer that Rolekeeper puts into models (None without oneDNN)."""

    mm: float
    onednn: float | None


class PeakMemory(NamedTuple):
    """Resident memory before a run and its peak in the run, in MB. None where the system does not tell."""

    before_mb: float | None
    peak_mb: float | None


def measure_gemm_rates(model: PreTrainedModel, rounds: int = 5) -> GemmRates:
    """Multiply 1024 rows with matrices of the shapes of the model's trunk, each as often as it occurs in it."""
    modules = [module for module in model.base_model.modules() if isinstance(module, nn.Linear)]
    shapes = Counter((module.in_features, module.out_features) for module in modules)
    ways: list[Callable[[Tensor, Tensor], Tensor]] = [_mm]
    if torch.backends.mkldnn.is_available():
        ways.append(linear)
    seconds = [0.0] * len(ways)
    for (num_in, num_out), count in shapes.items():
        runs = [_product_run(way, num_in, num_out) for way in ways]
        repeats = _repeats(num_in, num_out)
        for index, took in enumerate(median_seconds(runs, rounds)):
            seconds[index] += count * took / repeats
    flops = sum(count * 2 * ROWS * num_in * num_out for (num_in, num_out), count in shapes.items())
    rates = [flops / took / 1e9 for took in seconds]
    return GemmRates(rates[0], rates[1] if len(rates) > 1 else None)


def measure_peak_memory(run: Run) -> PeakMemory:
    """Run once and return the most memory that was resident in the process meanwhile.

    The kernel's own high-water mark (VmHWM) is set back just before, so that loading the model does not count in it.
    """
    release_memory()
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:  # not Linux, or a sandbox without it
        run()
        return PeakMemory(None, None)
    before = _status_mb("VmRSS")
    run()
    return PeakMemory(before, _status_mb("VmHWM"))


def _product_run(way: Callable[[Tensor, Tensor], Tensor], num_in: int, num_out: int) -> Run:
    x_NI = torch.randn(ROWS, num_in)
    # Inputs first in memory, as `use_onednn` lays weights out; torch.mm takes either way.
    weight_OI = torch.randn(num_in, num_out).t()
    return partial(_repeat, partial(way, x_NI, weight_OI), _repeats(num_in, num_out))


def _repeats(num_in: int, num_out: int) -> int:
    return max(1, int(FLOPS / (2 * ROWS * num_in * num_out)))


def _repeat(run: Run, times: int) -> None:
    with torch.inference_mode():
        for _ in range(times):
            run()


def _mm(x_NI: Tensor, weight_OI: Tensor) -> Tensor:
    return torch.mm(x_NI, weight_OI.t())


def _status_mb(field: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return int(fields[field].removesuffix("kB")) * 1024 / _MB
