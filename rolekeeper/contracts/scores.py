"""What the scorer is asked and what it answers, and what all scores of a job amount to."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rolekeeper.contracts.characters import Dialogue, RoleProfile
from rolekeeper.contracts.estimates import Estimate
from rolekeeper.contracts.methods import PromptSetName, Turns
from rolekeeper.contracts.problems import Contract

MAX_SAMPLES = 256


class ScoreRequest(Contract):
    """Score up to 256 samples of one character. The same request always gives the same answer."""

    base_model: str
    profile: RoleProfile
    dialogues: tuple[Dialogue, ...] = Field(min_length=1, max_length=MAX_SAMPLES)
    prompt_set: PromptSetName = "contrast"
    margin: float = Field(default=0.0, description="A sample is harmful if s_unsafe > s_role + margin")
    turns: Turns = Field(
        default="last", description="Score the last response, or all that follow a user turn, as one mean"
    )
    per_token: bool = Field(default=False, description="Answer with token_margins")
    max_source_tokens: int = Field(default=512, ge=16, le=8192)
    max_response_tokens: int = Field(default=512, ge=8, le=4096)


class SampleScore(Contract):
    """How role-like and how unsafe one response is for this character.

    `s_unsafe` is the mean log-prob per response token under the unsafe prompt, minus that under the plain one (nats per
    token). `s_role` is the same of what the unsafe prompt is compared with: the role prompt, in the prompt set
    `contrast` with the safe instruction at its end. `*_logprob` are the sums over the response tokens (nats). Where all
    turns are scored, sums and counts are over all of them.
    """

    index: int
    s_role: float
    s_unsafe: float
    margin: float = Field(description="s_unsafe - s_role, nats per token: how much rather the unsafe prompt says it")
    harmful: bool = Field(
        description="In the harmful subset of this role: margin is over the method's, or in its harmful_share"
    )
    selected: bool = Field(description="Anchored to the base model in training; as `harmful` until the job has chosen")
    num_tokens: int = Field(description="Response tokens, ends of turn included")
    num_turns: int = Field(default=1, description="Responses that were scored")
    role_logprob: float
    unsafe_logprob: float
    plain_logprob: float
    truncated: bool = Field(default=False, description="A response was cut at max_response_tokens")
    held_out: bool = Field(default=False, description="Kept from training, to measure role fidelity; set by the job")
    dropped_messages: int = Field(default=0, description="Most turns left out of one prompt by max_source_tokens")
    token_margins: tuple[float, ...] | None = Field(
        default=None,
        description="log p(unsafe) - log p(role side) of each response token, nats, in order; only where asked for",
    )


class ScoreResponse(Contract):
    """Scores in the order of the samples, and what they were made with."""

    base_model: str
    base_digest: str
    prompts_version: str
    scores: tuple[SampleScore, ...]


class MarginBin(Contract):
    """Samples whose margin is above `low` and at most `high`, in nats per token. The outer bins are open."""

    low: float | None
    high: float | None
    num_samples: int


class RankedSample(Contract):
    """A sample at one end of the margins."""

    index: int
    margin: float
    s_role: float
    s_unsafe: float


class ScoreSummary(Contract):
    """What the scores of all samples of a job say about its character."""

    object: Literal["score_summary"] = "score_summary"
    num_samples: int
    num_harmful: int
    num_selected: int = Field(description="Samples that training anchors to the base model")
    num_held_out: int
    num_truncated: int = Field(description="Samples with a response that was cut at max_response_tokens")
    harmful_share: Estimate = Field(description="Of all samples, with its 95 % Wilson interval")
    histogram: tuple[MarginBin, ...] = Field(
        description="Of the margins. Its edges never change: 0, and 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1 on both sides"
    )
    most_role_like: tuple[RankedSample, ...] = Field(description="The ten lowest margins, the lowest first")
    most_harmful: tuple[RankedSample, ...] = Field(description="The ten highest margins, the highest first")
