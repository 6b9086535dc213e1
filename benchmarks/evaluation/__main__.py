"""`python -m benchmarks.evaluation`: our answers against transformers' `generate` and `pipeline`, fp32 on the CPU.

Greedy answers to the same prompts, by the same base model, with the same threads, in turns by

- ours: `answer_ids`, as the evaluator calls it;
- a, `generate`: `model.generate`, batches of 32, left-padded, in the order of the prompts;
- b, `pipeline`: `pipeline("text-generation", batch_size=1)`, a few of the prompts, spread over them
  (--pipeline-prompts); the ratio is that of the time for one new token;
- c, `onednn`: a with our linear layers in its model, so that what is left of the ratio is how rows are run.

Before anything is timed all give the same token ids, or part where the two tokens' logits tie; that run is also the
warm-up. Cases: `plain`, prompts of the starter suite without a system turn; `role`, dialogues of
RoleBench's lengths under a role prompt of some 200 tokens; `second_adapter`, the evaluator's own code with the starter
suite, base and tuned answers, for one adapter and then for another on the same base model.

What a line says:

- ratio, ratio_pipeline, ratio_onednn: time of a, b (a new token) and c over ours, medians of the rounds. target: 1.6
  for a; target_pipeline 8. bound: time of a over the floor of `floor.py`; efficiency: the floor over our time.
- same_as_generate, same_as_pipeline: answers with the same ids, of `answers` and of `pipeline_answers`. widest_tie: the
  gap of logits where others part.
- answers_per_second, tokens_per_second: ours, new tokens. peak_rss_mb, peak_rss_generate_mb: most memory while ours or
  a ran; loaded_rss_mb: what was there before ours ran.
- second_adapter: ratio is the time of the first adapter over that of the second, bound 2: all but the tuned answers.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from functools import partial
from statistics import fmean, median
from typing import Any

import structlog
import torch

from benchmarks.evaluation.floor import Lengths, floor_seconds, measure_rates, shared_tokens
from benchmarks.evaluation.peers import Answers, Peers, compare
from benchmarks.evaluation.prompts import CASES, make_prompts, starter_questions
from benchmarks.evaluation.second_adapter import evaluator
from benchmarks.scoring.floor import measure_size
from benchmarks.scoring.machine import measure_peak_memory
from benchmarks.scoring.peers import plain_copy
from benchmarks.timing import exit_code, median_seconds, show
from rolekeeper.lm.catalog import find_entry, load_catalog
from rolekeeper.lm.generate import MAX_ROWS, Way, answer_ids
from rolekeeper.lm.generation.abilities import find_abilities
from rolekeeper.lm.generation.choose import NEAR_TIE
from rolekeeper.lm.linear import use_onednn
from rolekeeper.lm.load import LoadedModel, load_base

TARGETS = {"generate": 1.6, "pipeline": 8.0, "second_adapter": 1.9}


def main() -> int:
    """Print one line per case. Returns the exit code."""
    # The evaluator's own lines of what it does would come between the cases.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    return exit_code(partial(run, parse_options()))


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object per case")
    parser.add_argument("--model", default="smollm2-135m-aligned", help="alias of a base model")
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--pipeline-prompts", type=int, default=8)
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--case", choices=[*CASES, "second_adapter"], action="append", help="again for more")
    options = parser.parse_args()
    if min(options.prompts, options.pipeline_prompts, options.rounds) < 1 or options.max_new_tokens < 8:
        parser.error("all numbers must be at least 1, and --max-new-tokens at least 8")
    return options


def run(options: argparse.Namespace) -> None:
    """Time each case."""
    chosen = options.case or [*CASES, "second_adapter"]
    if any(case in CASES for case in chosen):
        loaded = load_base(find_entry(load_catalog(), options.model), device="cpu")
        for case in (case for case in CASES if case in chosen):
            show(options.json, "evaluation", case, time_case(loaded, case, options))
    if "second_adapter" in chosen:
        show(options.json, "evaluation", "second_adapter", time_second_adapter(options))


def time_case(loaded: LoadedModel, case: str, options: argparse.Namespace) -> dict[str, Any]:
    """Measure memory, check that all agree, then time them in turns."""
    prompts = make_prompts(loaded.tokenizer, case, options.prompts)
    count = min(options.pipeline_prompts, len(prompts))
    chosen = [number * len(prompts) // count for number in range(count)]
    few = [prompts[index] for index in chosen]
    way = Way(options.max_new_tokens)
    ours = partial(answer_ids, loaded.model, loaded.tokenizer, [(ids,) for ids in prompts], way)
    tell(f"{case}: {len(prompts)} prompts of {fmean(map(len, prompts)):.0f} tokens; ours")
    answers: Answers = []
    memory = measure_peak_memory(lambda: answers.extend(ours()))
    plain = Peers(plain_copy(loaded.model), loaded.tokenizer, options.max_new_tokens)
    fast = plain._replace(model=plain_copy(loaded.model))
    use_onednn(fast.model)
    tell(f"{case}: the peers")
    generated_ids: Answers = []
    peer_memory = measure_peak_memory(lambda: generated_ids.extend(plain.generate(prompts)))
    generated = compare(plain.model, prompts, answers, generated_ids, NEAR_TIE)
    our_few = [answers[index] for index in chosen]
    piped = compare(plain.model, few, our_few, plain.pipeline(few), NEAR_TIE)
    fast.generate(prompts)
    tell(f"{case}: the same ids; timing")
    runs = [ours, partial(plain.generate, prompts), partial(plain.pipeline, few), partial(fast.generate, prompts)]
    seconds = median_seconds(runs, options.rounds, warm_up=False)
    figures = _ratios(seconds, sum(map(len, answers)) / sum(map(len, our_few))) | _floor(
        loaded, prompts, answers, seconds
    )
    figures |= {"answers": len(prompts), "same_as_generate": generated.num_same, "widest_tie": generated.widest_tie}
    figures |= {"pipeline_answers": len(few), "same_as_pipeline": piped.num_same}
    figures |= {"answers_per_second": len(prompts) / seconds[0]}
    figures |= {"tokens_per_second": sum(map(len, answers)) / seconds[0], "seconds": seconds[0]}
    figures |= {"prompt_tokens": fmean(map(len, prompts)), "answer_tokens": fmean(map(len, answers))}
    figures |= {"peak_rss_mb": memory.peak_mb, "peak_rss_generate_mb": peer_memory.peak_mb}
    figures |= {"loaded_rss_mb": memory.before_mb}
    return figures | {"rounds": options.rounds, "num_threads": torch.get_num_threads()}


def time_second_adapter(options: argparse.Namespace) -> dict[str, Any]:
    """Evaluate one adapter after the other, with nothing kept before the first of each round."""
    questions = starter_questions()
    firsts, seconds = [], []
    for number in range(options.rounds + 1):
        tell(f"second_adapter: round {number} of {options.rounds}, round 0 warms up")
        with evaluator(options.model) as fresh:
            first, second = fresh.seconds_each(questions, options.max_new_tokens)
        if number:
            firsts.append(first)
            seconds.append(second)
    return {
        "ratio": median(firsts) / median(seconds),
        "target": TARGETS["second_adapter"],
        "bound": 2.0,
        "first_seconds": median(firsts),
        "second_seconds": median(seconds),
        "answers": len(questions),
        "rounds": options.rounds,
        "num_threads": torch.get_num_threads(),
    }


def tell(text: str) -> None:
    """Say on stderr what is going on: a case takes minutes."""
    print(text, file=sys.stderr, flush=True)


def _ratios(seconds: Sequence[float], pipeline_share: float) -> dict[str, Any]:
    ours, generate, pipeline, onednn = seconds
    return {
        "ratio": generate / ours,
        "target": TARGETS["generate"],
        "ratio_pipeline": pipeline * pipeline_share / ours,
        "target_pipeline": TARGETS["pipeline"],
        "ratio_onednn": onednn / ours,
    }


def _floor(
    loaded: LoadedModel, prompts: Sequence[Sequence[int]], answers: Answers, seconds: Sequence[float]
) -> dict[str, Any]:
    rows = min(MAX_ROWS, len(prompts))
    abilities = find_abilities(loaded.model)
    lengths = Lengths(list(map(len, prompts)), list(map(len, answers)), shared_tokens(prompts))
    rates = measure_rates(loaded.model, rows)
    bytes_per_token = 0 if abilities is None else abilities.bytes_per_token
    least = floor_seconds(measure_size(loaded.model), lengths, bytes_per_token, rows, rates)
    return {
        "bound": seconds[1] / least,
        "efficiency": least / seconds[0],
        "shared_tokens": lengths.shared,
        "layers_gflops_per_second": rates.flops / 1e9,
        "read_gb_per_second": rates.read_bytes / 1e9,
    }


if __name__ == "__main__":
    sys.exit(main())
