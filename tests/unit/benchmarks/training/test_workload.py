from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.scoring.synthetic import Shape, Spread, make_workload
from benchmarks.training.__main__ import figures_of
from benchmarks.training.workload import greatest_difference, make_rows
from rolekeeper.contracts.jobs import Hyperparameters
from rolekeeper.lm.catalog import find_entry, load_catalog
from rolekeeper.lm.load import load_base
from services.trainer.program.data import global_batches

SMALL = Shape(role=700, unsafe=900, question=Spread(12, 0.4), response=Spread(9, 0.5))


def test_rows_hold_the_share_and_the_order_of_our_first_epoch(tiny_catalog: Path) -> None:
    loaded = load_base(find_entry(load_catalog(tiny_catalog), "tiny"), device="cpu")
    rows = make_rows(make_workload(loaded.tokenizer, SMALL, num_samples=10), share=0.4)
    samples, flags = rows.data.samples, rows.data.harmful
    assert sum(flags) == 4
    flagged = [sample for sample, flag in zip(samples, flags, strict=True) if flag]
    assert rows.flagged_response_tokens == sum(len(sample.response_ids) for sample in flagged)
    tokens = sum(len(sample.prompt_ids) + len(sample.response_ids) for sample in flagged)
    assert rows.flagged_share == pytest.approx(tokens / rows.num_tokens)
    hyper = Hyperparameters(epochs=1, batch_size=5)
    ours = [samples[index] for batch in global_batches(range(10), hyper) for index in batch.indices]
    assert rows.in_order(hyper) == ours


def test_curves_of_other_lengths_differ() -> None:
    assert greatest_difference([1.0, 2.0], [1.0, 2.5]) == 0.5
    assert greatest_difference([1.0], [1.0, 2.0]) == float("inf")


def test_ratios_say_which_is_over_which() -> None:
    seconds = {"sft": 2.0, "sft_second": 4.0, "rbo": 3.0, "rbo_cached": 5.0, "trl": 6.0, "score": 1.0, "official": 8.0}
    figures = figures_of(seconds, h=0.4)
    assert figures["trl_ratio"] == 3.0
    assert figures["trl_default_ratio"] is None
    assert (figures["rbo_over_sft"], figures["rbo_over_sft_target"]) == (1.5, pytest.approx(1.248))
    assert (figures["cached_over_sft"], figures["rbo_over_trl_sft"], figures["official_ratio"]) == (1.25, 0.5, 2.0)
