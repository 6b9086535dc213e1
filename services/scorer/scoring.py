"""Scores of dialogue samples: three contexts through the base model, then the method's rewards.

Shapes: B samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from rolekeeper.contracts.characters import Dialogue
from rolekeeper.contracts.problems import ErrorItem
from rolekeeper.contracts.scores import SampleScore, ScoreRequest
from rolekeeper.errors import InvalidInput
from rolekeeper.lm.encode import EncodedSample, Encoder, EncodingError
from rolekeeper.lm.forward import response_logprobs
from rolekeeper.lm.load import LoadedModel
from rolekeeper.method.prompts import PromptSet, build_contexts
from rolekeeper.method.rds import NonFiniteScore, Rewards, implicit_rewards, select_harmful


def score_dialogues(loaded: LoadedModel, request: ScoreRequest, max_batch_tokens: int) -> tuple[SampleScore, ...]:
    """Return one score per dialogue, in their order.

    Raises InvalidInput that points at each dialogue that can't be encoded or has no finite score.
    """
    contexts = build_contexts(request.profile.name, request.profile.profile, PromptSet(request.prompt_set))
    encoder = Encoder(loaded.tokenizer, request.max_source_tokens, request.max_response_tokens)
    encoded = [_encode_all(encoder, system, request.dialogues) for system in contexts]
    num_tokens_B = torch.tensor([len(sample.response_ids) for sample in encoded[0]])
    sums = [_sum_logprobs(loaded, samples, max_batch_tokens) for samples in encoded]
    role_B, unsafe_B, plain_B = (sum_B / num_tokens_B for sum_B in sums)
    try:
        rewards = implicit_rewards(role_B, unsafe_B, plain_B)
    except NonFiniteScore as error:
        detail = "its log-prob is NaN or infinite; check the base model's weights and its dtype"
        raise InvalidInput(str(error), "non_finite_score", _at(error.indices, detail)) from error
    harmful_B = select_harmful(rewards.s_role_B, rewards.s_unsafe_B, request.margin)
    return _to_contracts(encoded[0], sums, rewards, harmful_B)


def _encode_all(encoder: Encoder, system: str, dialogues: Sequence[Dialogue]) -> list[EncodedSample]:
    samples, problems = [], []
    for index, dialogue in enumerate(dialogues):
        try:
            samples.append(encoder.encode(system, dialogue.messages))
        except EncodingError as error:
            problems.extend(_at([index], error.message))
    if problems:
        raise InvalidInput(
            f"{len(problems)} of {len(dialogues)} dialogues can't be scored", EncodingError.code, problems
        )
    return samples


def _sum_logprobs(loaded: LoadedModel, samples: list[EncodedSample], max_batch_tokens: int) -> Tensor:
    """Log-prob of each response, in fp64 so that long responses lose nothing."""
    logprobs = response_logprobs(loaded.model, samples, max_batch_tokens)
    return torch.stack([logprobs_T.double().sum() for logprobs_T in logprobs])


def _at(indices: Iterable[int], detail: str) -> list[ErrorItem]:
    return [ErrorItem(pointer=f"/dialogues/{index}", detail=detail) for index in indices]


def _to_contracts(
    samples: list[EncodedSample], sums: list[Tensor], rewards: Rewards, harmful_B: Tensor
) -> tuple[SampleScore, ...]:
    role_B, unsafe_B, plain_B = sums
    return tuple(
        SampleScore(
            index=index,
            s_role=float(rewards.s_role_B[index]),
            s_unsafe=float(rewards.s_unsafe_B[index]),
            harmful=bool(harmful_B[index]),
            num_tokens=len(sample.response_ids),
            role_logprob=float(role_B[index]),
            unsafe_logprob=float(unsafe_B[index]),
            plain_logprob=float(plain_B[index]),
            truncated=sample.truncated,
            dropped_messages=sample.dropped_messages,
        )
        for index, sample in enumerate(samples)
    )
