from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.scoring.synthetic import Shape, Spread, make_workload
from benchmarks.training.memory import CHUNK_TENSORS, Peaks, allowed_mb, measure_peaks
from benchmarks.training.ours import Ours
from benchmarks.training.workload import make_rows
from rolekeeper.contracts.jobs import Hyperparameters
from rolekeeper.lm.catalog import find_entry, load_catalog
from rolekeeper.lm.load import load_base
from rolekeeper.method.fused import CHUNK_ROWS

PRINTS = """
import os, sys
known = {"sft": 100.0, "rbo": 150.0}[sys.argv[1]]
print(known / 2 if "MALLOC_MMAP_THRESHOLD_" in os.environ else known)
"""


def test_each_is_measured_in_processes_of_its_own() -> None:
    peaks = measure_peaks([sys.executable, "-c", PRINTS])
    assert peaks == {"sft": Peaks(100.0, 50.0), "rbo": Peaks(150.0, 75.0)}


def test_a_system_that_does_not_tell_gives_none() -> None:
    assert measure_peaks([sys.executable, "-c", ""]) == {"sft": Peaks(None, None), "rbo": Peaks(None, None)}


def test_a_process_that_fails_ends_the_benchmark() -> None:
    with pytest.raises(SystemExit, match="3"):
        measure_peaks([sys.executable, "-c", "raise SystemExit(3)"])


def test_rbo_may_have_the_logits_of_a_chunk_and_the_states_more(tiny_catalog: Path) -> None:
    loaded = load_base(find_entry(load_catalog(tiny_catalog), "tiny"), device="cpu")
    shape = Shape(role=700, unsafe=900, question=Spread(12, 0.4), response=Spread(9, 0.5))
    ours = Ours(loaded, make_rows(make_workload(loaded.tokenizer, shape, num_samples=4), 0.5), Hyperparameters(), 2048)
    config = loaded.model.config
    chunk = CHUNK_TENSORS * CHUNK_ROWS * config.vocab_size * 4
    states = ours.rows.flagged_response_tokens * config.hidden_size * 4
    assert allowed_mb(1000.0, ours) == pytest.approx(1000.0 + (chunk + states) / 1e6)
    assert allowed_mb(None, ours) is None
