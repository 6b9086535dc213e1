"""Training of all weights. Shapes: T response tokens, V vocabulary."""

from __future__ import annotations

import copy
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from rolekeeper.contracts.jobs import Progress
from rolekeeper.contracts.training import TrainResult, TrainSpec
from rolekeeper.lm.catalog import find_entry, load_catalog
from rolekeeper.lm.load import LoadedModel, load_base
from rolekeeper.method.rbo import KlDirection
from services.trainer.program.data import GlobalBatch, TrainingData
from services.trainer.program.engine import TorchEngine
from services.trainer.program.failures import BadSpec
from services.trainer.program.full import free_weights
from services.trainer.program.objectives.rbo import KlTerm, RboLoss
from services.trainer.program.run import Resident, run_spec
from tests.tiny import Architecture, make_tiny_model, write_catalog
from tests.unit.services.trainer.program.runs import (
    HYPERPARAMETERS,
    PEFT_ASKS_BY_AN_OLD_NAME,
    load_data,
    make_spec,
)

pytestmark = PEFT_ASKS_BY_AN_OLD_NAME

FULL = HYPERPARAMETERS.model_copy(update={"training": "full", "learning_rate": 1e-3})
BATCH = GlobalBatch(0, tuple(range(10)))


class Unplugged(Exception):
    """The run ends here."""


def ignore(_progress: Progress) -> None:
    """Nobody watches."""


def make_full_spec(folder: Path, architecture: Architecture = "llama", **changes: Any) -> TrainSpec:
    write_catalog(folder / "models.toml", {"tiny": make_tiny_model(folder / "model", architecture=architecture)})
    return make_spec(folder, hyperparameters=FULL, **changes)


def naive_loss(policy: PreTrainedModel, reference: PreTrainedModel, data: TrainingData, term: KlTerm) -> Tensor:
    """CE(all) + kl_weight * KL(harmful), sample by sample, from a second model."""
    ce, kl, num_tokens = torch.zeros(()), torch.zeros(()), 0
    for sample, harmful in zip(data.samples, data.harmful, strict=True):
        ids = torch.tensor([[*sample.prompt_ids, *sample.response_ids]])
        labels_T = ids[0, len(sample.prompt_ids) :]
        p = policy(input_ids=ids).logits[0, len(sample.prompt_ids) - 1 : -1].log_softmax(-1)
        ce = ce - p[torch.arange(len(labels_T)), labels_T].sum()
        num_tokens += len(labels_T)
        if harmful:
            with torch.no_grad():
                q = reference(input_ids=ids).logits[0, len(sample.prompt_ids) - 1 : -1].log_softmax(-1)
            p, q = (p, q) if term.direction is KlDirection.REVERSE else (q, p)
            kl = kl + (p.exp() * (p - q)).sum(-1).mean()
    return ce / num_tokens + term.weight * kl / len(data.samples)


@pytest.mark.parametrize("direction", list(KlDirection))
@pytest.mark.parametrize("architecture", ["llama", "gemma2", "qwen2"])  # tied head, tied and softcapped, own head
def test_loss_and_gradient_are_those_of_a_second_model(
    tmp_path: Path, architecture: Architecture, direction: KlDirection
) -> None:
    spec = make_full_spec(tmp_path, architecture)
    loaded = load(spec)
    data, term = load_data(spec, loaded), KlTerm(2.0, direction)
    reference = copy.deepcopy(loaded.model)
    policy = free_weights(loaded.model, FULL)
    objective = RboLoss(policy, data, term, 400)
    with torch.no_grad():
        for weight in policy.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    step_loss = objective.backward(TorchEngine(policy, FULL, num_steps=1), BATCH)
    ours = gradients(policy)
    expected = naive_loss(policy, reference, data, term)
    torch.autograd.backward(expected)
    theirs = gradients(policy)
    assert step_loss.kl > 0.001
    assert step_loss.loss == pytest.approx(expected.item(), rel=1e-5)
    assert ours.keys() == theirs.keys() == dict(policy.named_parameters()).keys()
    for name, naive in theirs.items():
        torch.testing.assert_close(ours[name], naive, rtol=1e-3, atol=1e-5)


def test_the_base_does_not_leak_into_the_next_run(tmp_path: Path) -> None:
    full = make_full_spec(tmp_path)
    adapter = full.model_copy(update={"hyperparameters": HYPERPARAMETERS, "work_dir": str(tmp_path / "warm")})
    cold = run_spec(adapter.model_copy(update={"work_dir": str(tmp_path / "cold")}), Resident(), ignore)
    resident = Resident()
    first = run_spec(full, resident, ignore)
    warm = run_spec(adapter, resident, ignore)
    again = run_spec(full.model_copy(update={"work_dir": str(tmp_path / "again")}), resident, ignore)
    assert warm.adapter_sha256 == cold.adapter_sha256
    assert first.adapter_sha256 == again.adapter_sha256
    assert first.last_loss < first.first_loss


def test_a_run_that_was_ended_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    spec = make_full_spec(tmp_path)
    undisturbed = run_spec(spec.model_copy(update={"work_dir": str(tmp_path / "undisturbed")}), Resident(), ignore)

    def unplug(progress: Progress) -> None:
        if progress.done < progress.total:
            raise Unplugged

    resident = Resident()
    with pytest.raises(Unplugged):
        run_spec(spec.model_copy(update={"checkpoint_seconds": 0.0}), resident, unplug)
    resumed = run_spec(spec, resident, ignore)
    assert resumed.losses == undisturbed.losses
    assert resumed.adapter_sha256 == undisturbed.adapter_sha256


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainSpec, TrainResult, Path]:
    """A run, its result, and the folder with the model that it made."""
    folder = tmp_path_factory.mktemp("full")
    spec = make_full_spec(folder)
    result = run_spec(spec, Resident(), ignore)
    with tarfile.open(result.adapter_path) as tar:
        tar.extractall(folder / "made", filter="data")
    return spec, result, folder / "made"


def test_plain_transformers_loads_what_was_made(made: tuple[TrainSpec, TrainResult, Path]) -> None:
    spec, result, folder = made
    base = load(spec)
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = torch.arange(20).unsqueeze(0)
    with torch.no_grad():
        assert (model(ids).logits - base.model(ids).logits).abs().max() > 1e-3
    text = base.tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
    assert tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False) == text
    manifest = json.loads((folder / "MANIFEST.json").read_text("utf-8"))
    assert manifest["base_model"]["digest"] == result.base_digest
    assert manifest["training"]["hyperparameters"]["training"] == "full"
    assert manifest["effect"]["max_difference"] > 0
    assert set(manifest["files"]) == {path.name for path in folder.iterdir()} - {"MANIFEST.json"}
    card = (folder / "README.md").read_text("utf-8")
    assert "base_model_relation: finetune" in card
    assert "| training | full |" in card


def test_a_model_that_did_not_change_is_refused(tmp_path: Path) -> None:
    spec = make_full_spec(tmp_path)
    still = FULL.model_copy(update={"learning_rate": 1e-30, "epochs": 1})
    with pytest.raises(BadSpec, match="raise learning_rate"):
        run_spec(spec.model_copy(update={"hyperparameters": still}), Resident(), ignore)


def test_steps_that_bf16_cannot_hold_add_up(tmp_path: Path) -> None:
    # Below 1, bf16 has steps of 1/256: one step of 0.001 is rounded away, and four are not.
    hyper = FULL.model_copy(update={"learning_rate": 1e-3, "warmup_share": 0.0})
    policy = free_weights(load(make_full_spec(tmp_path)).model, hyper).bfloat16()
    engine = TorchEngine(policy, hyper, num_steps=1_000_000)
    seen = []
    for _ in range(4):
        engine.backward(torch.stack([weight.sum() for weight in policy.parameters()]).sum())
        engine.step()
        seen.append(policy.get_parameter("model.norm.weight").mean().item())
    assert seen[0] == 1.0
    assert seen[3] == 1.0 - 1 / 256
    engine.load_state(4, {name: tensor.clone() for name, tensor in engine.state().items()})
    assert policy.get_parameter("model.norm.weight").mean().item() == seen[3]
    assert engine.state()["weight.model.norm.weight"].mean().item() == pytest.approx(0.996, abs=1e-6)


def load(spec: TrainSpec) -> LoadedModel:
    return load_base(find_entry(load_catalog(Path(spec.models_path or "")), "tiny"), device="cpu")


def gradients(policy: PreTrainedModel) -> dict[str, Tensor]:
    found = {name: weight.grad.clone() for name, weight in policy.named_parameters() if weight.grad is not None}
    policy.zero_grad()
    return found
