from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from rolekeeper.contracts.jobs import Method
from rolekeeper.contracts.methods import MethodOptions
from rolekeeper.contracts.training import TrainSpec
from rolekeeper.lm.catalog import ModelEntry, find_entry, load_catalog
from rolekeeper.lm.load import count_weights, load_base
from services.trainer.program import stages
from services.trainer.program.failures import BadSpec
from services.trainer.program.stages import AskedStage, choose_stage, stage_2_bytes
from services.trainer.program.world import ALONE
from tests.unit.services.trainer.program.runs import HYPERPARAMETERS, make_spec

FULL = HYPERPARAMETERS.model_copy(update={"training": "full"})


@pytest.fixture
def entry(tiny_folder: Path) -> ModelEntry:
    return find_entry(load_catalog(tiny_folder / "models.toml"), "tiny")


def spec_of(folder: Path, **changes: Any) -> TrainSpec:
    return make_spec(folder, **{"hyperparameters": FULL, **changes})


def test_weights_are_counted_in_the_files(entry: ModelEntry) -> None:
    # The head is tied to the embedding: both the file and the model have it once.
    assert count_weights(entry) == sum(weight.numel() for weight in load_base(entry, "cpu").model.parameters())


def test_a_billion_weights_in_bf16_need_8_gb_in_each_of_four_processes() -> None:
    assert stage_2_bytes(10**9, 4, torch.bfloat16) == 8 * 10**9
    assert stage_2_bytes(10**9, 1, torch.float32) == 24 * 10**9


@pytest.mark.parametrize(
    ("asked", "free", "stage"), [("auto", 10**9, 2), ("auto", 10**6, 3), ("2", 10**6, 2), ("3", 10**9, 3)]
)
def test_auto_spreads_what_does_not_fit(
    monkeypatch: pytest.MonkeyPatch, tiny_folder: Path, entry: ModelEntry, asked: AskedStage, free: int, stage: int
) -> None:
    monkeypatch.setattr(stages, "available_bytes", lambda _device: free)
    assert choose_stage(asked, spec_of(tiny_folder), entry, ALONE) == stage


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"hyperparameters": HYPERPARAMETERS}, "lora"),
        ({"hyperparameters": FULL.model_copy(update={"early_stop_epochs": 1, "validation_share": 0.2})}, "early_stop"),
        ({"method": Method(name="vaccine")}, "vaccine"),
        ({"method": Method(options=MethodOptions(surgery=True))}, "surgery"),
        ({"method": Method(options=MethodOptions(kl_limit=0.1))}, "kl_limit"),
    ],
)
def test_what_needs_whole_weights_is_refused_and_auto_leaves_it(
    monkeypatch: pytest.MonkeyPatch, tiny_folder: Path, entry: ModelEntry, changes: dict[str, Any], named: str
) -> None:
    monkeypatch.setattr(stages, "available_bytes", lambda _device: 10**6)
    spec = spec_of(tiny_folder, **changes)
    with pytest.raises(BadSpec, match=f"ZeRO-3 can't train this: .*{named}"):
        choose_stage("3", spec, entry, ALONE)
    assert choose_stage("auto", spec, entry, ALONE) == 2
