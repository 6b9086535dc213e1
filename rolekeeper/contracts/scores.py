"""What the scorer is asked and what it answers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rolekeeper.contracts.characters import Dialogue, RoleProfile
from rolekeeper.contracts.problems import Contract

MAX_SAMPLES = 256


class ScoreRequest(Contract):
    """Score up to 256 samples of one character. The same request always gives the same answer."""

    base_model: str
    profile: RoleProfile
    dialogues: tuple[Dialogue, ...] = Field(min_length=1, max_length=MAX_SAMPLES)
    prompt_set: Literal["append", "paper_v2"] = "append"
    margin: float = 0.0
    max_source_tokens: int = Field(default=512, ge=16, le=8192)
    max_response_tokens: int = Field(default=128, ge=8, le=4096)


class SampleScore(Contract):
    """How role-like and how unsafe one response is for this character.

    `s_role` and `s_unsafe` are mean log-probs per response token under the role and the unsafe prompt, minus that under
    the plain one (nats per token). `*_logprob` are the sums over the response tokens (nats).
    """

    index: int
    s_role: float
    s_unsafe: float
    harmful: bool
    num_tokens: int
    role_logprob: float
    unsafe_logprob: float
    plain_logprob: float
    truncated: bool = Field(default=False, description="The response was cut at max_response_tokens")
    held_out: bool = Field(default=False, description="Kept from training, to measure role fidelity; set by the job")
    dropped_messages: int = Field(default=0, description="Oldest turns left out because of max_source_tokens")


class ScoreResponse(Contract):
    """Scores in the order of the samples, and what they were made with."""

    base_model: str
    base_digest: str
    prompts_version: str
    scores: tuple[SampleScore, ...]
