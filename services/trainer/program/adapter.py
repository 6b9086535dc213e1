"""The LoRA adapter on a base model that stays in memory."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence

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


_QUERY_AND_VALUE = ("q_proj", "v_proj")

_LAYER = re.compile(r"\.layers\.(\d+)\.")


def targets_of(hyper: Hyperparameters) -> tuple[str, ...]:
    """The projections that get an adapter, in the order of their names."""
    return _QUERY_AND_VALUE if hyper.lora_targets == "q_v" else PROJECTIONS


@contextlib.contextmanager
def fresh_adapter(base: PreTrainedModel, hyper: Hyperparameters) -> Iterator[PeftModel]:
    """Yield `base` under a new adapter, seeded from the job. At the end the base model is as it was.

    It stays in eval mode: a base model with dropout would otherwise differ from its own reference by chance.
    Raises BaseModelUnusable if the base model lacks a projection that the adapter is for.
    """
    _check_projections(base, targets_of(hyper))
    set_seed(hyper.seed)
    config = LoraConfig(
        r=hyper.lora_rank,
        lora_alpha=hyper.lora_alpha,
        lora_dropout=0.0,
        bias="none",
        target_modules=list(targets_of(hyper)),
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


def _check_projections(base: PreTrainedModel, targets: Sequence[str]) -> None:
    present = {name.rpartition(".")[2] for name, _ in base.named_modules()}
    missing = [name for name in targets if name not in present]
    if missing:
        raise BaseModelUnusable(
            f"models of type {base.config.model_type!r} have no {', '.join(missing)}, which the adapter is made for; "
            "choose another base model"
        )
