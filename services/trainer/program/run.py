"""One run from spec to adapter, over a base model that may already be in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple, cast

import structlog
import torch

from rolekeeper.contracts.jobs import Hyperparameters, Progress
from rolekeeper.contracts.training import TrainResult, TrainSpec
from rolekeeper.lm.catalog import ModelEntry, find_entry, load_catalog
from rolekeeper.lm.load import LoadedModel, default_device, dtype_on, load_base
from rolekeeper.lm.memory import release_memory
from services.trainer.program.adapter import freeze, fresh_adapter
from services.trainer.program.anchors.answers import anchor_samples, with_anchors
from services.trainer.program.checkpoint import Checkpoints, run_digest
from services.trainer.program.data import TrainingData, count_steps, encode_samples, hold_out, read_samples
from services.trainer.program.durable import scratch_folder, take_folder
from services.trainer.program.engine import Engine, TorchEngine
from services.trainer.program.full import free_weights, publish_model, save_model, whole_weights
from services.trainer.program.loop import Curves, train
from services.trainer.program.meter import Report
from services.trainer.program.policy import Policy
from services.trainer.program.recompute import recomputing
from services.trainer.program.save import checked_logits, find_result, save_adapter, save_weights
from services.trainer.program.selectors.choose import choose_samples
from services.trainer.program.selectors.token_weights import with_token_weights
from services.trainer.program.spec import spec_digest
from services.trainer.program.stages import AskedStage, ZeroStage, choose_stage
from services.trainer.program.stopping import stoppable
from services.trainer.program.world import ALONE, World


class Resident:
    """Keeps the base model of the last run, so that the next one on the same base model starts at once."""

    def __init__(self, world: World | None = None, zero_stage: AskedStage = "auto") -> None:
        self.world = world or ALONE
        self.has_joined = world is not None
        self._asked_stage = zero_stage
        self._loaded: LoadedModel | None = None

    def stage(self, spec: TrainSpec, entry: ModelEntry) -> ZeroStage:
        """Which stage of ZeRO the run takes, in all processes alike. Raises BadSpec."""
        if not self.has_joined:
            return 2
        if self._asked_stage == "auto" and spec.hyperparameters.training == "full":
            self.forget()  # what it holds would count as memory that is not there
        return choose_stage(self._asked_stage, spec, entry, self.world)

    def load(self, entry: ModelEntry, cache_dir: Path | None, device: torch.device | None = None) -> LoadedModel:
        """Return the base model, from memory if it is there, in the dtype of the default device.

        Without `device` it lies on that one. Raises BaseModelUnusable.
        """
        home = device or default_device()
        if self._loaded is None or self._loaded.entry != entry or self._loaded.device != home:
            self.forget()
            started_at = time.monotonic()
            self._loaded = load_base(entry, str(home), cache_dir, dtype_on(default_device()))
            seconds = round(time.monotonic() - started_at, 2)
            structlog.get_logger().info("base model loaded", base_model=entry.alias, seconds=seconds)
        return self._loaded

    def engine(self, policy: Policy, hyper: Hyperparameters, num_steps: int, stage: ZeroStage = 2) -> Engine:
        """Return a new engine: DeepSpeed's in a world that was joined, if only of one, and else plain torch's."""
        if not self.has_joined:
            return TorchEngine(policy, hyper, num_steps)
        from services.trainer.program.zero import ZeroEngine  # noqa: PLC0415 - seconds, and an extra not all install
        from services.trainer.program.zero3 import PartitionedEngine  # noqa: PLC0415 - as above

        return (PartitionedEngine if stage == 3 else ZeroEngine)(policy, hyper, num_steps, self.world)

    def forget(self) -> None:
        """Give the memory of the base model back."""
        self._loaded = None
        release_memory()


def run_spec(
    spec: TrainSpec, resident: Resident, report: Report, wants_stop: Callable[[], bool] = lambda: False
) -> TrainResult:
    """Train what the spec asks for, or return at once what an earlier run of the same spec made.

    Where several processes train together, each calls this with the same spec; the leader alone writes and reports.
    Raises Stopped after the first step at whose end `wants_stop` says yes, with a checkpoint saved; or before the first
    step, while samples are chosen.
    """
    work_dir, hyper, world = Path(spec.work_dir), spec.hyperparameters, resident.world
    with take_folder(work_dir) if world.leads else nullcontext():
        finished = world.agree(find_result(spec) if world.leads else None)
        if finished is not None:
            return finished
        samples = read_samples(Path(spec.samples_path), spec.samples_sha256)
        catalog = load_catalog(Path(spec.models_path) if spec.models_path else None)
        entry, cache_dir = find_entry(catalog, spec.base_model), Path(spec.cache_dir) if spec.cache_dir else None
        stage = resident.stage(spec, entry)
        # Weights that are to be spread need not fit into one accelerator before.
        loaded = resident.load(entry, cache_dir, torch.device("cpu") if stage == 3 else None)
        data = encode_samples(samples, loaded, spec)
        name = run_digest(spec_digest(spec), loaded.digest)
        choosing = stoppable(report, wants_stop)
        if world.leads:
            data = choose_samples(spec, loaded, data, name, choosing)
            data = with_token_weights(data, samples, loaded, spec, choosing)
            if spec.method.options.anchors != "harmful":
                data = with_anchors(data, anchor_samples(loaded, spec), spec.method)
        data = hold_out(world.agree(data), hyper)
        checkpoints = Checkpoints(work_dir, name, spec.checkpoint_seconds, world, wants_stop)
        run = Run(spec, loaded, data, checkpoints, report if world.leads else _say_nothing, resident, stage)
        with scratch_folder(work_dir) if world.leads else nullcontext() as folder:
            result = world.agree(run.adapter(folder) if hyper.training == "lora" else run.full(folder))
        if world.leads:
            checkpoints.clear()
        return cast(TrainResult, result)  # the leader has one


def _say_nothing(_progress: Progress) -> None:
    """The leader reports."""


class Run(NamedTuple):
    """What a run works with. Where several processes train together, only the leader has a folder and a result."""

    spec: TrainSpec
    loaded: LoadedModel
    data: TrainingData
    checkpoints: Checkpoints
    report: Report
    resident: Resident
    stage: ZeroStage = 2

    def adapter(self, folder: Path | None) -> TrainResult | None:
        """Train a LoRA adapter."""
        with fresh_adapter(self.loaded.model, self.spec.hyperparameters) as policy:
            with self._engine(policy) as engine:
                curves = self._train(policy, engine)
            if folder is not None:
                save_weights(policy, folder, self.spec.hyperparameters.adapter_scale)
        return None if folder is None else save_adapter(self.spec, self.loaded, self.data, curves, folder)

    def full(self, folder: Path | None) -> TrainResult | None:
        """Train all weights; the base model in memory is none any more then."""
        base_TV = None if folder is None else checked_logits(self.loaded.model, self.data)
        try:
            policy = free_weights(self.loaded.model, self.spec.hyperparameters)
            with self._engine(policy) as engine:
                curves = self._train(policy, engine)
                tensors = whole_weights(policy, engine)
            if folder is not None:
                save_model(policy, tensors, self.loaded, folder)
            del tensors
        finally:
            self.resident.forget()
        if folder is None or base_TV is None:
            return None
        return publish_model(self.spec, self.loaded, self.data, base_TV, curves, folder)

    @contextmanager
    def _engine(self, policy: Policy) -> Iterator[Engine]:
        hyper = self.spec.hyperparameters
        freeze(policy, self.spec.method)
        engine = self.resident.engine(policy, hyper, count_steps(len(self.data.training), hyper), self.stage)
        try:
            yield engine
        finally:
            engine.close()

    def _train(self, policy: Policy, engine: Engine) -> Curves:
        with recomputing(policy, self.data, self.spec):
            return train(policy, engine, self.data, self.spec, self.checkpoints, self.report)


def make_deterministic(num_threads: int) -> None:
    """Fix, for the whole process, everything besides the seed that numbers depend on.

    On CUDA a kernel without a deterministic form warns and runs: the promise of equal bytes is for the CPU.
    """
    torch.set_num_threads(num_threads)
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    # It finds reads of memory that was never written, and costs some percent of every step. Nothing here does that.
    deterministic: Any = torch.utils.deterministic
    deterministic.fill_uninitialized_memory = False
