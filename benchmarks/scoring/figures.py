"""What a line says beside the ratios: bounds, rates and lengths."""

from __future__ import annotations

from statistics import fmean, pstdev

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from benchmarks.scoring.floor import ModelSize, bound, measure_lengths, response_only_flops, shared_flops
from benchmarks.scoring.machine import measure_gemm_rates
from benchmarks.scoring.workload import Workload
from rolekeeper.lm.encode import Encoder, Turn


def bounds_of(size: ModelSize, workload: Workload) -> dict[str, float]:
    """What sharing can gain at most over a and over b."""
    contexts = [measure_lengths(context) for context in workload.contexts]
    shared = sum(shared_flops(size, context) for context in contexts)
    response = sum(response_only_flops(size, context) for context in contexts)
    return {"bound": bound(size, contexts), "bound_response_only": response / shared}


def rates_of(size: ModelSize, workload: Workload, plain: PreTrainedModel, seconds: float) -> dict[str, float | None]:
    """How fast ours is, beside what the machine can do just now."""
    shared = sum(shared_flops(size, measure_lengths(context)) for context in workload.contexts)
    achieved = shared / seconds / 1e9
    gemm = measure_gemm_rates(plain)
    return {
        "samples_per_second": workload.num_samples / seconds,
        "gflops_per_second": achieved,
        "gemm_gflops_per_second": gemm.mm,
        "efficiency": achieved / gemm.mm,
        "onednn_gflops_per_second": gemm.onednn,
        "efficiency_onednn": None if gemm.onednn is None else achieved / gemm.onednn,
    }


def lengths_of(tokenizer: PreTrainedTokenizerBase, workload: Workload) -> dict[str, float]:
    """Lengths as they are in the ids."""
    prefixes = [[measure_lengths(context).prefix for context in character] for character in workload.characters]
    role, unsafe, plain = (fmean(column) for column in zip(*prefixes, strict=True))
    # Of a prompt in the plain context, the question is what the template is not.
    template = len(Encoder(tokenizer).encode_prompt("", [Turn("user", "")]))
    x = [len(sample.prompt_ids) - template for character in workload.characters for sample in character.plain]
    y = [len(sample.response_ids) for character in workload.characters for sample in character.role]
    return {
        "R": role,
        "U": unsafe,
        "plain": plain,
        "x": fmean(x),
        "x_sd": pstdev(x),
        "y": fmean(y),
        "y_sd": pstdev(y),
    }
