"""Training of all weights: the base model itself becomes the policy, and a whole model is what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel, set_seed
from transformers import __version__ as transformers_version

from rolekeeper.contracts.jobs import Hyperparameters
from rolekeeper.contracts.training import TrainResult, TrainSpec
from rolekeeper.lm.linear import use_onednn
from rolekeeper.lm.load import LoadedModel, no_progress_bars
from rolekeeper.lm.whole import own_weights
from services.trainer.program.card import render_model_card
from services.trainer.program.data import TrainingData
from services.trainer.program.engine import Engine
from services.trainer.program.failures import Diverged
from services.trainer.program.loop import Curves
from services.trainer.program.save import (
    checked_logits,
    describe_base,
    describe_data,
    describe_training,
    measure_effect,
    publish,
)

WEIGHTS = "model.safetensors"


def free_weights(base: PreTrainedModel, hyper: Hyperparameters) -> PreTrainedModel:
    """Make every weight of the base model trainable. The model in memory is the base no more: forget it afterwards.

    It stays in eval mode, as under an adapter.
    """
    set_seed(hyper.seed)
    for weight in base.parameters():
        # Frozen weights on the CPU lie transposed in memory (rolekeeper.lm.linear).
        weight.data = weight.data.contiguous()
    base.requires_grad_(True)
    base.eval()
    return base


def whole_weights(policy: PreTrainedModel, engine: Engine) -> dict[str, Tensor]:
    """Return the tensors that make the model, by name, in the memory of the CPU. All processes must ask; only the
    leader gets them."""
    whole = {name: engine.whole(tensor) for name, tensor in own_weights(policy).items()}
    return {name: tensor for name, tensor in whole.items() if tensor is not None}


def save_model(policy: PreTrainedModel, tensors: Mapping[str, Tensor], loaded: LoadedModel, folder: Path) -> None:
    """Write weights (in the dtype of training), config and tokenizer as transformers does. Raises Diverged."""
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise Diverged(f"the trained model's {name} is not finite: lower learning_rate")
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    policy.config.save_pretrained(folder)
    if policy.generation_config is not None:
        policy.generation_config.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)


def publish_model(
    spec: TrainSpec,
    loaded: LoadedModel,
    data: TrainingData,
    base_TV: Tensor,
    curves: Curves,
    folder: Path,
) -> TrainResult:
    """Check and complete the folder that holds the model, pack it, and publish tar and result in the spec's work_dir.

    `base_TV` are the base model's `checked_logits`, from before the training. Raises Diverged and BadSpec.
    """
    with no_progress_bars():
        tuned = cast(PreTrainedModel, AutoModelForCausalLM.from_pretrained(folder, dtype=loaded.dtype))
    nn.Module.to(tuned, loaded.device).eval().requires_grad_(False)
    use_onednn(tuned)  # as the base model: the same weights give the same logits
    effect = measure_effect(base_TV, checked_logits(tuned, data), data)
    card = render_model_card(spec, loaded.entry, data, loaded.digest, curves.validation_losses)
    (folder / "README.md").write_text(card, encoding="utf-8")
    manifest: Mapping[str, object] = {
        "base_model": describe_base(loaded),
        "data": describe_data(spec, data),
        "training": describe_training(spec, data, curves),
        "effect": {"loaded_by": f"transformers {transformers_version}", **effect._asdict()},
    }
    return publish(spec, loaded.digest, data, curves, manifest, folder)
