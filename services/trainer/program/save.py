"""From trained weights to one tar: PEFT layout, a check that the adapter works, a manifest, and the result.

The model that `training: full` makes is completed in `full.py` and published here.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import PeftModel, get_peft_model_state_dict
from peft import __version__ as peft_version
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor

from rolekeeper import __version__
from rolekeeper.contracts.jobs import Hyperparameters
from rolekeeper.contracts.training import TrainResult, TrainSpec
from rolekeeper.errors import StageFailed
from rolekeeper.lm.catalog import ModelEntry
from rolekeeper.lm.forward import collate, response_logits
from rolekeeper.lm.load import LoadedModel
from services.trainer.program.adapter import targets_of
from services.trainer.program.card import render_card
from services.trainer.program.data import TrainingData, system_prompt
from services.trainer.program.durable import publish_file, scratch_folder, sha256_of, write_json
from services.trainer.program.failures import BadSpec, Diverged
from services.trainer.program.loop import Curves
from services.trainer.program.policy import Policy
from services.trainer.program.scale import scaled
from services.trainer.program.spec import spec_digest

RESULT = "result.json"

_MANIFEST = "MANIFEST.json"
_WEIGHTS = "adapter_model.safetensors"
_CHECKED_SAMPLES = 4
_NO_DIFFERENCE = 1e-9
"""Of logits. A token whose embedding was all zeros has moved by any step, if by nothing that counts."""
_WEIGHT_NAME = re.compile(r"base_model\.model\..+\.lora_[AB]\.weight")


class Effect(NamedTuple):
    """What the written weights do to the base model when its own library loads them. The difference is of logits."""

    num_samples: int
    max_difference: float


def save_weights(policy: PeftModel, folder: Path, scale: float = 1.0) -> None:
    """Write the adapter's weights times `scale`, float16, under the names that PEFT gives them. Raises Diverged."""
    tensors = scaled(get_peft_model_state_dict(policy, save_embedding_layers=False), scale)
    halves = {name: tensor.detach().to("cpu", torch.float16).contiguous() for name, tensor in tensors.items()}
    for name, half in halves.items():
        if not _WEIGHT_NAME.fullmatch(name):
            raise StageFailed(f"the adapter holds {name}, which is not a LoRA weight; serving engines would refuse it")
        if not half.isfinite().all():
            raise Diverged(f"the adapter's {name} does not fit in float16: lower learning_rate")
    save_file(halves, folder / _WEIGHTS, metadata={"format": "pt"})


def check_effect(loaded: LoadedModel, data: TrainingData, folder: Path) -> Effect:
    """Load the written adapter by plain PEFT and compare its logits to the base model's.

    Raises Diverged if they are not finite, BadSpec if they are the same.
    """
    base_TV = checked_logits(loaded.model, data)
    with torch.no_grad():
        policy = PeftModel.from_pretrained(loaded.model, str(folder))
        try:
            tuned_TV = checked_logits(policy.eval(), data)
        finally:
            policy.unload()
    return measure_effect(base_TV, tuned_TV, data)


def checked_logits(model: Policy, data: TrainingData) -> Tensor:
    """Return the response logits [T, V] of the few samples that a check looks at."""
    batch = collate(data.samples[:_CHECKED_SAMPLES], pad_id=0, device=model.device)
    with torch.no_grad():
        return response_logits(model, batch)


def measure_effect(base_TV: Tensor, tuned_TV: Tensor, data: TrainingData) -> Effect:
    """Compare checked logits. Raises Diverged if they are not finite, BadSpec if they are the same."""
    difference = float((tuned_TV.float() - base_TV.float()).abs().max())
    if not tuned_TV.isfinite().all():
        raise Diverged("the trained weights give logits that are not finite: lower learning_rate")
    if difference < _NO_DIFFERENCE:
        raise BadSpec("the training changes nothing: raise learning_rate or epochs")
    return Effect(len(data.samples[:_CHECKED_SAMPLES]), difference)


def save_adapter(spec: TrainSpec, loaded: LoadedModel, data: TrainingData, curves: Curves, folder: Path) -> TrainResult:
    """Complete the folder that holds the weights, pack it, and publish tar and result in the spec's work_dir."""
    write_json(folder / "adapter_config.json", adapter_config(spec.hyperparameters, loaded.entry))
    effect = check_effect(loaded, data, folder)
    merged = None if loaded.entry.adapter is None else sha256_of(Path(loaded.entry.adapter) / _WEIGHTS)
    card = render_card(spec, loaded.entry, data, loaded.digest, merged, curves.validation_losses)
    (folder / "README.md").write_text(card, encoding="utf-8")
    manifest = {
        "base_model": describe_base(loaded, merged),
        "data": describe_data(spec, data),
        "training": describe_training(spec, data, curves),
        "effect": {"loaded_by": f"peft {peft_version}", **effect._asdict()},
    }
    return publish(spec, loaded.digest, data, curves, manifest, folder)


def publish(
    spec: TrainSpec,
    base_digest: str,
    data: TrainingData,
    curves: Curves,
    manifest: Mapping[str, Any],
    folder: Path,
) -> TrainResult:
    """Write the manifest beside the files that it names, pack the folder, and publish tar and result in work_dir."""
    facts = {
        "format": 1,
        "product": {"name": "rolekeeper", "version": __version__},
        "spec_digest": spec_digest(spec),
        "files": {path.name: sha256_of(path) for path in sorted(folder.iterdir())},
    }
    write_json(folder / _MANIFEST, {**manifest, **facts})
    work_dir = Path(spec.work_dir).absolute()
    tar = _publish_tar(folder, work_dir)
    result = TrainResult(
        adapter_path=str(tar),
        adapter_sha256=sha256_of(tar),
        adapter_bytes=tar.stat().st_size,
        base_digest=base_digest,
        num_steps=len(curves.losses),
        num_selected=sum(data.harmful),
        num_samples=len(data.training),
        hyperparameters=spec.hyperparameters,
        first_loss=curves.losses[0],
        last_loss=curves.losses[-1],
        losses=curves.losses,
        validation_losses=curves.validation_losses,
    )
    with scratch_folder(work_dir) as scratch:
        write_json(scratch / RESULT, result.model_dump(mode="json"))
        publish_file(scratch / RESULT, work_dir / RESULT)
    return result


def find_result(spec: TrainSpec) -> TrainResult | None:
    """Return the result that lies in work_dir, if it is of this very spec and its tar is whole."""
    work_dir = Path(spec.work_dir).absolute()
    try:
        result = TrainResult.model_validate_json((work_dir / RESULT).read_bytes())
        path = _tar_path(work_dir, result.adapter_sha256)
        if sha256_of(path) != result.adapter_sha256:
            return None
        with tarfile.open(path) as tar:
            member = tar.extractfile(_MANIFEST)
            manifest = json.load(member) if member else {}
    except (OSError, ValidationError, tarfile.TarError, KeyError, ValueError):
        return None
    if manifest.get("spec_digest") != spec_digest(spec):
        return None
    # The folder may have moved since.
    return result.model_copy(update={"adapter_path": str(path)})


def adapter_config(hyper: Hyperparameters, entry: ModelEntry) -> dict[str, Any]:
    """The adapter_config.json: what every engine reads, and nothing that one of them would misread."""
    return {
        "alpha_pattern": {},
        "auto_mapping": None,
        "base_model_name_or_path": entry.public_id,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "layers_pattern": None,
        "layers_to_transform": None,
        "lora_alpha": hyper.lora_alpha,
        "lora_dropout": 0.0,
        "modules_to_save": None,
        "peft_type": "LORA",
        "peft_version": peft_version,
        "r": hyper.lora_rank,
        "rank_pattern": {},
        "revision": entry.revision,
        "target_modules": list(targets_of(hyper)),
        "task_type": "CAUSAL_LM",
        "use_dora": False,
        "use_rslora": False,
    }


def describe_base(loaded: LoadedModel, merged_sha256: str | None = None) -> dict[str, Any]:
    """The base model in a manifest."""
    content = {
        "alias": loaded.entry.alias,
        "public_id": loaded.entry.public_id,
        "revision": loaded.entry.revision,
        "digest": loaded.digest,
    }
    if merged_sha256 is not None:
        content["merged_adapter_sha256"] = merged_sha256
        content["note"] = "load the adapter over this aligned base model, as README.md tells, not over the raw one"
    return content


def describe_data(spec: TrainSpec, data: TrainingData) -> dict[str, Any]:
    """The training data in a manifest."""
    content = {
        "sha256": spec.samples_sha256,
        "num_samples": len(data.samples),
        "num_validation": len(data.validation),
        "num_selected": sum(data.harmful),
        "num_truncated": sum(sample.truncated for sample in data.samples),
        "num_shortened": sum(sample.dropped_messages > 0 for sample in data.samples),
        "system_prompt": system_prompt(spec),
    }
    if data.chosen is not None:
        # Lines of the training data, from 0: anchored, or with seal_filter left out.
        content["chosen"] = list(data.chosen)
    files = {"safe": spec.safe, "harmful": spec.harmful}
    return content | {f"{name}_sha256": file.sha256 for name, file in files.items() if file is not None}


def describe_training(spec: TrainSpec, data: TrainingData, curves: Curves) -> dict[str, Any]:
    """What was done, in a manifest."""
    losses = curves.losses
    content = {
        "method": spec.method.model_dump(mode="json"),
        "hyperparameters": spec.hyperparameters.model_dump(mode="json"),
        "max_batch_tokens": spec.max_batch_tokens,
        "num_steps": len(losses),
        "num_learned": len(data.training),
        "num_truncated": data.num_truncated,
        "first_loss": losses[0],
        "last_loss": losses[-1],
        "least_loss": min(losses),
        "losses": list(losses),
    }
    more = {"validation_losses": list(curves.validation_losses), "anchor_kl": curves.anchor_kl}
    return content | {name: value for name, value in more.items() if value not in ([], None)}


def _publish_tar(folder: Path, work_dir: Path) -> Path:
    """Pack the folder: the same files give the same bytes. PAX is plain USTAR unless a file is larger than 8 GiB."""
    with scratch_folder(work_dir) as scratch:
        packed = scratch / "adapter.tar"
        with tarfile.open(packed, "w", format=tarfile.PAX_FORMAT) as tar:
            for path in sorted(folder.iterdir()):
                member = tarfile.TarInfo(path.name)
                member.size = path.stat().st_size
                member.mode = 0o644
                with path.open("rb") as stream:
                    tar.addfile(member, stream)
        target = _tar_path(work_dir, sha256_of(packed))
        publish_file(packed, target)
    return target


def _tar_path(work_dir: Path, sha256: str) -> Path:
    return work_dir / f"adapter-{sha256}.tar"
