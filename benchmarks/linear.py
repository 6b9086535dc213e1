"""`python -m benchmarks.linear`: linear layers through oneDNN against PyTorch's own (MKL on x86), fp32 on the CPU."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.timing import show, time_in_turns
from rolekeeper.lm.linear import linear

TARGET = 1.0
FLOPS = 2e10
ROWS = (32, 256, 1024)
# Inputs and outputs of SmolLM2-135M's projections: attention, gate and up, down.
SIZES = ((576, 576), (576, 1536), (1536, 576))


def main() -> None:
    """Time every shape, forward alone and forward with the gradient of the input."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object per case")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for rows in ROWS:
        for num_in, num_out in SIZES:
            for learns in (False, True):
                x_NI = torch.randn(rows, num_in, requires_grad=learns)
                weight_OI = torch.randn(num_in, num_out).t()
                repeats = max(1, int(FLOPS / (2 * rows * num_in * num_out * (2 if learns else 1))))
                ours, peer = (partial(run, way, x_NI, weight_OI, repeats) for way in (linear, nn.functional.linear))
                timed = time_in_turns(ours, peer, options.rounds)
                gflops = FLOPS / 1e9
                figures = {"ratio": timed.ratio, "target": TARGET, "bound": None}
                figures |= {"ours_gflops_per_s": gflops / timed.ours, "peer_gflops_per_s": gflops / timed.peer}
                figures |= {"num_threads": torch.get_num_threads()}
                way = "forward+backward" if learns else "forward"
                show(options.json, "linear", f"{rows}x{num_in}x{num_out} {way}", figures)


def run(way: Callable[[Tensor, Tensor], Tensor], x_NI: Tensor, weight_OI: Tensor, repeats: int) -> None:
    """Multiply again and again, with the gradient of x where it asks for one."""
    for _ in range(repeats):
        out_NO = way(x_NI, weight_OI)
        if x_NI.requires_grad:
            torch.autograd.backward(out_NO, out_NO.detach())
            x_NI.grad = None


if __name__ == "__main__":
    main()
