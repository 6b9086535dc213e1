"""Adapters of every preset, as files, under the rules of the engines that serve them.

The rules are those of the loaders: vLLM `lora/peft_helper.py`, `lora/lora_model.py` and `lora/utils.py`, SGLang
`lora/lora_config.py` and `lora/lora_manager.py`, llama.cpp `convert_lora_to_gguf.py`, which maps names by the package
`gguf`, as is done here.
"""

from __future__ import annotations

import json
import re
import tarfile
from pathlib import Path
from typing import Any, Literal, NamedTuple

import gguf
import pytest
from peft import PeftConfig, PeftModel
from safetensors.torch import load_file
from torch import Tensor, nn

from rolekeeper.contracts.jobs import Hyperparameters
from rolekeeper.lm.catalog import find_entry, load_catalog
from rolekeeper.lm.load import LoadedModel, load_base
from services.trainer.program.run import Resident, run_spec
from tests.tiny import Architecture, make_tiny_model, write_catalog
from tests.unit.services.trainer.program.runs import PEFT_ASKS_BY_AN_OLD_NAME, make_spec

pytestmark = PEFT_ASKS_BY_AN_OLD_NAME

CASES: tuple[tuple[Literal["default", "paper"], Architecture], ...] = (
    ("default", "llama"),
    ("paper", "llama"),
    ("default", "qwen2"),
    ("paper", "gemma2"),
)
GGUF_NAMES = {"llama": gguf.MODEL_ARCH.LLAMA, "qwen2": gguf.MODEL_ARCH.QWEN2, "gemma2": gguf.MODEL_ARCH.GEMMA2}
# The rank limits that vLLM can be started with.
VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
# What both engines merge: an adapter may name the parts.
SERVED = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
NAME = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<part>[AB])\.weight")


class Adapter(NamedTuple):
    """A finished adapter in its folder, and the model that it is for."""

    folder: Path
    loaded: LoadedModel
    architecture: Architecture
    config: dict[str, Any]
    tensors: dict[str, Tensor]

    def pairs(self) -> dict[str, dict[str, Tensor]]:
        """A and B of each module."""
        found: dict[str, dict[str, Tensor]] = {}
        for name, tensor in self.tensors.items():
            match = NAME.fullmatch(name)
            assert match is not None, name
            found.setdefault(match["module"], {})[match["part"]] = tensor
        return found


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def adapter(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    """An adapter that the program trained, unpacked."""
    preset, architecture = request.param
    folder = tmp_path_factory.mktemp("adapter")
    write_catalog(folder / "models.toml", {"tiny": make_tiny_model(folder / "model", architecture=architecture)})
    hyper = Hyperparameters.model_validate({"preset": preset, "epochs": 1})
    result = run_spec(make_spec(folder, hyperparameters=hyper), Resident(), lambda _progress: None)
    with tarfile.open(result.adapter_path) as tar:
        tar.extractall(folder / "adapter", filter="data")
    config = json.loads((folder / "adapter" / "adapter_config.json").read_text("utf-8"))
    tensors = load_file(folder / "adapter" / "adapter_model.safetensors")
    loaded = load_base(find_entry(load_catalog(folder / "models.toml"), "tiny"), device="cpu")
    return Adapter(folder / "adapter", loaded, architecture, config, tensors)


def test_peft_loads_it_and_finds_a_place_for_every_tensor(adapter: Adapter) -> None:
    config = PeftConfig.from_pretrained(str(adapter.folder))
    assert config.peft_type == "LORA"
    policy = PeftModel.from_pretrained(adapter.loaded.model, str(adapter.folder))
    try:
        placed = {name for name, _ in policy.named_parameters() if ".lora_" in name}
        assert {name.replace(".default.", ".") for name in placed} == set(adapter.tensors)
    finally:
        policy.unload()


def test_the_shapes_fit_the_modules_of_the_base_model(adapter: Adapter) -> None:
    for name, pair in adapter.pairs().items():
        module = adapter.loaded.model.get_submodule(name)
        assert isinstance(module, nn.Linear)
        assert pair["A"].shape == (adapter.config["r"], module.in_features)
        assert pair["B"].shape == (module.out_features, adapter.config["r"])
        assert pair["A"].is_contiguous()
        assert pair["A"].dtype == pair["B"].dtype


def test_vllm_would_load_it(adapter: Adapter) -> None:
    config = adapter.config
    assert config["r"] in VLLM_RANKS
    assert not config["modules_to_save"]
    assert not config["use_dora"]
    assert config["bias"] == "none"
    # It takes the last part of a tensor's name for the module, and refuses one that it does not serve.
    named = {module.rpartition(".")[2] for module in adapter.pairs()}
    assert named == set(config["target_modules"]) <= SERVED
    assert isinstance(config["target_modules"], list)


def test_sglang_would_load_it(adapter: Adapter) -> None:
    # Tokens of one's own, DoRA and a pattern in place of names are refused.
    assert sorted(path.name for path in adapter.folder.iterdir()) == [
        "MANIFEST.json",
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert adapter.config["target_modules"] == sorted(adapter.config["target_modules"])
    assert not adapter.config["use_dora"]
    layers = {int(module.split(".layers.")[1].split(".")[0]) for module in adapter.pairs()}
    assert layers == set(range(adapter.loaded.model.config.num_hidden_layers))


def test_llama_cpp_would_convert_it(adapter: Adapter) -> None:
    num_layers = adapter.loaded.model.config.num_hidden_layers
    names = gguf.get_tensor_name_map(GGUF_NAMES[adapter.architecture], num_layers)
    mapped = [names.get_name(f"{module}.weight", try_suffixes=(".weight",)) for module in adapter.pairs()]
    assert all(name is not None and name.startswith("blk.") for name in mapped), mapped
    assert len(set(mapped)) == len(mapped)
    # It reads lora_alpha and takes alpha / r for the scale: nothing may say otherwise.
    assert isinstance(adapter.config["lora_alpha"], int)
    assert not adapter.config["use_rslora"]
    assert adapter.config["alpha_pattern"] == adapter.config["rank_pattern"] == {}
    for pair in adapter.pairs().values():
        assert set(pair) == {"A", "B"}
        assert pair["A"].shape[0] == pair["B"].shape[1]
