"""One run from spec to adapter, over a base model that may already be in memory."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple

import structlog
import torch

from rolekeeper.contracts.training import TrainResult, TrainSpec
from rolekeeper.lm.catalog import ModelEntry, find_entry, load_catalog
from rolekeeper.lm.load import LoadedModel, load_base
from rolekeeper.lm.memory import release_memory
from services.trainer.program.adapter import freeze, fresh_adapter
from services.trainer.program.anchors.answers import anchor_samples
from services.trainer.program.checkpoint import Checkpoints, run_digest
from services.trainer.program.data import TrainingData, count_steps, encode_samples, hold_out, read_samples
from services.trainer.program.durable import scratch_folder, take_folder
from services.trainer.program.engine import TorchEngine
from services.trainer.program.full import free_weights, publish_model, save_model
from services.trainer.program.loop import Curves, train
from services.trainer.program.meter import Report
from services.trainer.program.policy import Policy
from services.trainer.program.recompute import recomputing
from services.trainer.program.save import checked_logits, find_result, save_adapter, save_weights
from services.trainer.program.selectors.choose import choose_samples
from services.trainer.program.spec import spec_digest


class Resident:
    """Keeps the base model of the last run, so that the next one on the same base model starts at once."""

    def __init__(self) -> None:
        self._loaded: LoadedModel | None = None

    def load(self, entry: ModelEntry, cache_dir: Path | None) -> LoadedModel:
        """Return the base model, from memory if it is there. Raises BaseModelUnusable."""
        if self._loaded is None or self._loaded.entry != entry:
            self.forget()
            started_at = time.monotonic()
            self._loaded = load_base(entry, cache_dir=cache_dir)
            seconds = round(time.monotonic() - started_at, 2)
            structlog.get_logger().info("base model loaded", base_model=entry.alias, seconds=seconds)
        return self._loaded

    def forget(self) -> None:
        """Give the memory of the base model back."""
        self._loaded = None
        release_memory()


def run_spec(spec: TrainSpec, resident: Resident, report: Report) -> TrainResult:
    """Train what the spec asks for, or return at once what an earlier run of the same spec made."""
    work_dir = Path(spec.work_dir)
    with take_folder(work_dir):
        finished = find_result(spec)
        if finished is not None:
            return finished
        hyper = spec.hyperparameters
        samples = read_samples(Path(spec.samples_path), spec.samples_sha256)
        catalog = load_catalog(Path(spec.models_path) if spec.models_path else None)
        loaded = resident.load(find_entry(catalog, spec.base_model), Path(spec.cache_dir) if spec.cache_dir else None)
        data = encode_samples(samples, loaded, spec)
        name = run_digest(spec_digest(spec), loaded.digest)
        data = hold_out(choose_samples(spec, loaded, data, name, report), hyper)
        if spec.method.options.anchors != "harmful":
            data = data._replace(anchors=anchor_samples(loaded, spec))
        checkpoints = Checkpoints(work_dir, name, spec.checkpoint_seconds)
        with scratch_folder(work_dir) as folder:
            run = Run(spec, loaded, data, checkpoints, report)
            result = _train_adapter(run, folder) if hyper.training == "lora" else _train_full(run, resident, folder)
        checkpoints.clear()
        return result


class Run(NamedTuple):
    """What a run works with."""

    spec: TrainSpec
    loaded: LoadedModel
    data: TrainingData
    checkpoints: Checkpoints
    report: Report

    def train(self, policy: Policy) -> Curves:
        """Train the policy to the end; gives the losses."""
        hyper = self.spec.hyperparameters
        freeze(policy, self.spec.method)
        engine = TorchEngine(policy, hyper, count_steps(len(self.data.training), hyper))
        with recomputing(policy, self.data, self.spec):
            return train(policy, engine, self.data, self.spec, self.checkpoints, self.report)


def _train_adapter(run: Run, folder: Path) -> TrainResult:
    with fresh_adapter(run.loaded.model, run.spec.hyperparameters) as policy:
        curves = run.train(policy)
        save_weights(policy, folder)
    return save_adapter(run.spec, run.loaded, run.data, curves, folder)


def _train_full(run: Run, resident: Resident, folder: Path) -> TrainResult:
    base_TV = checked_logits(run.loaded.model, run.data)
    try:
        policy = free_weights(run.loaded.model, run.spec.hyperparameters)
        curves = run.train(policy)
        save_model(policy, run.loaded, folder)
    finally:
        resident.forget()
    return publish_model(run.spec, run.loaded, run.data, base_TV, curves, folder)


def make_deterministic(num_threads: int) -> None:
    """Fix, for the whole process, everything besides the seed that numbers depend on.

    On CUDA a kernel without a deterministic form warns and runs: the promise of equal bytes is for the CPU.
    """
    torch.set_num_threads(num_threads)
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    # It finds reads of memory that was never written, and costs some percent of every step. Nothing here does that.
    deterministic: Any = torch.utils.deterministic
    deterministic.fill_uninitialized_memory = False
