"""Whole runs of every method on the tiny model."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from rolekeeper.contracts.jobs import Method, Progress
from rolekeeper.contracts.methods import MethodName, MethodOptions
from rolekeeper.contracts.training import DataFile, TrainResult, TrainSpec
from services.trainer.program.run import Resident, run_spec
from tests.unit.services.trainer.program.runs import (
    PEFT_ASKS_BY_AN_OLD_NAME,
    make_samples,
    make_spec,
    write_lines,
)

pytestmark = PEFT_ASKS_BY_AN_OLD_NAME

# The controls differ in the flags of the samples only, which are made before.
NAMES: tuple[MethodName, ...] = ("sarft", "sft", "seal", "seal_filter", "bi_selection", "sppft", "vaccine")
METHODS = [Method(name=name, options=MethodOptions(selector_epochs=1)) for name in NAMES]
ANCHORED = Method(options=MethodOptions(anchors="both", anchors_per_step=4, surgery=True))
WEIGHTED = Method(options=MethodOptions(weigh_tokens="margin"))
LIMITED = Method(options=MethodOptions(anchors="both", kl_limit=1e-3, weigh_tokens="margin"))
OPTIONS = ["anchors and surgery", "token weights", "a limit on the KL"]


class Stopped(Exception):
    """Stands for whatever ends a process."""


@pytest.fixture(scope="module")
def resident() -> Resident:
    return Resident()


def spec_of(folder: Path, method: Method, work_dir: Path) -> TrainSpec:
    path = folder / "extra.jsonl"
    lines = [sample.dialogue.model_dump_json() for sample in make_samples(3)]
    extra = DataFile(path=str(path), sha256=write_lines(path, lines))
    files: dict[str, Any] = {option.removesuffix("_file"): extra for option in method.needed_files}
    return make_spec(folder, method=method, work_dir=str(work_dir), **files)


def run_and_stop_in_the_middle(spec: TrainSpec, resident: Resident) -> TrainResult:
    def stop(progress: Progress) -> None:
        if progress.unit == "steps" and progress.done < progress.total:
            raise Stopped

    with pytest.raises(Stopped):
        run_spec(spec, resident, stop)
    return run_spec(spec, resident, lambda _progress: None)


@pytest.mark.parametrize("method", [*METHODS, ANCHORED, WEIGHTED, LIMITED], ids=[*NAMES, *OPTIONS])
def test_a_run_that_was_stopped_ends_with_the_same_bytes(
    tiny_folder: Path, tmp_path: Path, resident: Resident, method: Method
) -> None:
    whole = run_spec(spec_of(tiny_folder, method, tmp_path / "whole"), resident, lambda _progress: None)
    resumed = run_and_stop_in_the_middle(spec_of(tiny_folder, method, tmp_path / "stopped"), resident)
    assert resumed.adapter_sha256 == whole.adapter_sha256
    assert resumed.losses == whole.losses
    with tarfile.open(whole.adapter_path) as tar:
        member = tar.extractfile("MANIFEST.json")
        assert member is not None
        manifest = json.load(member)
    data = manifest["data"]
    assert (data["num_samples"], data["num_selected"]) == (whole.num_samples, whole.num_selected)
    assert ("anchor_kl" in manifest["training"]) == (method is LIMITED)
    assert all(f"{option.removesuffix('_file')}_sha256" in data for option in method.needed_files)
