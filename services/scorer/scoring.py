"""Scores of dialogue samples: three contexts through the base model, then the method's rewards.

The role side is what the unsafe prompt is compared with: the role prompt, with the safe instruction in `contrast`.

Shapes: B samples, S scored responses (one for each sample, or several), T tokens of one response.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from rolekeeper.contracts.scores import SampleScore, ScoreRequest
from rolekeeper.errors import InvalidInput
from rolekeeper.lm.encode import EncodedSample, Encoder
from rolekeeper.lm.load import LoadedModel
from rolekeeper.lm.turnstile import Check, go_on
from rolekeeper.method.prompts import NoReleasedWording, PromptSet, ScoredContexts, build_contexts
from rolekeeper.method.rds import NonFiniteScore, Rewards, implicit_rewards, select_harmful
from rolekeeper.method.released import ReleasedWording
from services.scorer.encoding import ScoredTurn, encode_turns, point_at, scored_turns
from services.scorer.engine import Engine
from services.scorer.paper_prompts import PaperPromptsMissing

NEAR_TIE = 1e-4
"""Nats per token. A margin so close to the line is computed again, alone; a batch moves none by as much in fp32."""

_NON_FINITE = "its log-prob is NaN or infinite; check the base model's weights and its dtype"


class _Scored(NamedTuple):
    """Responses and their log-probs in the three contexts, in the same order. `encoded` is by context."""

    turns: Sequence[ScoredTurn]
    encoded: Sequence[Sequence[EncodedSample]]
    role: Sequence[Tensor]
    unsafe: Sequence[Tensor]
    plain: Sequence[Tensor]

    @property
    def samples(self) -> Sequence[EncodedSample]:
        """Each response on the role side."""
        return self.encoded[0]


class _Sums(NamedTuple):
    """What is summed over all scored responses of each sample: log-probs in nats, and tokens."""

    role_B: Tensor
    unsafe_B: Tensor
    plain_B: Tensor
    num_tokens_B: Tensor

    def rewards(self) -> Rewards:
        """Return the rewards of the means over the tokens.

        Raises InvalidInput that points at each sample without a finite one.
        """
        means_B = (sum_B / self.num_tokens_B for sum_B in (self.role_B, self.unsafe_B, self.plain_B))
        try:
            return implicit_rewards(*means_B)
        except NonFiniteScore as error:
            details = dict.fromkeys(error.indices, _NON_FINITE)
            raise InvalidInput(str(error), "non_finite_score", point_at(details)) from error


def score_dialogues(
    loaded: LoadedModel,
    request: ScoreRequest,
    engine: Engine,
    check: Check = go_on,
    wording: ReleasedWording | None = None,
) -> tuple[SampleScore, ...]:
    """Return one score per dialogue, in their order.

    Near ties are scored again alone, so that whether a sample is harmful does not depend on what it is sent with. That
    is exact for fp32 models only: in bf16 a batch may move a margin by more than NEAR_TIE.

    `check` is called between the pieces of work; what it raises ends them. Raises InvalidInput that points at each
    dialogue that can't be encoded or has no finite score, and PaperPromptsMissing where `wording` is needed.
    """
    contexts = _scored_contexts(request, wording)
    scored = _score_turns(loaded, request, contexts, engine, check)
    sums = _sum_by_sample(scored, len(request.dialogues))
    rewards = sums.rewards()
    near_tie_B = (rewards.s_unsafe_B - rewards.s_role_B - request.margin).abs() < NEAR_TIE
    if near_tie_B.any():
        scored = _score_alone(loaded, scored, near_tie_B, engine, check)
        sums = _sum_by_sample(scored, len(request.dialogues))
        rewards = sums.rewards()
    harmful_B = select_harmful(rewards.s_role_B, rewards.s_unsafe_B, request.margin)
    scores = _to_contracts(scored, sums, rewards, harmful_B)
    return _with_token_margins(scores, scored) if request.per_token else scores


def _scored_contexts(request: ScoreRequest, wording: ReleasedWording | None) -> ScoredContexts:
    profile = request.profile
    try:
        return build_contexts(profile.name, profile.profile, PromptSet(request.prompt_set), wording).scored
    except NoReleasedWording as error:
        raise PaperPromptsMissing from error


def _score_turns(
    loaded: LoadedModel, request: ScoreRequest, contexts: ScoredContexts, engine: Engine, check: Check
) -> _Scored:
    turns = scored_turns(request.dialogues, request.turns)
    with engine.tokenizers.turn(check):
        encoder = Encoder(loaded.tokenizer, request.max_source_tokens, request.max_response_tokens, loaded.window)
    encoded = [encode_turns(encoder, system, turns, engine.tokenizers, check) for system in contexts]
    role, unsafe, plain = engine.logprobs(loaded, encoded, check)
    return _Scored(turns, encoded, role, unsafe, plain)


def _score_alone(loaded: LoadedModel, scored: _Scored, chosen_B: Tensor, engine: Engine, check: Check) -> _Scored:
    """Compute the responses of the chosen samples again, each in a forward pass of its own.

    The plain context, too: it cancels out of s_unsafe - s_role, but not out of the last digit that decides a tie.
    """
    positions = [position for position, turn in enumerate(scored.turns) if chosen_B[turn.dialogue]]
    contexts = [[samples[position] for position in positions] for samples in scored.encoded]
    batched = (scored.role, scored.unsafe, scored.plain)
    alone = [dict(zip(positions, found, strict=True)) for found in engine.logprobs_alone(loaded, contexts, check)]
    role, unsafe, plain = (
        [exact.get(position, logprobs_T) for position, logprobs_T in enumerate(context)]
        for exact, context in zip(alone, batched, strict=True)
    )
    return scored._replace(role=role, unsafe=unsafe, plain=plain)


def _sum_by_sample(scored: _Scored, num_samples: int) -> _Sums:
    """Sums in fp64, so that long responses lose nothing."""
    sample_S = torch.tensor([turn.dialogue for turn in scored.turns])

    def add_up(values_S: Tensor) -> Tensor:
        return torch.zeros(num_samples, dtype=values_S.dtype).index_add(0, sample_S, values_S)

    role_B, unsafe_B, plain_B = (
        add_up(torch.stack([logprobs_T.double().sum() for logprobs_T in logprobs]))
        for logprobs in (scored.role, scored.unsafe, scored.plain)
    )
    num_tokens_B = add_up(torch.tensor([len(sample.response_ids) for sample in scored.samples]))
    return _Sums(role_B, unsafe_B, plain_B, num_tokens_B)


def _to_contracts(scored: _Scored, sums: _Sums, rewards: Rewards, harmful_B: Tensor) -> tuple[SampleScore, ...]:
    samples_B: list[list[EncodedSample]] = [[] for _ in harmful_B]
    for turn, sample in zip(scored.turns, scored.samples, strict=True):
        samples_B[turn.dialogue].append(sample)
    margin_B = rewards.s_unsafe_B - rewards.s_role_B
    return tuple(
        SampleScore(
            index=index,
            s_role=float(rewards.s_role_B[index]),
            s_unsafe=float(rewards.s_unsafe_B[index]),
            margin=float(margin_B[index]),
            harmful=bool(harmful_B[index]),
            selected=bool(harmful_B[index]),
            num_tokens=int(sums.num_tokens_B[index]),
            num_turns=len(samples),
            role_logprob=float(sums.role_B[index]),
            unsafe_logprob=float(sums.unsafe_B[index]),
            plain_logprob=float(sums.plain_B[index]),
            truncated=any(sample.truncated for sample in samples),
            dropped_messages=max(sample.dropped_messages for sample in samples),
        )
        for index, samples in enumerate(samples_B)
    )


def _with_token_margins(scores: Sequence[SampleScore], scored: _Scored) -> tuple[SampleScore, ...]:
    """log p(unsafe) - log p(role side) of each response token, turn after turn."""
    margins: list[list[float]] = [[] for _ in scores]
    for turn, role_T, unsafe_T in zip(scored.turns, scored.role, scored.unsafe, strict=True):
        margins[turn.dialogue] += (unsafe_T - role_T).tolist()
    return tuple(
        score.model_copy(update={"token_margins": tuple(values)}) for score, values in zip(scores, margins, strict=True)
    )
