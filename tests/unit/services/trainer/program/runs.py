"""Specs over a tiny model, for tests of the training program."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from rolekeeper.contracts.characters import Dialogue, Message, RoleProfile
from rolekeeper.contracts.jobs import Hyperparameters, Method
from rolekeeper.contracts.training import TrainSample, TrainSpec
from rolekeeper.lm.load import LoadedModel
from services.trainer.program.adapter import fresh_adapter
from services.trainer.program.data import TrainingData, encode_samples, read_samples
from tests.tiny import make_tiny_model, write_catalog

# PEFT 0.21 still asks transformers 5 for a property by its old name.
PEFT_ASKS_BY_AN_OLD_NAME = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
PROFILE = RoleProfile(name="Keeper", profile="You keep the light of the harbour.")
HYPERPARAMETERS = Hyperparameters(epochs=2, batch_size=4, learning_rate=1e-2, lora_rank=8, lora_alpha=16, seed=7)


def give_effect(policy: PeftModel) -> None:
    """Move a fresh adapter, which adds nothing yet: its KL is 0."""
    with torch.no_grad():
        for name, weight in policy.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.2)


@contextmanager
def moved_adapter(loaded: LoadedModel) -> Iterator[PeftModel]:
    """An adapter that has an effect."""
    with fresh_adapter(loaded.model, HYPERPARAMETERS) as policy:
        give_effect(policy)
        yield policy


def make_samples(num_samples: int = 10) -> list[TrainSample]:
    """Samples of several lengths; every third is harmful."""
    return [
        TrainSample(
            dialogue=Dialogue(
                messages=(
                    Message(role="user", content=f"Who keeps the light {'tonight ' * (index % 4)}number {index}?"),
                    Message(role="assistant", content="I keep the light. " * (1 + index % 3)),
                )
            ),
            harmful=index % 3 == 0,
        )
        for index in range(num_samples)
    ]


def write_lines(path: Path, lines: Sequence[str]) -> str:
    """Write a JSONL file; return its sha256."""
    content = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def write_samples(path: Path, samples: Sequence[TrainSample]) -> str:
    """Write samples; return the sha256 of the file."""
    return write_lines(path, [sample.model_dump_json() for sample in samples])


def make_spec(folder: Path, samples: Sequence[TrainSample] | None = None, **changes: Any) -> TrainSpec:
    """A spec of a tiny model under `folder`, where model, data and work_dir are. The model is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    models_path = folder / "models.toml"
    if not models_path.exists():
        write_catalog(models_path, {"tiny": make_tiny_model(folder / "model")})
    sha256 = write_samples(folder / "samples.jsonl", make_samples() if samples is None else samples)
    fields: dict[str, Any] = {
        "base_model": "tiny",
        "profile": PROFILE,
        "samples_path": str(folder / "samples.jsonl"),
        "samples_sha256": sha256,
        "work_dir": str(folder / "work"),
        "method": Method(),
        "hyperparameters": HYPERPARAMETERS,
        "models_path": str(models_path),
        "checkpoint_seconds": 0.0,
    }
    return TrainSpec(**{**fields, **changes})


def write_spec(spec: TrainSpec, path: Path) -> Path:
    """Write a spec file; return its path."""
    path.write_text(spec.model_dump_json(), encoding="utf-8")
    return path


def load_data(spec: TrainSpec, loaded: LoadedModel) -> TrainingData:
    """The training data of a spec."""
    return encode_samples(read_samples(Path(spec.samples_path), spec.samples_sha256), loaded, spec)
