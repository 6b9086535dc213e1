"""What scores must equal: each sample alone, in a model as transformers loads it, through transformers' own forward.

Shapes: B samples, T response tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from rolekeeper.lm.catalog import ModelEntry
from rolekeeper.lm.encode import EncodedSample
from rolekeeper.lm.load import LoadedModel, load_base
from tests.tiny import Architecture, make_tiny_model

FAMILIES: tuple[Architecture, ...] = ("llama3", "qwen2", "gemma2", "smollm2")


class Pair(NamedTuple):
    """A model as Rolekeeper loads it, and the same as transformers does."""

    ours: LoadedModel
    naive: PreTrainedModel


def make_pair(folder: Path, family: Architecture, seed: int = 0) -> Pair:
    """Make a tiny model and load it both ways."""
    make_tiny_model(folder, seed, family)
    entry = ModelEntry(alias=family, source="folder", location=str(folder), public_id=f"tests/{family}", license="none")
    naive = AutoModelForCausalLM.from_pretrained(folder).eval().requires_grad_(False)
    return Pair(load_base(entry, device="cpu"), naive)


def naive_mean(model: PreTrainedModel, sample: EncodedSample) -> float:
    """Mean log-prob of the response: the whole sample at once, the logits of every position."""
    ids = torch.tensor([sample.prompt_ids + sample.response_ids])
    with torch.inference_mode():
        logprobs_TV = torch.log_softmax(model(input_ids=ids, use_cache=False).logits[0].float(), dim=-1)
    start = len(sample.prompt_ids)
    return float(logprobs_TV[range(start - 1, ids.shape[1] - 1), sample.response_ids].double().mean())


def naive_means(model: PreTrainedModel, samples: Sequence[EncodedSample]) -> Tensor:
    """One mean for each sample; what is asked twice is computed once."""
    keys = [(tuple(sample.prompt_ids), tuple(sample.response_ids)) for sample in samples]
    means = {key: naive_mean(model, sample) for key, sample in dict(zip(keys, samples, strict=True)).items()}
    return torch.tensor([means[key] for key in keys], dtype=torch.float64)


def means_of(logprobs: Sequence[Tensor]) -> Tensor:
    """One mean for each sample, of the log-probs of its tokens."""
    return torch.stack([logprobs_T.double().mean() for logprobs_T in logprobs])
