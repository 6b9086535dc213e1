"""Other ways to score the same ids, each with the model as transformers loads it.

Shapes: B samples, S positions (padded), T response tokens of a batch, V vocabulary, N all samples, C contexts.
"""

from __future__ import annotations

import importlib
import logging
import random
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from benchmarks.scoring.workload import Character, Scorer, Workload, num_tokens
from rolekeeper.errors import RolekeeperError
from rolekeeper.lm.encode import EncodedSample

MICRO_BATCH = 2
"""per_device_train_batch_size of the authors' training script."""

_IGNORED = -100


class PeerMissing(RolekeeperError):
    """The package that the benchmark compares with is not installed."""

    code = "peer_missing"


def plain_copy(model: PreTrainedModel) -> PreTrainedModel:
    """A second copy as transformers makes it from the config: its own layers and attention, and the same weights."""
    config = type(model.config).from_dict(model.config.to_dict())
    with torch.random.fork_rng(devices=[]):  # the weights that are drawn first must not change what is drawn later
        copy: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=model.dtype)
    copy.load_state_dict(model.state_dict())
    nn.Module.requires_grad_(copy.eval(), False)
    return copy


def import_peer(module: str) -> Any:
    """A module of the extra `bench`, which only benchmarks need. Raises PeerMissing, which says what to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise PeerMissing(f"this needs {module}: pip install '.[bench]' ({error})") from error


def harness_class() -> type[Any]:
    """HFLM of lm-evaluation-harness. Raises PeerMissing."""
    found: type[Any] = import_peer("lm_eval.models.huggingface").HFLM
    return found


def harness(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch: int) -> Scorer:
    """lm-evaluation-harness: sorted by length, right-padded, logits and log-softmax of every position."""
    logging.getLogger("lm_eval").setLevel(logging.ERROR)  # it warns that it was given a model and not a name
    instance = harness_class()(
        pretrained=model,
        tokenizer=tokenizer,
        backend="causal",
        device="cpu",
        batch_size=batch,
        max_length=2048,
        logits_cache=False,
    )

    def score(requests: Sequence[EncodedSample]) -> list[float]:
        theirs = [(("", ""), request.prompt_ids, request.response_ids) for request in requests]
        answers = instance._loglikelihood_tokens(theirs, disable_tqdm=True)
        return [float(logprob) for logprob, _ in answers]

    return score


def response_only(model: PreTrainedModel, batch: int) -> Scorer:
    """The same order and the same batches, but logits and log-softmax of the response's rows alone."""
    return partial(_score_response_only, model, batch)


@torch.no_grad()
def official(model: PreTrainedModel, pad_id: int, workload: Workload) -> list[float]:
    """What the authors' trainer does in each step (github.com/yulinlp/SaRFT, trainer.py and collator.py), as scoring.

    Micro-batches of two in random order, padded on the left. Unsafe, role and reference each run the whole prompt, make
    the logits of every position in fp32 and take the log-softmax over all of them; the mask comes last. Returns the
    sums in the order of `workload.requests`.
    """
    sums: list[float] = []
    for character in workload.characters:
        order = random.Random(0).sample(range(len(character.role)), len(character.role))
        sums_NC = torch.zeros((len(order), len(character)), dtype=torch.float64)
        for start in range(0, len(order), MICRO_BATCH):
            indices = order[start : start + MICRO_BATCH]
            sums_NC[indices] = _official_step(model, pad_id, character, indices)
        sums += sums_NC.t().flatten().tolist()
    return sums


@torch.no_grad()
def _score_response_only(model: PreTrainedModel, batch: int, requests: Sequence[EncodedSample]) -> list[float]:
    order = sorted(range(len(requests)), key=lambda index: -num_tokens(requests[index]))
    sums = [0.0] * len(requests)
    for start in range(0, len(order), batch):
        indices = order[start : start + batch]
        samples = [requests[index] for index in indices]
        for index, value in zip(indices, _response_sums(model, samples), strict=True):
            sums[index] = value
    return sums


def _response_sums(model: PreTrainedModel, samples: Sequence[EncodedSample]) -> list[float]:
    width = max(num_tokens(sample) for sample in samples) - 1
    input_ids_BS = torch.zeros((len(samples), width), dtype=torch.long)
    keep_BS = torch.zeros((len(samples), width), dtype=torch.bool)
    for row, sample in enumerate(samples):
        ids = [*sample.prompt_ids, *sample.response_ids[:-1]]
        input_ids_BS[row, : len(ids)] = torch.tensor(ids)
        keep_BS[row, len(sample.prompt_ids) - 1 : len(ids)] = True
    labels_T = torch.tensor([label for sample in samples for label in sample.response_ids])
    # A mask as `logits_to_keep` gives the kept rows, flat.
    logits_TV = model(input_ids_BS, logits_to_keep=keep_BS).logits
    logprobs_T = torch.log_softmax(logits_TV, dim=-1).gather(-1, labels_T.unsqueeze(-1)).squeeze(-1)
    return [float(rows.sum()) for rows in logprobs_T.split([len(sample.response_ids) for sample in samples])]


def _official_step(model: PreTrainedModel, pad_id: int, character: Character, indices: Sequence[int]) -> Tensor:
    """Sums [B, 3] of role, unsafe and plain for one micro-batch. As there, two contexts' logits are held at once."""
    unsafe, role, plain = (
        pad_left([samples[index] for index in indices], pad_id)
        for samples in (character.unsafe, character.role, character.plain)
    )
    unsafe_logits_BSV = model(input_ids=unsafe[0], attention_mask=unsafe[1]).logits
    role_logits_BSV = model(input_ids=role[0], attention_mask=role[1]).logits
    unsafe_sums_B, role_sums_B = masked_sums(unsafe_logits_BSV, unsafe[2]), masked_sums(role_logits_BSV, role[2])
    del unsafe_logits_BSV, role_logits_BSV
    plain_logits_BSV = model(input_ids=plain[0], attention_mask=plain[1]).logits
    return torch.stack([role_sums_B, unsafe_sums_B, masked_sums(plain_logits_BSV, plain[2])], dim=1).double()


def pad_left(samples: Sequence[EncodedSample], pad_id: int) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, attention mask and labels, [B, S]."""
    width = max(num_tokens(sample) for sample in samples)
    input_ids_BS = torch.full((len(samples), width), pad_id)
    attention_mask_BS = torch.zeros((len(samples), width), dtype=torch.long)
    labels_BS = torch.full((len(samples), width), _IGNORED)
    for row, sample in enumerate(samples):
        ids = [*sample.prompt_ids, *sample.response_ids]
        input_ids_BS[row, width - len(ids) :] = torch.tensor(ids)
        attention_mask_BS[row, width - len(ids) :] = 1
        labels_BS[row, width - len(sample.response_ids) :] = torch.tensor(sample.response_ids)
    return input_ids_BS, attention_mask_BS, labels_BS


def masked_sums(logits_BSV: Tensor, labels_BS: Tensor) -> Tensor:
    """`get_batch_logps` there, as sums [B] and not means."""
    labels_BS = labels_BS[:, 1:].clone()
    mask_BS = labels_BS != _IGNORED
    labels_BS[~mask_BS] = 0
    logprobs_BSV = logits_BSV[:, :-1, :].float().log_softmax(-1)
    logprobs_BS = logprobs_BSV.gather(2, labels_BS.unsqueeze(2)).squeeze(2)
    sums_B: Tensor = (logprobs_BS * mask_BS).sum(-1)
    return sums_B
