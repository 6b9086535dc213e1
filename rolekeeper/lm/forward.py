"""Forward passes for responses. The vocabulary projection runs on the rows that predict response tokens only.

Shapes: B samples, S positions (padded), T response tokens of all samples, flat, D hidden, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from rolekeeper.errors import RolekeeperError
from rolekeeper.lm.batch import token_budget_batches
from rolekeeper.lm.encode import EncodedSample
from rolekeeper.method.logprobs import token_logprobs

_PROJECTION_ROWS = 256
"""Rows of logits held at once while scoring: 256 x V x 4 bytes, 50 MB at a vocabulary of 49,152."""


class UnknownProjection(RolekeeperError):
    """The model turns hidden states into logits in a way that is not known here."""

    code = "base_model_unusable"


class Batch(NamedTuple):
    """A right-padded batch. The last token of each response is not an input: nothing is predicted from it.

    response_mask_BS is True where the next token is a response token. labels_T are those tokens and sample_T the row
    of each, both in the order of `x_BS[response_mask_BS]`.
    """

    input_ids_BS: Tensor
    attention_mask_BS: Tensor
    response_mask_BS: Tensor
    labels_T: Tensor
    sample_T: Tensor


def collate(samples: Sequence[EncodedSample], pad_id: int, device: torch.device | str) -> Batch:
    """Put samples into one right-padded batch."""
    width = max(len(sample.prompt_ids) + len(sample.response_ids) - 1 for sample in samples)
    input_ids_BS = torch.full((len(samples), width), pad_id, dtype=torch.long)
    attention_mask_BS = torch.zeros((len(samples), width), dtype=torch.long)
    response_mask_BS = torch.zeros((len(samples), width), dtype=torch.bool)
    for row, sample in enumerate(samples):
        ids = [*sample.prompt_ids, *sample.response_ids[:-1]]
        input_ids_BS[row, : len(ids)] = torch.tensor(ids)
        attention_mask_BS[row, : len(ids)] = 1
        response_mask_BS[row, len(sample.prompt_ids) - 1 : len(ids)] = True
    labels_T = torch.tensor([label for sample in samples for label in sample.response_ids])
    num_tokens_B = torch.tensor([len(sample.response_ids) for sample in samples])
    sample_T = torch.repeat_interleave(torch.arange(len(samples)), num_tokens_B)
    return Batch(*(x.to(device) for x in (input_ids_BS, attention_mask_BS, response_mask_BS, labels_T, sample_T)))


def response_hidden(model: nn.Module, batch: Batch) -> Tensor:
    """Return the last hidden states [T, D] of the rows that predict response tokens. Gradients flow.

    `model` is a causal LM of transformers, or a PeftModel around one (its adapter is used as it is switched).
    """
    # Padding is on the right and attention is causal, so padding can't be seen: no mask is needed, and without one the
    # fast causal kernels run.
    output = _trunk(model)(input_ids=batch.input_ids_BS, use_cache=False)
    hidden_TD: Tensor = output.last_hidden_state[batch.response_mask_BS]
    return hidden_TD


def project(model: nn.Module, hidden_TD: Tensor) -> Tensor:
    """Return the logits [T, V] of hidden states, in the dtype of the model, as the model's own forward gives them."""
    causal = unwrap(model)
    logits_TV: Tensor = causal.get_output_embeddings()(hidden_TD)
    softcap = getattr(causal.config, "final_logit_softcapping", None)
    return logits_TV if softcap is None else torch.tanh(logits_TV / softcap) * softcap


def response_logits(model: nn.Module, batch: Batch) -> Tensor:
    """Return the logits [T, V] that predict `batch.labels_T`. Gradients flow."""
    return project(model, response_hidden(model, batch))


def response_logprobs(
    model: nn.Module,
    samples: Sequence[EncodedSample],
    max_batch_tokens: int = 2048,
    max_batch_rows: int = 64,
    before_batch: Callable[[], None] = lambda: None,
) -> list[Tensor]:
    """Return the log-prob of each response token, fp32 on the CPU, one tensor per sample in the order given.

    The longest id prefix that all prompts share (the template's head and the system prompt) is run once, and its keys
    and values serve every batch. Equal to a naive run of each sample alone, up to the order of additions.
    `before_batch` is called before each forward pass; what it raises ends the work.
    """
    if not samples:
        return []
    # The position that predicts the first response token must stay in the suffix.
    prefix = _common_prefix([sample.prompt_ids[:-1] for sample in samples])
    suffixes = [sample._replace(prompt_ids=sample.prompt_ids[len(prefix) :]) for sample in samples]
    lengths = [len(suffix.prompt_ids) + len(suffix.response_ids) for suffix in suffixes]
    results: list[Tensor] = [torch.empty(0)] * len(samples)
    with torch.inference_mode():
        before_batch()
        layers = _prefix_layers(model, prefix)
        for indices in token_budget_batches(lengths, max_batch_tokens, max_batch_rows):
            before_batch()
            batch = collate([suffixes[index] for index in indices], pad_id=0, device=unwrap(model).device)
            hidden_TD = _hidden_after_prefix(model, batch, layers) if layers else response_hidden(model, batch)
            chunks = zip(hidden_TD.split(_PROJECTION_ROWS), batch.labels_T.split(_PROJECTION_ROWS), strict=True)
            logprobs_T = torch.cat([token_logprobs(project(model, rows_TD), labels_T) for rows_TD, labels_T in chunks])
            by_sample = logprobs_T.cpu().split([len(suffixes[index].response_ids) for index in indices])
            for index, sample_logprobs_T in zip(indices, by_sample, strict=True):
                results[index] = sample_logprobs_T
    return results


def unwrap(model: nn.Module) -> PreTrainedModel:
    """Return the causal LM inside a PeftModel, or the model itself."""
    causal = model.get_base_model() if isinstance(model, PeftModel) else model
    assert isinstance(causal, PreTrainedModel)  # noqa: S101
    return causal


def check_projection(model: PreTrainedModel) -> None:
    """Raise UnknownProjection if `project` is not how this model makes its logits (scaled logits, extra heads)."""
    input_ids_BS = torch.arange(8, device=model.device).unsqueeze(0) % model.config.get_text_config().vocab_size
    with torch.inference_mode():
        ours_TV = project(model, _trunk(model)(input_ids=input_ids_BS, use_cache=False).last_hidden_state[0])
        theirs_TV = model(input_ids=input_ids_BS, use_cache=False).logits[0]
    if not torch.allclose(ours_TV.float(), theirs_TV.float(), rtol=1e-3, atol=1e-3):
        raise UnknownProjection(
            f"models of type {model.config.model_type!r} turn hidden states into logits in a way that Rolekeeper "
            "does not know; choose another base model"
        )


def _trunk(model: nn.Module) -> nn.Module:
    return unwrap(model).base_model


def _common_prefix(prompts: Sequence[list[int]]) -> list[int]:
    # Every list lies between the smallest and the largest, and so does its beginning.
    first, last = min(prompts), max(prompts)
    length = 0
    while length < min(len(first), len(last)) and first[length] == last[length]:
        length += 1
    return first[:length]


def _prefix_layers(model: nn.Module, prefix: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
    """Keys and values [1, heads, len(prefix), head size] of each layer; nothing for an empty prefix."""
    if not prefix:
        return []
    cache = DynamicCache()
    input_ids_BS = torch.tensor([list(prefix)], device=unwrap(model).device)
    _trunk(model)(input_ids=input_ids_BS, past_key_values=cache, use_cache=True)
    return [(keys, values) for keys, values, *_ in cache]


def _hidden_after_prefix(model: nn.Module, batch: Batch, layers: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    rows, width = batch.input_ids_BS.shape
    past = layers[0][0].shape[-2]
    # A fresh cache for each batch: the model appends to the one that it is given.
    cache = DynamicCache([(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1)) for keys, values in layers])
    past_mask_BS = batch.attention_mask_BS.new_ones((rows, past))
    output = _trunk(model)(
        input_ids=batch.input_ids_BS,
        attention_mask=torch.cat([past_mask_BS, batch.attention_mask_BS], dim=1),
        position_ids=torch.arange(past, past + width, device=batch.input_ids_BS.device).unsqueeze(0),
        past_key_values=cache,
        use_cache=True,
    )
    hidden_TD: Tensor = output.last_hidden_state[batch.response_mask_BS]
    return hidden_TD
