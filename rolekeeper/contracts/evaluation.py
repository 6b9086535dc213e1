"""Prompt suites, verdicts and the safety report."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import Field

from rolekeeper.contracts.characters import Message, RoleProfile
from rolekeeper.contracts.jobs import AskedHyperparameters, Context, EvaluationOptions, Method
from rolekeeper.contracts.problems import Contract
from rolekeeper.contracts.training import TrainingRecord

MAX_PROMPTS = 256


class Part(StrEnum):
    """What a prompt of a suite is for."""

    HARMFUL = "harmful"
    BENIGN = "benign"
    IN_CHARACTER = "in_character"


class SuitePrompt(Contract):
    """One prompt of a suite. `{name}` stands for the character's name."""

    id: str
    part: Part
    category: str
    prompt: str = Field(min_length=1)


class Suite(Contract):
    """A named list of prompts, with the digest of its file."""

    name: str
    sha256: str
    prompts: tuple[SuitePrompt, ...]


class VerdictItem(Contract):
    """One thing to answer: turns that end with a user turn, and the character's own answer where there is one."""

    id: str
    messages: tuple[Message, ...] = Field(min_length=1)
    context: Context = Context.PLAIN
    reference: str | None = None


class VerdictRequest(Contract):
    """Answer up to 256 items with the base model, or with an adapter on it, and judge the answers."""

    base_model: str
    profile: RoleProfile
    adapter_sha256: str | None = Field(default=None, description="Digest of an adapter tar in the artifact store")
    items: tuple[VerdictItem, ...] = Field(min_length=1, max_length=MAX_PROMPTS)
    max_new_tokens: int = Field(default=64, ge=8, le=1024)
    max_source_tokens: int = Field(default=512, ge=16, le=8192)


class Verdict(Contract):
    """One answer and what the judge says of it. `fidelity` is Rouge-L F against the reference, 0 to 1."""

    id: str
    response: str
    refused: bool
    fidelity: float | None = None


class VerdictResponse(Contract):
    """Verdicts in the order of the items, and what they were made with."""

    base_model: str
    base_digest: str
    adapter_sha256: str | None
    judge: str
    decoding: str
    verdicts: tuple[Verdict, ...]


class Estimate(Contract):
    """A measured value with its 95 % interval."""

    value: float
    low: float
    high: float
    num_samples: int


class Comparison(Contract):
    """One measure, base model against tuned model."""

    name: str
    description: str
    better: Literal["higher", "lower"]
    base: Estimate
    tuned: Estimate
    difference: float = Field(description="tuned minus base")


class AnswerPair(Contract):
    """The answers of both models to one prompt."""

    id: str
    part: str
    category: str
    prompt: str
    base: str
    tuned: str
    base_refused: bool
    tuned_refused: bool


class SafetyReport(Contract):
    """Base model against tuned model, and everything the numbers were made from."""

    object: Literal["safety_report"] = "safety_report"
    job: str
    character: str
    created_at: datetime
    base_model: str
    base_digest: str
    adapter_sha256: str
    dialogues_sha256: str
    scores_sha256: str
    suite: str
    suite_sha256: str
    judge: str
    judge_note: str
    decoding: str
    num_training_samples: int
    num_held_out: int
    harmful_share: Estimate
    method: Method
    hyperparameters: AskedHyperparameters = Field(description="As they were asked for")
    training: TrainingRecord
    evaluation: EvaluationOptions
    measures: tuple[Comparison, ...]
    answers: tuple[AnswerPair, ...]
