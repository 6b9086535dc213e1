"""The model that is trained: an adapter over the frozen base model, or the base model with all of its weights."""

from __future__ import annotations

from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel

from rolekeeper.lm.forward import unwrap

Policy = PeftModel | PreTrainedModel


def trains_all_weights(policy: Policy) -> bool:
    """Whether the base model's own weights are trained, so that it is no reference any more."""
    return not isinstance(policy, PeftModel)


def is_spread(policy: Policy) -> bool:
    """Whether ZeRO-3 has spread the policy's weights over processes: what lies in them is not the weights then."""
    return any(hasattr(weight, "ds_id") for weight in policy.parameters())


def trained_weights(policy: Policy) -> dict[str, nn.Parameter]:
    """The weights that training moves, by name."""
    return {name: weight for name, weight in policy.named_parameters() if weight.requires_grad}


def trained_head(policy: Policy) -> list[nn.Parameter]:
    """The weights of the output head that training moves; none under an adapter."""
    return [weight for weight in unwrap(policy).get_output_embeddings().parameters() if weight.requires_grad]
