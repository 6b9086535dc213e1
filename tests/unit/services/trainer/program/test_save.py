from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load

from rolekeeper.contracts.training import TrainResult, TrainSpec
from rolekeeper.errors import StageFailed
from rolekeeper.lm.catalog import find_entry, load_catalog
from rolekeeper.lm.load import LoadedModel
from services.trainer.program import save as save_module
from services.trainer.program.adapter import PROJECTIONS, fresh_adapter
from services.trainer.program.durable import sha256_of
from services.trainer.program.failures import BadSpec, Diverged
from services.trainer.program.loop import Curves
from services.trainer.program.save import adapter_config, find_result, save_adapter, save_weights
from services.trainer.program.spec import spec_digest
from tests.unit.services.trainer.program.runs import (
    HYPERPARAMETERS,
    PEFT_ASKS_BY_AN_OLD_NAME,
    load_data,
    make_spec,
)

pytestmark = PEFT_ASKS_BY_AN_OLD_NAME


def save(spec: TrainSpec, loaded: LoadedModel, folder: Path, fill: float | None = 0.01) -> TrainResult:
    """Save an adapter whose lora_B are all `fill`; those of a fresh adapter if None."""
    folder.mkdir()
    Path(spec.work_dir).mkdir(exist_ok=True)
    with fresh_adapter(loaded.model, spec.hyperparameters) as policy:
        with torch.no_grad():
            for name, weight in policy.named_parameters():
                if "lora_B" in name and fill is not None:
                    weight.fill_(fill)
        save_weights(policy, folder)
    return save_adapter(spec, loaded, load_data(spec, loaded), Curves((3.0, 1.0, 2.0), (2.5,)), folder)


def members(path: str) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {member.name: _content(tar, member) for member in tar}


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None
    return file.read()


@pytest.fixture
def spec(tiny_folder: Path, tmp_path: Path) -> TrainSpec:
    return make_spec(tiny_folder, work_dir=str(tmp_path / "work"))


def test_the_tar_is_the_same_bytes_every_time(tmp_path: Path, loaded: LoadedModel, spec: TrainSpec) -> None:
    first = save(spec, loaded, tmp_path / "a")
    other = spec.model_copy(update={"work_dir": str(tmp_path / "other")})
    second = save(other, loaded, tmp_path / "b")
    assert first.adapter_sha256 == second.adapter_sha256
    assert sha256_of(Path(second.adapter_path)) == second.adapter_sha256
    assert Path(second.adapter_path) == tmp_path / "other" / f"adapter-{second.adapter_sha256}.tar"
    assert Path(second.adapter_path).stat().st_size == second.adapter_bytes
    assert sorted(path.name for path in (tmp_path / "other").iterdir()) == [
        Path(second.adapter_path).name,
        "result.json",
    ]
    assert TrainResult.model_validate_json((tmp_path / "other" / "result.json").read_bytes()) == second
    with tarfile.open(second.adapter_path) as tar:
        for member in tar:
            assert (member.mtime, member.uid, member.gid, member.uname, member.mode) == (0, 0, 0, "", 0o644)
            assert member.isreg()


def test_the_folder_is_what_peft_and_serving_engines_expect(
    tmp_path: Path, loaded: LoadedModel, spec: TrainSpec
) -> None:
    files = members(save(spec, loaded, tmp_path / "a").adapter_path)
    assert list(files) == ["MANIFEST.json", "README.md", "adapter_config.json", "adapter_model.safetensors"]
    tensors = load(files["adapter_model.safetensors"])
    layer = "base_model.model.model.layers.1.self_attn.q_proj"
    assert len(tensors) == 2 * len(PROJECTIONS) * loaded.model.config.num_hidden_layers
    assert tensors[f"{layer}.lora_A.weight"].shape == (8, 48)
    assert tensors[f"{layer}.lora_B.weight"].shape == (48, 8)
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    config = json.loads(files["adapter_config.json"])
    assert config["base_model_name_or_path"] == "tests/tiny"
    assert config["target_modules"] == sorted(PROJECTIONS)
    assert (config["r"], config["lora_alpha"], config["inference_mode"]) == (8, 16, True)
    assert b"/tmp" not in b"".join(files.values())


def test_the_manifest_says_what_it_was_made_from(tmp_path: Path, loaded: LoadedModel, spec: TrainSpec) -> None:
    files = members(save(spec, loaded, tmp_path / "a").adapter_path)
    manifest = json.loads(files["MANIFEST.json"])
    assert manifest["spec_digest"] == spec_digest(spec)
    assert manifest["base_model"] == {
        "alias": "tiny",
        "digest": loaded.digest,
        "public_id": "tests/tiny",
        "revision": None,
    }
    assert manifest["data"]["sha256"] == spec.samples_sha256
    assert (manifest["data"]["num_samples"], manifest["data"]["num_selected"]) == (10, 4)
    assert manifest["training"]["hyperparameters"] == HYPERPARAMETERS.model_dump(mode="json")
    assert (manifest["training"]["first_loss"], manifest["training"]["least_loss"]) == (3.0, 1.0)
    assert manifest["training"]["losses"] == [3.0, 1.0, 2.0]
    assert manifest["training"]["validation_losses"] == [2.5]
    assert manifest["effect"]["max_difference"] > 0
    assert manifest["effect"]["num_samples"] == 4
    for name, sha256 in manifest["files"].items():
        (tmp_path / name).write_bytes(files[name])
        assert sha256_of(tmp_path / name) == sha256
    assert manifest["files"].keys() | {"MANIFEST.json"} == files.keys()


def test_the_config_holds_nothing_that_an_engine_would_misread(loaded: LoadedModel) -> None:
    config = adapter_config(HYPERPARAMETERS, loaded.entry.model_copy(update={"revision": "abc"}))
    expected: dict[str, Any] = {
        "bias": "none",
        "lora_dropout": 0.0,
        "modules_to_save": None,
        "rank_pattern": {},
        "alpha_pattern": {},
        "use_dora": False,
        "use_rslora": False,
        "revision": "abc",
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
    }
    assert expected.items() <= config.items()
    assert list(config) == sorted(config)


def test_an_adapter_without_effect_is_refused(tmp_path: Path, loaded: LoadedModel, spec: TrainSpec) -> None:
    with pytest.raises(BadSpec, match="changes nothing: raise learning_rate"):
        save(spec, loaded, tmp_path / "a", fill=None)
    assert list(Path(spec.work_dir).iterdir()) == []


@pytest.mark.parametrize("fill", [1e6, float("nan")])
def test_weights_that_float16_can_not_hold_are_refused(
    tmp_path: Path, loaded: LoadedModel, spec: TrainSpec, fill: float
) -> None:
    with pytest.raises(Diverged, match=r"lora_B\.weight does not fit in float16: lower learning_rate"):
        save(spec, loaded, tmp_path / "a", fill=fill)


def test_logits_that_are_not_finite_are_refused(tmp_path: Path, loaded: LoadedModel, spec: TrainSpec) -> None:
    norm = loaded.model.model.norm
    hook = norm.register_forward_hook(lambda _module, _inputs, output: output * float("inf"))
    try:
        with pytest.raises(Diverged, match="logits that are not finite"):
            save(spec, loaded, tmp_path / "a")
    finally:
        hook.remove()


def test_weights_beside_the_adapter_are_refused(
    tmp_path: Path, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_embedding(_policy: PeftModel, **_options: bool) -> dict[str, torch.Tensor]:
        return {"base_model.model.model.embed_tokens.weight": torch.zeros(1)}

    monkeypatch.setattr(save_module, "get_peft_model_state_dict", with_embedding)
    with (
        fresh_adapter(loaded.model, HYPERPARAMETERS) as policy,
        pytest.raises(StageFailed, match=r"holds .*embed_tokens.*, which is not a LoRA weight"),
    ):
        save_weights(policy, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_base_model_with_a_merged_adapter_is_pointed_out(
    tmp_path: Path, loaded: LoadedModel, spec: TrainSpec
) -> None:
    merged = tmp_path / "merged"
    merged.mkdir()
    (merged / "adapter_model.safetensors").write_bytes(b"weights")
    entry = loaded.entry.model_copy(update={"adapter": str(merged), "alias": "tiny-aligned"})
    aligned = LoadedModel(entry, loaded.model, loaded.tokenizer, loaded.device, loaded.dtype, loaded.digest)
    files = members(save(spec, aligned, tmp_path / "a").adapter_path)
    base = json.loads(files["MANIFEST.json"])["base_model"]
    assert base["merged_adapter_sha256"] == sha256_of(merged / "adapter_model.safetensors")
    assert "not over the raw one" in base["note"]
    card = files["README.md"].decode()
    assert 'load_base(find_entry(load_catalog(), "tiny-aligned"))' in card
    assert base["merged_adapter_sha256"] in card
    assert loaded.digest in card


def test_a_result_is_found_again_until_something_changes(tmp_path: Path, loaded: LoadedModel, spec: TrainSpec) -> None:
    assert find_result(spec) is None
    result = save(spec, loaded, tmp_path / "a")
    assert find_result(spec) == result
    assert find_result(spec.model_copy(update={"max_batch_tokens": 64})) is None
    moved = Path(spec.work_dir).rename(tmp_path / "moved")
    found = find_result(spec.model_copy(update={"work_dir": str(moved)}))
    assert found is not None
    assert Path(found.adapter_path).parent == moved
    content = bytearray(Path(found.adapter_path).read_bytes())
    content[600] ^= 1
    Path(found.adapter_path).write_bytes(content)
    assert find_result(spec.model_copy(update={"work_dir": str(moved)})) is None


def test_a_result_that_can_not_be_read_is_none(spec: TrainSpec) -> None:
    Path(spec.work_dir).mkdir()
    (Path(spec.work_dir) / "result.json").write_text("{")
    assert find_result(spec) is None


def test_the_packaged_catalog_has_entries_that_a_config_can_name() -> None:
    for alias in load_catalog():
        assert not adapter_config(HYPERPARAMETERS, find_entry(load_catalog(), alias))[
            "base_model_name_or_path"
        ].startswith("/")


def test_members_are_in_the_order_of_their_names(tmp_path: Path, loaded: LoadedModel, spec: TrainSpec) -> None:
    content = Path(save(spec, loaded, tmp_path / "a").adapter_path).read_bytes()
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        assert tar.getnames() == sorted(tar.getnames())
