"""Adapter tars as the training program makes them, and ones that it would not make."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save

from rolekeeper.lm.load import LoadedModel

PEFT_ASKS_BY_AN_OLD_NAME = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
PROJECTIONS = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]


def make_tensors(loaded: LoadedModel, rank: int = 8) -> dict[str, torch.Tensor]:
    """Random LoRA weights, large enough to change what a tiny model says."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=PROJECTIONS, task_type="CAUSAL_LM")
        policy = get_peft_model(loaded.model, config)
        try:
            tensors = get_peft_model_state_dict(policy, save_embedding_layers=False)
            return {name: (torch.randn(tensor.shape) * 0.3).half() for name, tensor in tensors.items()}
        finally:
            policy.unload()


def make_config(**changes: Any) -> dict[str, Any]:
    """The content of an adapter_config.json."""
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "tests/tiny",
        "r": 8,
        "lora_alpha": 16,
        "target_modules": PROJECTIONS,
        "bias": "none",
    }
    return {**config, **changes}


def make_files(loaded: LoadedModel) -> dict[str, bytes]:
    """The files of a good adapter."""
    manifest = {"format": 1, "base_model": {"alias": loaded.entry.alias, "digest": loaded.digest, "revision": None}}
    return {
        "MANIFEST.json": json.dumps(manifest).encode(),
        "README.md": b"# Po\n",
        "adapter_config.json": json.dumps(make_config()).encode(),
        "adapter_model.safetensors": save(make_tensors(loaded)),
    }


def pack(files: dict[str, bytes], *more: tarfile.TarInfo) -> bytes:
    """A tar of these files, and of members without content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in more:
            tar.addfile(member)
    return buffer.getvalue()


def write(path: Path, content: bytes) -> Path:
    """Write and return the path."""
    path.write_bytes(content)
    return path
