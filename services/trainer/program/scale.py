"""Scale a finished adapter, without training it again: `python -m services.trainer.program.scale ADAPTER SCALE...`.

Between 0, the base model, and 1 lie points that cost no training: less of the role for more of what the base model was.
Each scale gets a folder beside the adapter's, which PEFT and serving engines load as any other.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from services.trainer.program.durable import sha256_of, write_json
from services.trainer.program.failures import BadSpec

_WEIGHTS, _MANIFEST, _CARD = "adapter_model.safetensors", "MANIFEST.json", "README.md"


def scaled(tensors: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
    """Return LoRA weights whose product B A, what they add to the base model, is `scale` times as large.

    Only B is scaled: rank and alpha stay what they are, so whoever loads the weights needs to know nothing of it.
    """
    return {
        name: (tensor.float() * scale).to(tensor.dtype) if "lora_B" in name and scale != 1.0 else tensor
        for name, tensor in tensors.items()
    }


def scale_folder(adapter: Path, scale: float, target: Path) -> None:
    """Write the adapter of a folder, `scale` (above 0, up to 1) times as strong, into a new folder.

    Manifest and card say so (`training.scaled_by`); the digests of the changed files are corrected. Scaled again, the
    factors multiply. Raises BadSpec.
    """
    if not 0 < scale <= 1:
        raise BadSpec(f"a scale is above 0 and at most 1, and {scale:g} is not")
    shutil.copytree(adapter, target)
    weights = scaled(load_file(adapter / _WEIGHTS), scale)
    save_file(weights, target / _WEIGHTS, metadata={"format": "pt"})
    if (target / _MANIFEST).is_file():
        _tell(target, scale)


def _tell(folder: Path, scale: float) -> None:
    manifest = json.loads((folder / _MANIFEST).read_text("utf-8"))
    training = manifest["training"]
    training["scaled_by"] = scale * training.get("scaled_by", 1.0)
    with (folder / _CARD).open("a", encoding="utf-8") as card:
        card.write(f"\nAfter the training the adapter was scaled by {scale:g}; its effect in the manifest is older.\n")
    manifest["files"] = {name: sha256_of(folder / name) for name in manifest["files"]}
    write_json(folder / _MANIFEST, manifest)


def main(arguments: list[str] | None = None) -> None:
    """Write a folder for each scale, and print its path."""
    parser = argparse.ArgumentParser(prog="python -m services.trainer.program.scale", description=__doc__)
    parser.add_argument("adapter", type=Path, help="folder of a finished adapter")
    parser.add_argument("scales", type=float, nargs="+", help="above 0, up to 1")
    options = parser.parse_args(arguments)
    for scale in options.scales:
        target = options.adapter.with_name(f"{options.adapter.name}-{scale:g}")
        scale_folder(options.adapter, scale, target)
        sys.stdout.write(f"{target}\n")


if __name__ == "__main__":
    main()
