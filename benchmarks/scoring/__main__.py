"""`python -m benchmarks.scoring`: our scoring against lm-evaluation-harness and the released trainer, fp32 on the CPU.

Needs `pip install '.[bench]'`. Samples are scored under three contexts (role, unsafe, plain) in turns by

- ours: `load_base` and `response_logprobs`, one call for each context; no prefix is kept from one run to the next;
- a, `harness`: `HFLM._loglikelihood_tokens` of lm-evaluation-harness, all contexts in one call, with the batch size of
  4, 8 and 16 that is the fastest in a pilot;
- b, `response_only`: the same batches with logits of the response alone, so that what is left is the shared prefix;
- c, `official`: what the released trainer does in each step, micro-batches of two with the logits of every position.

Peers have a second copy of the model as transformers builds it; `--onednn-peers` gives that our linear layers, so that
what is left of a ratio is the sharing. Before anything is timed, all must give the same sums for the same ids; that run
is also the warm-up. Cases are in `synthetic.py`; `--rolebench FILE --profiles FILE` scores real dialogues instead.

What a line says:

- ratio, ratio_response_only, ratio_official: time of a, b and c over ours, medians of the rounds.
- bound: operations of a without padding over operations with everything shared, from the lengths of each sample; the
  formula is in `floor.py`. bound_response_only is the same for b. target: 0.9 x bound. Both sides are taken to multiply
  at one rate: where oneDNN is faster than what transformers uses, a ratio can exceed its bound without sharing all.
  efficiency_onednn does not have that advantage.
- R, U, plain: tokens of the shared prefix of each context (mean over characters). x: tokens of the question, y: of the
  response with its end of turn; x_sd and y_sd are their standard deviations over samples.
- gflops_per_second: operations that are needed (all shared) over our time. gemm_gflops_per_second: `torch.mm` on the
  shapes of the model's layers in the same run, onednn_gflops_per_second: the linear layer that `load_base` puts in;
  efficiency and efficiency_onednn: ours over each.
- peak_rss_mb: the most memory resident in this process while ours ran, by the kernel's high-water mark (VmHWM) set back
  just before, when no peer is loaded yet; loaded_rss_mb: what was resident before it, the model and Python.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from benchmarks.scoring.figures import bounds_of, lengths_of, rates_of
from benchmarks.scoring.floor import measure_size
from benchmarks.scoring.machine import PeakMemory, measure_peak_memory
from benchmarks.scoring.peers import harness, harness_class, official, plain_copy, response_only
from benchmarks.scoring.rolebench import read_workload
from benchmarks.scoring.synthetic import make_workload, shapes
from benchmarks.scoring.workload import Workload, check_agreement, slice_by_length
from benchmarks.timing import exit_code, median_seconds, show
from rolekeeper.lm.catalog import find_entry, load_catalog
from rolekeeper.lm.forward import response_logprobs
from rolekeeper.lm.linear import use_onednn
from rolekeeper.lm.load import load_base
from rolekeeper.lm.prefix import PrefixCache

TARGET = 0.9
MAX_BATCH_TOKENS = 2048
BATCHES = (4, 8, 16)
PILOT_BLOCKS = 4
PEERS = ("harness", "response_only", "official")

Score = Callable[[], list[float]]


class Case(NamedTuple):
    """One line to print: what is scored, and the memory that ours took."""

    name: str
    workload: Workload
    memory: PeakMemory


def main() -> int:
    """Print one line per case. Returns the exit code."""
    return exit_code(partial(run, parse_options()))


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object per case")
    parser.add_argument("--model", default="smollm2-135m", help="alias of a base model")
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--case", choices=list(shapes()), action="append", help="one of the cases; again for more")
    parser.add_argument("--peer", choices=PEERS, action="append", help="time this one only; again for more")
    parser.add_argument("--onednn-peers", action="store_true", help="give the peers our linear layers")
    parser.add_argument("--rolebench", type=Path, metavar="FILE", help="score these dialogues, not the cases")
    parser.add_argument("--profiles", type=Path, metavar="FILE", help="JSON object, role to description")
    options = parser.parse_args()
    if (options.rolebench is None) != (options.profiles is None):
        parser.error("--rolebench and --profiles come together")
    if min(options.samples, options.rounds) < 1:
        parser.error("--samples and --rounds must be at least 1")
    return options


def run(options: argparse.Namespace) -> None:
    """Measure memory of all cases before the peers' copy of the model is there, then time each case."""
    harness_class()  # before anything takes long
    loaded = load_base(find_entry(load_catalog(), options.model), device="cpu")
    cases = [
        Case(name, workload, measure_peak_memory(partial(score_ours, loaded.model, workload)))
        for name, workload in make_workloads(loaded.tokenizer, options).items()
    ]
    plain = plain_copy(loaded.model)
    if options.onednn_peers:
        use_onednn(plain)
    for case in cases:
        ours = partial(score_ours, loaded.model, case.workload)
        figures = time_case(case, ours, Peers(plain, loaded.tokenizer), options)
        show(options.json, "scoring", case.name, figures)


def make_workloads(tokenizer: PreTrainedTokenizerBase, options: argparse.Namespace) -> dict[str, Workload]:
    """What the command line asks for, by the name of the case."""
    if options.rolebench is not None:
        return {"rolebench": read_workload(tokenizer, options.rolebench, options.profiles, options.samples)}
    chosen = options.case or list(shapes())
    return {
        name: make_workload(tokenizer, shape, options.samples) for name, shape in shapes().items() if name in chosen
    }


def score_ours(model: PreTrainedModel, workload: Workload) -> list[float]:
    """Sums in the order of `workload.requests`."""
    prefixes = PrefixCache()  # of this run alone: computing prefixes counts
    logprobs = [
        response_logprobs(model, context, max_batch_tokens=MAX_BATCH_TOKENS, prefixes=prefixes)
        for context in workload.contexts
    ]
    return [float(logprobs_T.double().sum()) for context in logprobs for logprobs_T in context]


class Peers(NamedTuple):
    """What peers score with."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    def best_batch(self, workload: Workload) -> int:
        """The batch size with which lm-evaluation-harness is the fastest on a slice of the requests."""
        pilot = slice_by_length(workload.requests, max(BATCHES), PILOT_BLOCKS)
        runs = [partial(harness(self.model, self.tokenizer, batch), pilot) for batch in BATCHES]
        harness(self.model, self.tokenizer, max(BATCHES))(pilot[: max(BATCHES)])
        seconds = median_seconds(runs, rounds=1, warm_up=False)
        return BATCHES[seconds.index(min(seconds))]

    def scores(self, workload: Workload, batch: int, chosen: Sequence[str]) -> dict[str, Score]:
        """The chosen peers, ready to run."""
        pad_id = int(self.tokenizer.pad_token_id)
        ways: dict[str, Score] = {
            "harness": partial(harness(self.model, self.tokenizer, batch), workload.requests),
            "response_only": partial(response_only(self.model, batch), workload.requests),
            "official": partial(official, self.model, pad_id, workload),
        }
        return {name: way for name, way in ways.items() if name in chosen}


def time_case(case: Case, ours: Score, peers: Peers, options: argparse.Namespace) -> dict[str, Any]:
    """Check that all agree, then time them in turns."""
    tell(f"{case.name}: choosing the harness's batch size")
    batch = peers.best_batch(case.workload)
    scores = peers.scores(case.workload, batch, options.peer or PEERS)
    tell(f"{case.name}: batch size {batch}; checking that all give the same sums")
    our_sums = ours()
    for name, score in scores.items():
        check_agreement(name, score(), our_sums, case.workload)
    tell(f"{case.name}: the same sums; timing")
    seconds = median_seconds([ours, *scores.values()], options.rounds, warm_up=False)
    by_peer = dict(zip(scores, seconds[1:], strict=True))
    ratios = {name: by_peer[name] / seconds[0] if name in by_peer else None for name in PEERS}
    size = measure_size(peers.model)
    bounds = bounds_of(size, case.workload)
    figures: dict[str, Any] = {"ratio": ratios["harness"], "target": TARGET * bounds["bound"], **bounds}
    figures |= {f"ratio_{name}": ratios[name] for name in PEERS[1:]}
    figures |= rates_of(size, case.workload, peers.model, seconds[0])
    figures |= {"peak_rss_mb": case.memory.peak_mb, "loaded_rss_mb": case.memory.before_mb}
    figures |= {"peer_batch": batch, "samples": case.workload.num_samples, "rounds": options.rounds}
    figures |= {"onednn_peers": options.onednn_peers}
    return figures | lengths_of(peers.tokenizer, case.workload) | {"num_threads": torch.get_num_threads()}


def tell(text: str) -> None:
    """Say on stderr what is going on: a case takes minutes."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
