"""The LoRA adapter on a base model that stays in memory."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel, set_seed

from rolekeeper.contracts.jobs import Hyperparameters, Method
from rolekeeper.lm.forward import unwrap
from rolekeeper.lm.linear import use_onednn
from rolekeeper.lm.load import BaseModelUnusable
from rolekeeper.method.sppft import safety_layers
from services.trainer.program.policy import Policy

PROJECTIONS = ("down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj")
"""Named one by one: serving engines need the names, and must never meet an embedding or the output head."""


_LAYER = re.compile(r"\.layers\.(\d+)\.")


@contextlib.contextmanager
def fresh_adapter(base: PreTrainedModel, hyper: Hyperparameters) -> Iterator[PeftModel]:
    """Yield `base` under a new adapter, seeded from the job. At the end the base model is as it was.

    It stays in eval mode: a base model with dropout would otherwise differ from its own reference by chance.
    Raises BaseModelUnusable if the base model lacks one of PROJECTIONS.
    """
    _check_projections(base)
    set_seed(hyper.seed)
    config = LoraConfig(
        r=hyper.lora_rank,
        lora_alpha=hyper.lora_alpha,
        lora_dropout=0.0,
        bias="none",
        target_modules=list(PROJECTIONS),
        task_type="CAUSAL_LM",
    )
    policy = get_peft_model(base, config)
    use_onednn(policy)
    try:
        yield policy.eval()
    finally:
        policy.unload()


def freeze(policy: Policy, method: Method) -> None:
    """Take from training the layers that a method leaves as they are: `sppft` the safety layers, the others none."""
    if method.name != "sppft":
        return
    layers = safety_layers(unwrap(policy).config.get_text_config().num_hidden_layers)
    for name, weight in policy.named_parameters():
        found = _LAYER.search(name)
        if found and int(found[1]) in layers:
            weight.requires_grad_(False)


def _check_projections(base: PreTrainedModel) -> None:
    present = {name.rpartition(".")[2] for name, _ in base.named_modules()}
    missing = [name for name in PROJECTIONS if name not in present]
    if missing:
        raise BaseModelUnusable(
            f"models of type {base.config.model_type!r} have no {', '.join(missing)}, which the adapter is made for; "
            "choose another base model"
        )
