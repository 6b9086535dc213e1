"""Forward passes for responses. The vocabulary projection runs on the rows that predict response tokens only.

Shapes: B samples, S positions (padded), T response tokens of all samples, flat, D hidden, V vocabulary.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.nn import functional
from transformers import DynamicCache, PreTrainedConfig, PreTrainedModel

from rolekeeper.errors import RolekeeperError
from rolekeeper.lm.batch import common_prefix, token_budget_batches
from rolekeeper.lm.cascade import Cascade, UnknownAttention, packed_hidden
from rolekeeper.lm.encode import EncodedSample
from rolekeeper.lm.packing import ROW_MULTIPLE, can_pack, packed_rows, pad_row
from rolekeeper.lm.prefix import Layers, PrefixCache
from rolekeeper.method.logprobs import token_logprobs

_PROJECTION_ROWS = 128
"""Rows of logits held at once while scoring: 128 x V x 4 bytes, 25 MB at a vocabulary of 49,152. More are slower: what
does not fit the allocator's kept memory is mapped anew each time."""


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


class Responses(NamedTuple):
    """Last hidden states [T, D] of the rows that predict response tokens, those tokens, and the sample of each.

    `sample_T` are positions in the list of samples that was given, in its order.
    """

    hidden_TD: Tensor
    labels_T: Tensor
    sample_T: Tensor


def response_rows(model: nn.Module, samples: Sequence[EncodedSample]) -> Responses:
    """Run samples in one pass, without padding where the model can. Gradients flow.

    Naive twin: `collate` and `response_hidden`.
    """
    causal = unwrap(model)
    if can_pack(causal):
        with contextlib.suppress(UnknownAttention):
            return _packed_rows(causal, samples)
    batch = collate(samples, pad_id=0, device=causal.device)
    return Responses(response_hidden(model, batch), batch.labels_T, batch.sample_T)


def project(model: nn.Module, hidden_TD: Tensor) -> Tensor:
    """Return the logits [T, V] of hidden states, in the dtype of the model, as the model's own forward gives them."""
    causal = unwrap(model)
    return apply_head(causal.get_output_embeddings(), causal.config, hidden_TD)


def apply_head(head: Callable[[Tensor], Tensor], config: PreTrainedConfig, hidden_TD: Tensor) -> Tensor:
    """Return the logits [T, V] of hidden states by an output head, softcapped as the config of its model says."""
    logits_TV = head(hidden_TD)
    softcap = getattr(config, "final_logit_softcapping", None)
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
    prefixes: PrefixCache | None = None,
) -> list[Tensor]:
    """Return the log-prob of each response token, fp32 on the CPU, one tensor per sample in the order given.

    The longest id prefix that all prompts share (the template's head and the system prompt) is run once, and its keys
    and values serve every batch; `prefixes` keeps them for the next call. Equal to `naive_logprobs` of each sample, up
    to the order of additions. `before_batch` is called before each forward pass; what it raises ends the work.
    """
    if not samples:
        return []
    causal = unwrap(model)
    prefixes = PrefixCache() if prefixes is None else prefixes
    results: list[Tensor] = [torch.empty(0)] * len(samples)
    with torch.inference_mode():
        before_batch()
        # The position that predicts the first response token must stay in the suffix.
        layers, past = prefixes.get(causal, common_prefix([sample.prompt_ids[:-1] for sample in samples]))
        suffixes = [sample._replace(prompt_ids=sample.prompt_ids[past:]) for sample in samples]
        batches = _Batches(causal, suffixes, layers, max_batch_tokens, max_batch_rows, before_batch)
        for indices, hidden_TD, labels_T in batches.run():
            logprobs_T = _label_logprobs(causal, hidden_TD, labels_T)
            by_sample = logprobs_T.cpu().split([len(samples[index].response_ids) for index in indices])
            for index, sample_logprobs_T in zip(indices, by_sample, strict=True):
                results[index] = sample_logprobs_T
    return results


def response_states(
    model: nn.Module, samples: Sequence[EncodedSample], max_batch_tokens: int = 2048, max_batch_rows: int = 64
) -> list[Tensor]:
    """Return the last hidden states [T, D] of the rows that predict each sample's response, in the order given.

    `project` makes exact logits of them, at a D/V of the memory. A PeftModel's adapter is used as it is switched.
    """
    states: list[Tensor] = [torch.empty(0)] * len(samples)
    with torch.no_grad():
        batches = _Batches(unwrap(model), samples, [], max_batch_tokens, max_batch_rows, lambda: None)
        for indices, hidden_TD, _ in batches.run():
            by_sample = hidden_TD.split([len(samples[index].response_ids) for index in indices])
            for index, sample_TD in zip(indices, by_sample, strict=True):
                states[index] = sample_TD.clone()  # a view would keep the states of the whole batch alive
    return states


def naive_logprobs(model: nn.Module, sample: EncodedSample) -> Tensor:
    """Return the log-prob of each response token of one sample, alone and without a shared prefix, fp32 on the CPU."""
    with torch.inference_mode():
        batch = collate([sample], pad_id=0, device=unwrap(model).device)
        return _label_logprobs(unwrap(model), response_hidden(model, batch), batch.labels_T).cpu()


def unwrap(model: nn.Module) -> PreTrainedModel:
    """Return the causal LM inside a PeftModel, or the model itself."""
    causal = model.get_base_model() if isinstance(model, PeftModel) else model
    return cast(PreTrainedModel, causal)


def check_projection(model: PreTrainedModel) -> None:
    """Raise UnknownProjection if `project` is not how this model makes its logits (scaled logits, extra heads)."""
    input_ids_BS = torch.arange(8, device=model.device).unsqueeze(0) % model.config.get_text_config().vocab_size
    with torch.inference_mode():
        ours_TV = project(model, _trunk(model)(input_ids=input_ids_BS, use_cache=False).last_hidden_state[0])
        theirs_TV = model(input_ids=input_ids_BS, use_cache=False).logits[0]
    # Weights that hold NaN are found where they matter: with the sample.
    if not torch.allclose(ours_TV.float(), theirs_TV.float(), rtol=1e-3, atol=1e-3, equal_nan=True):
        raise UnknownProjection(
            f"models of type {model.config.model_type!r} turn hidden states into logits in a way that Rolekeeper "
            "does not know; choose another base model"
        )


class _Hidden(NamedTuple):
    """Last hidden states [T, D] of the rows that predict the responses of some samples, one sample after the other."""

    indices: list[int]
    hidden_TD: Tensor
    labels_T: Tensor


@dataclass(frozen=True)
class _Batches:
    """Samples without their prefix, and how they go through the model."""

    model: PreTrainedModel
    samples: Sequence[EncodedSample]
    layers: Layers
    max_tokens: int
    max_rows: int
    before_batch: Callable[[], None]

    def run(self) -> Iterator[_Hidden]:
        """Yield every sample once: from packed rows where the model can, else from padded batches."""
        if can_pack(self.model):
            # The first packed row tells; nothing has been yielded then.
            with contextlib.suppress(UnknownAttention):
                yield from self._packed()
                return
        yield from self._padded()

    def _packed(self) -> Iterator[_Hidden]:
        past = self.layers[0][0].shape[-2] if self.layers else 0
        for row in (pad_row(row, past) for row in packed_rows(self.samples, past, self.max_tokens)):
            self.before_batch()
            cascade = Cascade(self.layers, row.groups)
            hidden_TD = packed_hidden(self.model, row.input_ids_T, row.position_ids_T, cascade)
            yield _Hidden(row.samples, hidden_TD[row.rows_R], row.labels_R)

    def _padded(self) -> Iterator[_Hidden]:
        lengths = [len(sample.prompt_ids) + len(sample.response_ids) for sample in self.samples]
        for indices in token_budget_batches(lengths, self.max_tokens, self.max_rows):
            self.before_batch()
            batch = collate([self.samples[index] for index in indices], pad_id=0, device=self.model.device)
            if self.layers:
                yield _Hidden(indices, _hidden_after_prefix(self.model, batch, self.layers), batch.labels_T)
            else:
                yield _Hidden(indices, response_hidden(self.model, batch), batch.labels_T)


def _packed_rows(model: PreTrainedModel, samples: Sequence[EncodedSample]) -> Responses:
    (row,) = packed_rows(samples, 0, sum(len(sample.prompt_ids) + len(sample.response_ids) for sample in samples))
    row = pad_row(row, 0)
    hidden_TD = packed_hidden(model, row.input_ids_T, row.position_ids_T, Cascade([], row.groups))
    num_tokens = torch.tensor([len(samples[index].response_ids) for index in row.samples])
    packed_T = torch.repeat_interleave(torch.tensor(row.samples), num_tokens)
    sample_T, order_T = packed_T.sort(stable=True)
    return Responses(hidden_TD[row.rows_R[order_T]], row.labels_R[order_T], sample_T)


def _label_logprobs(model: PreTrainedModel, hidden_TD: Tensor, labels_T: Tensor) -> Tensor:
    num_tokens = len(labels_T)
    num_pads = -num_tokens % ROW_MULTIPLE
    chunks = zip(
        functional.pad(hidden_TD, (0, 0, 0, num_pads)).split(_PROJECTION_ROWS),
        functional.pad(labels_T, (0, num_pads)).split(_PROJECTION_ROWS),
        strict=True,
    )
    return torch.cat([token_logprobs(project(model, rows_TD), labels_T) for rows_TD, labels_T in chunks])[:num_tokens]


def _trunk(model: nn.Module) -> nn.Module:
    return unwrap(model).base_model


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
