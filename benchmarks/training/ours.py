"""Our own training, as the training program does it, with a clock at every step."""

from __future__ import annotations

import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from peft import PeftModel

from benchmarks.training.workload import Outcome, Rows
from rolekeeper.contracts.characters import RoleProfile
from rolekeeper.contracts.jobs import Hyperparameters, Method
from rolekeeper.contracts.training import TrainSpec
from rolekeeper.lm.forward import response_logprobs
from rolekeeper.lm.load import LoadedModel
from rolekeeper.lm.prefix import PrefixCache
from services.trainer.program.adapter import fresh_adapter
from services.trainer.program.checkpoint import Checkpoints
from services.trainer.program.data import count_steps
from services.trainer.program.engine import StepInfo, TorchEngine
from services.trainer.program.loop import train

KL_WEIGHT = 0.5
"""lambda of RBO. SFT is RBO with 0."""


class ClockedEngine(TorchEngine):
    """Notes when each step was done."""

    def __init__(self, policy: PeftModel, hyper: Hyperparameters, num_steps: int) -> None:
        super().__init__(policy, hyper, num_steps)
        self.done_at = [time.perf_counter()]

    def step(self) -> StepInfo:
        """One step, and the time."""
        info = super().step()
        self.done_at.append(time.perf_counter())
        return info


class Ours(NamedTuple):
    """A base model, rows, and how they are trained."""

    loaded: LoadedModel
    rows: Rows
    hyper: Hyperparameters
    max_batch_tokens: int

    def train(self, kl_weight: float, epochs: int) -> Outcome:
        """Train a fresh adapter; making it is not timed. No checkpoint is written, as in the peers."""
        hyper = self.hyper.model_copy(update={"epochs": epochs})
        num_steps = count_steps(len(self.rows.data.samples), hyper)
        with tempfile.TemporaryDirectory() as folder, fresh_adapter(self.loaded.model, hyper) as policy:
            checkpoints = Checkpoints(Path(folder), "benchmark", least_seconds=float("inf"))
            spec = self._spec(kl_weight, hyper, folder)
            engine = ClockedEngine(policy, hyper, num_steps)
            curves = train(policy, engine, self.rows.data, spec, checkpoints, lambda _progress: None)
        ends = engine.done_at[:: num_steps // epochs]
        return Outcome([end - start for start, end in pairwise(ends)], list(curves.losses))

    def score(self) -> Outcome:
        """Score all rows under the three contexts, as selection does before a training."""
        started_at = time.perf_counter()
        for context in self.rows.contexts:
            prefixes = PrefixCache()  # of this run alone: computing prefixes counts
            response_logprobs(self.loaded.model, context, max_batch_tokens=self.max_batch_tokens, prefixes=prefixes)
        return Outcome([time.perf_counter() - started_at], [])

    def _spec(self, kl_weight: float, hyper: Hyperparameters, folder: str) -> TrainSpec:
        return TrainSpec(
            base_model=self.loaded.entry.alias,
            profile=RoleProfile(name="Benchmark", profile="A character of the benchmark."),
            samples_path="",
            samples_sha256="",
            work_dir=folder,
            method=Method(name="sarft", kl_weight=kl_weight),
            hyperparameters=hyper,
            max_batch_tokens=self.max_batch_tokens,
        )
