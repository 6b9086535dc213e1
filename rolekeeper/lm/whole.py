"""A model's weights as a whole: by name, and exchanged for those of another model of the same shape."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel

from rolekeeper.lm.load import LoadedModel


def own_weights(model: PreTrainedModel) -> dict[str, Tensor]:
    """Return the tensors that make the model, by name: the very objects, not copies.

    A weight that is tied to another is there once, under its first name, as transformers saves it.
    """
    first_names = dict(model.named_parameters())
    twins = dict(model.named_parameters(remove_duplicate=False)).keys() - first_names.keys()
    return {name: tensor for name, tensor in model.state_dict(keep_vars=True).items() if name not in twins}


@contextmanager
def attach_weights(loaded: LoadedModel, path: Path) -> Iterator[PreTrainedModel]:
    """Yield the model with the weights of a safetensors file in place of its own; one at a time for each model.

    The file must hold exactly the names and shapes of `own_weights`. On exit the base model is the one it was, bit for
    bit: its own tensors are put back.
    """
    weights = own_weights(loaded.model)
    originals = {name: weight.data for name, weight in weights.items()}
    try:
        for name, tensor in load_file(path, device=str(loaded.device)).items():
            weights[name].data = tensor.to(originals[name].dtype)
        yield loaded.model
    finally:
        for name, weight in weights.items():
            weight.data = originals[name]
