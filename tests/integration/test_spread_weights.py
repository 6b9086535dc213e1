"""All weights trained in two processes under DeepSpeed ZeRO-3, held against one process with plain torch."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load

from rolekeeper.contracts.jobs import Method, Progress
from rolekeeper.contracts.training import TrainResult, TrainSpec
from rolekeeper.errors import StageFailed, StageInterrupted
from services.trainer.program.run import Resident, run_spec
from tests.integration.test_several_processes import Service, beside
from tests.tiny import Architecture, make_tiny_model, write_catalog
from tests.unit.services.trainer.program.runs import HYPERPARAMETERS, make_spec, write_spec

# The head of llama is tied to the embedding and its rows are packed on a CPU; qwen2 has its own head, and biases; the
# logits of gemma2 are softcapped.
CASES: dict[Architecture, dict[str, Any]] = {
    "llama": {"gradient_checkpointing": "off"},
    "qwen2": {"gradient_checkpointing": "on"},
    "gemma2": {"method": Method(name="sppft")},
}


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    service = Service(num_processes=2, zero_stage="3")
    yield service
    service.program.stop()
    assert service.processes() == []


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> dict[Architecture, TrainSpec]:
    """Steps of up to 4 samples, some with a group for one process only; two dialogues are for validation."""
    changes = {"training": "full", "learning_rate": 1e-3, "validation_share": 0.2}
    made: dict[Architecture, TrainSpec] = {}
    for architecture, case in CASES.items():
        folder = tmp_path_factory.mktemp(architecture)
        write_catalog(folder / "models.toml", {"tiny": make_tiny_model(folder / "model", architecture=architecture)})
        # Steps enough to be disturbed at some, as progress is told five times a second.
        hyper = HYPERPARAMETERS.model_copy(update=changes | {"epochs": 8 if architecture == "llama" else 2})
        made[architecture] = make_spec(folder, hyperparameters=hyper, max_batch_tokens=100, **case)
    return made


def plain(spec: TrainSpec) -> TrainResult:
    return run_spec(spec, Resident(), lambda _progress: None)


def weights(result: TrainResult) -> dict[str, torch.Tensor]:
    with tarfile.open(result.adapter_path) as tar:
        member = tar.extractfile("model.safetensors")
        assert member is not None
        return load(member.read())


@pytest.mark.parametrize("architecture", CASES)
def test_two_processes_have_the_losses_and_the_model_of_plain_torch(
    specs: dict[Architecture, TrainSpec], service: Service, architecture: Architecture
) -> None:
    spec = specs[architecture]
    one, two = plain(beside(spec, "one")), service.run(beside(spec, "two"))
    assert two.losses == pytest.approx(one.losses, rel=0, abs=1e-5)
    assert two.validation_losses == pytest.approx(one.validation_losses, rel=0, abs=1e-5)
    assert two.last_loss < two.first_loss
    expected, made = weights(one), weights(two)
    assert made.keys() == expected.keys()
    for name, tensor in expected.items():
        assert made[name].dtype == tensor.dtype
        # Where a gradient is near zero, its rounding decides the way that AdamW goes.
        torch.testing.assert_close(made[name], tensor, rtol=0, atol=2e-4)


def test_a_run_that_is_killed_goes_on_in_two_processes_and_in_one(
    specs: dict[Architecture, TrainSpec], service: Service
) -> None:
    undisturbed = service.run(beside(specs["llama"], "two"))
    killed = beside(specs["llama"], "killed")
    write_spec(killed, Path(killed.work_dir).with_suffix(".json"))

    def kill_the_second(progress: Progress) -> None:
        if progress.done >= 3:
            for process in service.processes():
                if process.environ().get("RANK") == "1":
                    process.kill()

    with pytest.raises(StageInterrupted) as interrupted:
        service.program.run(Path(killed.work_dir).with_suffix(".json"), kill_the_second, lambda: None)
    assert interrupted.value.code == "trainer_died"
    alone = beside(specs["llama"], "killed_then_one")
    shutil.copytree(killed.work_dir, alone.work_dir)
    assert plain(alone).losses == pytest.approx(undisturbed.losses, rel=0, abs=1e-5)
    resumed = service.run(killed)
    assert service.first_done >= 3
    assert resumed.losses == undisturbed.losses
    assert resumed.adapter_sha256 == undisturbed.adapter_sha256


def test_an_adapter_is_refused(specs: dict[Architecture, TrainSpec], service: Service) -> None:
    lora = specs["llama"].hyperparameters.model_copy(update={"training": "lora"})
    with pytest.raises(StageFailed, match="ZeRO-3 can't train this") as refused:
        service.run(beside(specs["llama"], "lora").model_copy(update={"hyperparameters": lora}))
    assert refused.value.code == "bad_spec"
