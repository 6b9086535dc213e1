from __future__ import annotations

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from rolekeeper.contracts.jobs import Method
from rolekeeper.lm.load import BaseModelUnusable, LoadedModel
from services.trainer.program.adapter import PROJECTIONS, freeze, fresh_adapter
from tests.unit.services.trainer.program.runs import HYPERPARAMETERS, PEFT_ASKS_BY_AN_OLD_NAME

pytestmark = PEFT_ASKS_BY_AN_OLD_NAME


def test_each_job_starts_from_its_seed_and_leaves_the_base_model_as_it_was(loaded: LoadedModel) -> None:
    before = {name: tensor.clone() for name, tensor in loaded.model.state_dict().items()}
    starts = []
    for seed in (7, 7, 8):
        with fresh_adapter(loaded.model, HYPERPARAMETERS.model_copy(update={"seed": seed})) as policy:
            trained = {
                name: weight.detach().clone() for name, weight in policy.named_parameters() if weight.requires_grad
            }
            starts.append(trained)
            assert not any(module.training for module in policy.modules())
    assert all(torch.equal(starts[0][name], starts[1][name]) for name in starts[0])
    assert any(not torch.equal(starts[0][name], starts[2][name]) for name in starts[0])
    after = loaded.model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert not any(weight.requires_grad for weight in loaded.model.parameters())


def test_only_lora_weights_of_the_seven_projections_are_trained(loaded: LoadedModel) -> None:
    with fresh_adapter(loaded.model, HYPERPARAMETERS) as policy:
        trained = [name for name, weight in policy.named_parameters() if weight.requires_grad]
    assert len(trained) == 2 * len(PROJECTIONS) * loaded.model.config.num_hidden_layers
    assert all("lora_A" in name or "lora_B" in name for name in trained)
    assert {name.split(".lora_")[0].rpartition(".")[2] for name in trained} == set(PROJECTIONS)


def test_a_base_model_without_the_projections_is_refused() -> None:
    base = GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=1, n_embd=8, vocab_size=16))
    with (
        pytest.raises(BaseModelUnusable, match="'gpt2' have no down_proj, gate_proj"),
        fresh_adapter(base, HYPERPARAMETERS),
    ):
        pass


def test_sppft_trains_no_safety_layer(loaded: LoadedModel) -> None:
    """Of two layers the first is the safety layer."""
    with fresh_adapter(loaded.model, HYPERPARAMETERS) as policy:
        freeze(policy, Method(name="sft"))
        every = [name for name, weight in policy.named_parameters() if weight.requires_grad]
        freeze(policy, Method(name="sppft"))
        trained = [name for name, weight in policy.named_parameters() if weight.requires_grad]
    assert trained == [name for name in every if ".layers.0." not in name]
    assert len(trained) == len(every) // 2
