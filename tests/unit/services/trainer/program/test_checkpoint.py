from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from services.trainer.program import durable
from services.trainer.program.checkpoint import KEPT, Checkpoints, run_digest

HISTORY = (3.25, 0.1, 2.0 / 3.0)


def make_checkpoints(folder: Path, num_steps: int = 3, run: str = "run") -> Checkpoints:
    checkpoints = Checkpoints(folder, run, least_seconds=0.0)
    for step in range(1, num_steps + 1):
        tensors = {"weight.a": torch.full((2, 3), float(step))}
        checkpoints.offer(HISTORY[:step], tensors.copy)
    return checkpoints


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_newest_comes_back_bit_for_bit(tmp_path: Path) -> None:
    make_checkpoints(tmp_path)
    restored = Checkpoints(tmp_path, "run", 0.0).restore()
    assert restored is not None
    assert restored.losses == HISTORY
    assert restored.tensors.keys() == {"weight.a"}
    assert torch.equal(restored.tensors["weight.a"], torch.full((2, 3), 3.0))


def test_the_last_two_are_kept_without_pickle(tmp_path: Path) -> None:
    make_checkpoints(tmp_path)
    assert names(tmp_path) == ["ckpt-2", "ckpt-3"]
    assert len(names(tmp_path)) == KEPT
    assert names(tmp_path / "ckpt-3") == ["MANIFEST.json", "history.json", "state.safetensors"]
    manifest = json.loads((tmp_path / "ckpt-3" / "MANIFEST.json").read_text())
    assert manifest["step"] == 3
    assert manifest["run_digest"] == "run"
    assert manifest["files"]["state.safetensors"]["bytes"] == (tmp_path / "ckpt-3" / "state.safetensors").stat().st_size


def test_none_is_saved_before_its_time(tmp_path: Path) -> None:
    Checkpoints(tmp_path, "run", least_seconds=60.0).offer(HISTORY, dict)
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["state.safetensors", "history.json", "MANIFEST.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "drop"])
def test_a_damaged_one_gives_way_to_the_one_before(tmp_path: Path, name: str, damage: str) -> None:
    make_checkpoints(tmp_path)
    file = tmp_path / "ckpt-3" / name
    content = bytearray(file.read_bytes())
    if damage == "drop":
        file.unlink()
    else:
        content[len(content) // 2] ^= 1
        file.write_bytes(content if damage == "flip" else content[:-1])
    if (name, damage) == ("MANIFEST.json", "cut"):
        file.write_bytes(content[:-4])  # without its last byte, a line end, a manifest is still whole
    restored = Checkpoints(tmp_path, "run", 0.0).restore()
    assert restored is not None
    assert restored.losses == HISTORY[:2]
    assert names(tmp_path) == ["ckpt-2"]


def test_those_of_another_run_are_left_out(tmp_path: Path) -> None:
    make_checkpoints(tmp_path, run="another")
    assert Checkpoints(tmp_path, "run", 0.0).restore() is None
    assert names(tmp_path) == []


def test_clear_removes_them_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "result.json").touch()
    make_checkpoints(tmp_path).clear()
    assert names(tmp_path) == ["result.json"]


def test_a_full_disk_leaves_no_half_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = make_checkpoints(tmp_path, num_steps=2)

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(durable, "sync", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.offer(HISTORY, lambda: {"weight.a": torch.zeros(1)})
    assert names(tmp_path) == ["ckpt-1", "ckpt-2"]


def test_a_run_is_named_by_its_spec_and_by_the_weights_of_its_base_model() -> None:
    assert len({run_digest("a", "b"), run_digest("a", "c"), run_digest("b", "b")}) == 3
