"""The safety report."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from pydantic import ConfigDict, Field

from rolekeeper.contracts.attacks import AttackResults
from rolekeeper.contracts.estimates import Estimate
from rolekeeper.contracts.evaluation import EvaluationOptions, JudgeName
from rolekeeper.contracts.gate import GateOutcome
from rolekeeper.contracts.jobs import AskedHyperparameters, Method
from rolekeeper.contracts.problems import Contract
from rolekeeper.contracts.results import Comparison, Fidelity, PartResults, RoleResults, ScorePoint
from rolekeeper.contracts.suites import AttackUsed
from rolekeeper.contracts.training import TrainingRecord
from rolekeeper.contracts.verdicts import Judgement, JudgeUsed


class JudgedAnswer(Contract):
    """An answer and what each judge says of it."""

    response: str
    judgements: Mapping[JudgeName, Judgement]
    decoded: str | None = Field(default=None, description="In plain words, where it came in an attack's cipher")
    understood: bool | None = Field(
        default=None, description="Whether the answer shows that the model could read a request that an attack hid"
    )
    babble: bool | None = Field(default=None, description="Whether the answer is no language, by a rule")
    own_log_prob: float | None = Field(
        default=None,
        description="Of a held-out dialogue: the mean log-prob that this model gives the character's own response, "
        "nats per token",
    )


class AnswerPair(Contract):
    """The answers of both models to one prompt."""

    id: str
    suite: str | None = Field(description="Label of the suite; none for held-out dialogues")
    part: str
    category: str
    prompt: str
    goal: str | None = Field(default=None, description="The plain request, where `prompt` is an attack")
    base: JudgedAnswer
    tuned: JudgedAnswer
    own: Judgement | None = Field(
        default=None, description="Of a held-out dialogue: what the first judge says of the character's own response"
    )


class SuiteUsed(Contract):
    """The prompts that were asked, exactly."""

    label: str
    name: str
    sha256: str
    licence: str
    source: str
    num_prompts: int
    num_total: int = Field(description="Prompts of the whole suite, of which num_prompts were asked")
    num_left_out: int = Field(
        default=0, description="Prompts that the base model was trained on, by its recipe: not in num_total, not asked"
    )
    attack: AttackUsed | None = Field(default=None, description="The jailbreak that its harmful prompts were asked as")


class SafetyReport(Contract):
    """Base model against tuned model, and everything the numbers were made from."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    object: Literal["safety_report"] = "safety_report"
    schema_version: Literal[2, 3] = Field(default=3, description="Grows when a reader must change")
    job: str
    character: str
    character_name: str
    created_at: datetime
    base_model: str
    base_digest: str
    adapter_sha256: str
    dialogues_sha256: str
    scores_sha256: str
    suites: tuple[SuiteUsed, ...]
    judges: tuple[JudgeUsed, ...]
    decoding: str
    software: Mapping[str, str] = Field(description="Versions of what answered and judged")
    num_training_samples: int
    num_held_out: int
    harmful_share: Estimate
    method: Method
    hyperparameters: AskedHyperparameters = Field(description="As they were asked for")
    training: TrainingRecord
    evaluation: EvaluationOptions
    measures: tuple[Comparison, ...] = Field(
        description="All suites together, by the first judge; a prompt of several suites counts once"
    )
    results: tuple[PartResults, ...] = Field(description="Each part of each suite, by each judge")
    fidelity: tuple[Fidelity, ...] = Field(
        description="Of the held-out dialogues, and of suites with answers to compare"
    )
    role: RoleResults | None = Field(
        default=None,
        description="Whether it is the character. None in reports of older builds, and without held-out dialogues",
    )
    attacks: tuple[AttackResults, ...] = Field(default=(), description="Each suite that was asked as a jailbreak")
    points: tuple[ScorePoint, ...] = Field(
        description="Scores of training samples: all, or 1,000 drawn by the job's seed"
    )
    gate: GateOutcome | None = Field(default=None, description="What the release gate found")
    answers: tuple[AnswerPair, ...]
