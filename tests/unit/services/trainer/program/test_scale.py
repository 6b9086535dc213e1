from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from rolekeeper.contracts.jobs import AskedHyperparameters
from rolekeeper.lm.load import LoadedModel
from services.trainer.program.durable import sha256_of
from services.trainer.program.failures import BadSpec
from services.trainer.program.save import checked_logits, save_weights
from services.trainer.program.scale import main, scale_folder, scaled
from tests.unit.services.trainer.program.runs import (
    PEFT_ASKS_BY_AN_OLD_NAME,
    load_data,
    make_spec,
    moved_adapter,
)
from tests.unit.services.trainer.program.test_save import members, save

pytestmark = PEFT_ASKS_BY_AN_OLD_NAME


@pytest.fixture
def adapter(tiny_folder: Path, tmp_path: Path, loaded: LoadedModel) -> Path:
    """The folder of a finished adapter."""
    result = save(make_spec(tiny_folder, work_dir=str(tmp_path / "work")), loaded, tmp_path / "folder")
    folder = tmp_path / "adapter"
    folder.mkdir()
    for name, content in members(result.adapter_path).items():
        (folder / name).write_bytes(content)
    return folder


def test_b_alone_is_scaled_by_hand() -> None:
    tensors = {"x.lora_A.weight": torch.tensor([2.0]), "x.lora_B.weight": torch.tensor([3.0, -4.0])}
    half = scaled(tensors, 0.5)
    assert half["x.lora_A.weight"].tolist() == [2.0]
    assert half["x.lora_B.weight"].tolist() == [1.5, -2.0]
    assert all(scaled(tensors, 1.0)[name] is tensor for name, tensor in tensors.items())


def test_what_peft_loads_is_the_base_model_and_a_part_of_what_was_trained(
    tiny_folder: Path, tmp_path: Path, loaded: LoadedModel, adapter: Path
) -> None:
    """The weights of each layer are those of the base model and 0.25 times what the adapter adds."""
    scale_folder(adapter, 0.25, tmp_path / "quarter")
    deltas = []
    for folder in (adapter, tmp_path / "quarter"):
        policy = PeftModel.from_pretrained(loaded.model, str(folder))
        layer: Any = next(module for module in policy.modules() if hasattr(module, "get_delta_weight"))
        deltas.append(layer.get_delta_weight("default").clone())
        logits_TV = checked_logits(policy.eval(), load_data(make_spec(tiny_folder), loaded))
        policy.unload()
    torch.testing.assert_close(deltas[1], 0.25 * deltas[0], rtol=2e-3, atol=1e-6)  # float16
    assert deltas[0].abs().max() > 1e-4
    assert bool(logits_TV.isfinite().all())


def test_manifest_and_card_say_the_scale(adapter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(adapter), "0.5", "0.8"])
    folders = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert [folder.name for folder in folders] == ["adapter-0.5", "adapter-0.8"]
    scale_folder(folders[0], 0.5, adapter.with_name("again"))
    for folder, factor in ((folders[0], 0.5), (folders[1], 0.8), (adapter.with_name("again"), 0.25)):
        manifest = json.loads((folder / "MANIFEST.json").read_text("utf-8"))
        assert manifest["training"]["scaled_by"] == factor
        assert manifest["files"] == {name: sha256_of(folder / name) for name in manifest["files"]}
        assert "the adapter was scaled by" in (folder / "README.md").read_text("utf-8")
    with pytest.raises(BadSpec, match=r"a scale is above 0 and at most 1, and 1\.5 is not"):
        scale_folder(adapter, 1.5, adapter.with_name("more"))
    assert not adapter.with_name("more").exists()


def test_a_job_may_ask_for_a_scale(tmp_path: Path, loaded: LoadedModel) -> None:
    with moved_adapter(loaded) as policy:
        for scale in (1.0, 0.5):
            (tmp_path / str(scale)).mkdir()
            save_weights(policy, tmp_path / str(scale), scale)
    whole, half = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("1.0", "0.5"))
    for name, tensor in whole.items():
        torch.testing.assert_close(half[name], tensor * 0.5 if "lora_B" in name else tensor)
    with pytest.raises(ValueError, match="training: full makes none"):
        AskedHyperparameters(training="full", adapter_scale=0.5)
