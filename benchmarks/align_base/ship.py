"""The adapter and its record on disk: deterministic bytes, no machine path and no copied text."""

from __future__ import annotations

import json
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import save_file

from benchmarks.align_base.prompts import FOLDER
from benchmarks.align_base.read import INPUTS, sha256_of

BASE_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"
RECIPE_FILE = "recipe.json"
MAX_BYTES = 12_000_000


class AdapterTooLarge(ValueError):
    """The adapter would be larger than what is shipped."""


def save_adapter(policy: PeftModel, folder: Path) -> None:
    """Writes the adapter in PEFT layout, its weights in fp16. Raises AdapterTooLarge over 12 MB."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: weight.to(torch.float16) for name, weight in sorted(get_peft_model_state_dict(policy).items())}
    num_bytes = sum(weight.nbytes for weight in weights.values())
    if num_bytes > MAX_BYTES:
        raise AdapterTooLarge(f"the adapter has {num_bytes} bytes, more than {MAX_BYTES}: lower the rank")
    save_file(weights, folder / WEIGHTS_FILE, {"format": "pt"})
    (folder / WEIGHTS_FILE).chmod(0o644)
    config = policy.peft_config["default"].to_dict() | {"base_model_name_or_path": BASE_MODEL, "inference_mode": True}
    write_json(folder / CONFIG_FILE, {key: in_order(value) for key, value in config.items()})


def in_order(value: Any) -> Any:
    """Sets as sorted lists: their own order changes from process to process."""
    return sorted(value) if isinstance(value, set) else value


def digest_inputs(data: Path, distribution_name: str, gguf_file: str) -> dict[str, str]:
    """sha256 of the base weights, of the data files and of the prompt lists."""
    weights = next(file for file in distribution(distribution_name).files or () if file.name == gguf_file)
    digests = {gguf_file: sha256_of(Path(str(weights.locate())))}
    digests |= {name: sha256_of(data / name) for name in INPUTS}
    return digests | {f"prompts/{path.name}": sha256_of(path) for path in sorted(FOLDER.glob("*.txt"))}


def package_versions() -> dict[str, str]:
    """Versions of the packages that the bytes may depend on."""
    return {name: version(name) for name in ("torch", "transformers", "peft", "safetensors")}


def write_json(path: Path, content: object) -> None:
    """Writes indented JSON with sorted keys."""
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
