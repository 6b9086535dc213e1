"""`python -m benchmarks.training`: our SFT and RBO against TRL and the released trainer's steps, fp32 on the CPU.

Needs `pip install '.[bench]'`. All train the same adapter (modules, rank, seed, initial weights) with the same AdamW on
the same rows in the same order, in turns:

- sft and rbo: two epochs of `services.trainer.program.loop.train`; RBO's first epoch holds the reference pass, its
  second finds the reference kept;
- trl: one epoch of TRL's SFTTrainer without gradient checkpointing; trl_default: with it, as TRL does by default;
- score: scoring of all rows under three contexts; official: one epoch of the released trainer's steps, which score
  within every step, with the logits of every position in micro-batches of two.

Peers have a copy of the model as transformers builds it; `--onednn-peers` gives them our linear layers too, so that
what is left of a ratio is not those. Before anything is timed, our losses with lambda = 0 must be TRL's within 1e-4.
Rows are the `spe` case of `benchmarks.scoring`; `--rolebench FILE --profiles FILE` takes real dialogues.

What a line says: seconds are of one epoch, medians of the rounds. h: flagged share of the tokens. Each target stands
beside its ratio; those that end in _over_sft and _over_trl_sft are better when low, the others when high.

- trl_ratio, trl_default_ratio: time of TRL over our SFT. rbo_over_trl_sft: our RBO over TRL without checkpointing.
- rbo_over_sft: target 1.04 (1 + h/2); cached_over_sft: RBO's second epoch over SFT's.
- official_ratio: time of the official epoch over score + rbo.
- tokens_per_second: without padding. loss_difference: the greatest between our SFT and TRL in a step.
- peak_rss_mb: the most memory resident in an epoch, always in a new process, median. peak_in_use_mb: the same without
  what the allocator keeps of freed memory. Target: the same of SFT, three tensors of a chunk's logits (logits and
  log-probs of the policy, log-probs of the reference), and the kept states of the reference.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.scoring.rolebench import read_workload
from benchmarks.scoring.synthetic import make_workload, shapes
from benchmarks.scoring.workload import Disagreement
from benchmarks.timing import exit_code, show
from benchmarks.training.memory import KL_WEIGHTS, Peaks, allowed_mb, measure_peaks, peak_mb
from benchmarks.training.ours import KL_WEIGHT, Ours
from benchmarks.training.peers import Peer
from benchmarks.training.workload import Outcome, greatest_difference, make_rows
from rolekeeper.contracts.jobs import Hyperparameters
from rolekeeper.lm.catalog import find_entry, load_catalog
from rolekeeper.lm.load import load_base

MAX_DIFFERENCE = 1e-4
PEERS = ("trl", "trl_default", "official")
MAX_BATCH_TOKENS = 2048

Way = Callable[[], Outcome]


def main() -> int:
    """Print one line. Returns the exit code."""
    return exit_code(partial(run, parse_options()))


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.add_argument("--model", default="smollm2-135m", help="alias of a base model")
    parser.add_argument("--samples", type=int, default=128, help="a multiple of --batch-size")
    parser.add_argument("--batch-size", type=int, default=16, help="samples of an optimizer step")
    parser.add_argument("--peer-batch", type=int, default=8, help="samples of TRL's micro-batch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--h", type=float, default=0.4, help="share of the samples that is flagged")
    parser.add_argument("--peer", choices=PEERS, action="append", help="time this one only; again for more")
    parser.add_argument("--onednn-peers", action="store_true", help="give the peers our linear layers")
    parser.add_argument("--peak-of", choices=KL_WEIGHTS, help="print the peak memory of this in MB, and nothing else")
    parser.add_argument("--rolebench", type=Path, metavar="FILE", help="train on these dialogues, not on the case")
    parser.add_argument("--profiles", type=Path, metavar="FILE", help="JSON object, role to description")
    options = parser.parse_args()
    if (options.rolebench is None) != (options.profiles is None):
        parser.error("--rolebench and --profiles come together")
    if min(options.samples, options.rounds, options.peer_batch) < 1 or not 0 <= options.h <= 1:
        parser.error("--samples, --rounds and --peer-batch must be at least 1, --h between 0 and 1")
    if options.samples % options.batch_size or options.batch_size % options.peer_batch:
        parser.error("--samples must be a multiple of --batch-size, and that of --peer-batch")
    return options


def run(options: argparse.Namespace) -> None:
    """Measure memory in processes of their own, check the losses, then time."""
    ours = prepare(options)
    if options.peak_of is not None:
        print(peak_mb(ours, options.peak_of) or "")
        return
    rows, hyper, loaded = ours.rows, ours.hyper, ours.loaded
    peer = Peer(loaded.model, loaded.tokenizer, rows, hyper, options.peer_batch, options.onednn_peers)
    tell("our SFT and RBO in other processes, for their memory")
    peaks = measure_peaks([sys.executable, "-m", "benchmarks.training", *sys.argv[1:], "--peak-of"])
    losses = warm_up(ours)
    difference = check_losses(losses, peer)
    seconds = time_in_turns(ways_of(ours, peer, options.peer or PEERS), options.rounds)
    figures = figures_of(seconds, rows.flagged_share)
    figures |= {f"{name}_tokens_per_second": rows.num_tokens / took for name, took in seconds.items()}
    figures |= {"loss_difference": difference, "first_loss": losses[0], "last_loss": losses[-1]}
    figures |= figures_of_memory(peaks, ours)
    figures |= {f"{name}_seconds": took for name, took in seconds.items()}
    figures |= {"h": rows.flagged_share, "tokens": rows.num_tokens, "samples": options.samples}
    figures |= {"batch_size": options.batch_size, "peer_batch": options.peer_batch, "rounds": options.rounds}
    figures |= {"onednn_peers": options.onednn_peers, "num_threads": torch.get_num_threads()}
    show(options.json, "training", "spe" if options.rolebench is None else "rolebench", figures)


def prepare(options: argparse.Namespace) -> Ours:
    """Load the base model, and make the rows."""
    loaded = load_base(find_entry(load_catalog(), options.model), device="cpu")
    workload = (
        make_workload(loaded.tokenizer, shapes()["spe"], options.samples)
        if options.rolebench is None
        else read_workload(loaded.tokenizer, options.rolebench, options.profiles, options.samples)
    )
    hyper = Hyperparameters(batch_size=options.batch_size, warmup_share=0.0, epochs=1)
    return Ours(loaded, make_rows(workload, options.h), hyper, MAX_BATCH_TOKENS)


def warm_up(ours: Ours) -> list[float]:
    """Train one epoch of each. Returns the losses of SFT."""
    tell("our SFT and RBO, to warm up")
    losses = ours.train(0.0, epochs=1).losses
    ours.train(KL_WEIGHT, epochs=1)
    return losses


def check_losses(ours: list[float], peer: Peer) -> float:
    """Return the greatest difference between our losses and TRL's. Raises Disagreement."""
    tell("TRL, for its losses")
    difference = greatest_difference(ours, peer.trl(checkpointing=False).losses)
    # Written so that NaN disagrees too.
    if not difference <= MAX_DIFFERENCE:
        raise Disagreement(
            f"the loss of a step differs by {difference:.2e} between Rolekeeper and TRL, more than {MAX_DIFFERENCE}; a "
            "ratio of times would compare different work"
        )
    return difference


def ways_of(ours: Ours, peer: Peer, chosen: tuple[str, ...]) -> dict[str, Way]:
    """What is timed, in the order of the turns."""
    ways: dict[str, Way] = {
        "sft": partial(ours.train, 0.0, epochs=2),
        "trl": partial(peer.trl, checkpointing=False),
        "rbo": partial(ours.train, KL_WEIGHT, epochs=2),
        "trl_default": partial(peer.trl, checkpointing=True),
        "score": ours.score,
        "official": peer.official,
    }
    left_out = set(PEERS) - set(chosen)
    return {name: way for name, way in ways.items() if name not in left_out}


def time_in_turns(ways: dict[str, Way], rounds: int) -> dict[str, float]:
    """Seconds of an epoch of each, medians over the rounds; `rbo_cached` and `sft_second` are second epochs."""
    seconds: dict[str, list[float]] = {}
    for number in range(rounds):
        for name, way in ways.items():
            outcome = way()
            tell(f"round {number + 1}, {name}: " + ", ".join(f"{took:.2f} s" for took in outcome.epoch_seconds))
            seconds.setdefault(name, []).append(outcome.epoch_seconds[0])
            if len(outcome.epoch_seconds) > 1:
                second = "rbo_cached" if name == "rbo" else "sft_second"
                seconds.setdefault(second, []).append(outcome.epoch_seconds[1])
    return {name: median(values) for name, values in seconds.items()}


def figures_of(seconds: dict[str, float], h: float) -> dict[str, Any]:
    """Ratios and their targets; None where a way was not timed."""

    def ratio(above: float, below: float) -> float | None:
        quotient = above / below
        return None if math.isnan(quotient) else quotient

    def of(name: str) -> float:
        return seconds.get(name, math.nan)

    return {
        "trl_ratio": ratio(of("trl"), of("sft")),
        "trl_ratio_target": 1.25,
        "trl_default_ratio": ratio(of("trl_default"), of("sft")),
        "trl_default_ratio_target": 1.7,
        "rbo_over_sft": ratio(of("rbo"), of("sft")),
        "rbo_over_sft_target": 1.04 * (1 + h / 2),
        "cached_over_sft": ratio(of("rbo_cached"), of("sft_second")),
        "cached_over_sft_target": 1.08,
        "rbo_over_trl_sft": ratio(of("rbo"), of("trl")),
        "rbo_over_trl_sft_target": 1.0,
        "official_ratio": ratio(of("official"), of("score") + of("rbo")),
        "official_ratio_target": 1.75,
    }


def figures_of_memory(peaks: dict[str, Peaks], ours: Ours) -> dict[str, float | None]:
    """Peaks in MB, and what those of RBO may be."""
    sft, rbo = peaks["sft"], peaks["rbo"]
    return {
        "sft_peak_rss_mb": sft.resident_mb,
        "rbo_peak_rss_mb": rbo.resident_mb,
        "rbo_peak_rss_target_mb": allowed_mb(sft.resident_mb, ours),
        "sft_peak_in_use_mb": sft.in_use_mb,
        "rbo_peak_in_use_mb": rbo.in_use_mb,
        "rbo_peak_in_use_target_mb": allowed_mb(sft.in_use_mb, ours),
    }


def tell(text: str) -> None:
    """Say on stderr what is going on: a round takes minutes."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
