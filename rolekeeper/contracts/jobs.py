"""Jobs: what is asked for, how far it is, and what happened."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Literal

from pydantic import Field, model_validator

from rolekeeper.contracts.evaluation import EvaluationOptions
from rolekeeper.contracts.hyperparameters import AskedHyperparameters, Hyperparameters
from rolekeeper.contracts.methods import (
    NEEDED_FILES,
    SELECTED_IN_TRAINING,
    UNANCHORED,
    FileOption,
    HarmfulShare,
    KlDirectionName,
    MethodName,
    MethodOptions,
    PromptSetName,
    Turns,
    unlike_the_released,
    without_anchor,
)
from rolekeeper.contracts.problems import Contract
from rolekeeper.contracts.release import Release

__all__ = ["AskedHyperparameters", "Hyperparameters"]  # part of a job, so they may be asked for here


class StageName(StrEnum):
    """The steps of a job, in their order."""

    SCORE = "score"
    TRAIN = "train"
    EVALUATE = "evaluate"


class Status(StrEnum):
    """Status of a stage or a job. Only stages are ever `pending`, and only jobs `paused`."""

    PENDING = "pending"
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELLED})


class Method(Contract):
    """How the character is trained: on all dialogues, with a part of them anchored to the base model.

    `sarft` anchors the harmful subset and `sft` nothing. Three controls show what the choice is worth: `random` anchors
    as many samples as are harmful, drawn by the seed from all of them; `flip` those that are not harmful; `all` all.
    `seal` and `bi_selection` anchor as many as are harmful too, chosen by gradients and files of their own.
    Three methods have no anchor: `seal_filter` leaves out what SEAL would anchor, `sppft` trains no safety layer, and
    `vaccine` trains under the worst shift of the attention outputs.
    """

    name: MethodName = "sarft"
    turns: Turns = Field(
        default="last",
        description="Which responses of a dialogue are scored: the last, or the mean over all that follow a user turn. "
        "hyperparameters.learned_turns says which are learned",
    )
    prompt_set: PromptSetName = "contrast"
    margin: float = Field(default=0.0, ge=-10, le=10, description="A sample is harmful if s_unsafe > s_role + margin")
    harmful_share: HarmfulShare = None
    kl_weight: float = Field(default=0.5, ge=0, le=100, description="lambda of the KL term; unused without an anchor")
    kl_direction: KlDirectionName = "reverse"
    options: MethodOptions = MethodOptions()

    @property
    def anchors_samples(self) -> bool:
        """Whether samples are held to the base model. Where prompts take their place, none is."""
        return self.name not in UNANCHORED and self.options.anchors != "prompts"

    @property
    def selects_in_training(self) -> bool:
        """Whether the training program chooses samples by gradients, before the first step: where it makes use of them.

        `seal_filter` leaves its choice out; the others anchor theirs.
        """
        return self.name in SELECTED_IN_TRAINING and (self.name in UNANCHORED or self.anchors_samples)

    @property
    def needed_files(self) -> tuple[FileOption, ...]:
        """The options that must name an uploaded file; the others must not."""
        return NEEDED_FILES[self.name] if self.selects_in_training else ()

    @model_validator(mode="before")
    @classmethod
    def _official_is_forward(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        options = values.get("options")
        compat = options.get("compat") if isinstance(options, Mapping) else getattr(options, "compat", None)
        return {"kl_direction": "forward", **values} if compat == "official" else values

    @model_validator(mode="after")
    def _options_fit(self) -> Method:
        if self.harmful_share is not None and self.margin != 0:
            raise ValueError("harmful_share takes the place of margin: leave one of them out")
        holds_samples = self.anchors_samples and (self.kl_weight > 0 or self.options.kl_limit is not None)
        problem = without_anchor(self.options, self.name, self.kl_weight, holds_samples=holds_samples)
        problem = problem or unlike_the_released(self.options, self.name, self.kl_direction)
        if problem is not None:
            raise ValueError(problem)
        return self


RECOMMENDED: Mapping[str, Any] = MappingProxyType({"anchors": "prompts", "anchor_first_tokens": 16})
"""Options of a job that names no method (docs/decisions/0016-*)."""


class JobCreate(Contract):
    """Ask for one run of the pipeline for one character."""

    character: str = Field(description="Id of the character")
    base_model: str = Field(description="Alias of a base model on this deployment's allow-list")
    method: Method = Field(
        default=Method(options=MethodOptions(**RECOMMENDED)),
        description="Where it names no method, sarft with options.anchors prompts and options.anchor_first_tokens 16, "
        "which won where it was measured. A method that is named does as it says, with no option that is not given",
    )
    hyperparameters: AskedHyperparameters = AskedHyperparameters()
    evaluation: EvaluationOptions = EvaluationOptions()
    deadline_seconds: int | None = Field(
        default=None,
        ge=60,
        le=366 * 86_400,
        description="The job fails if it has not ended so long after its creation; time for which it is paused does "
        "not count",
    )

    @model_validator(mode="after")
    def _score_what_is_learned(self) -> JobCreate:
        if self.hyperparameters.learned_turns == "all" and self.method.turns == "last":
            raise ValueError("hyperparameters.learned_turns: all needs method.turns: all, which scores what is learned")
        return self

    @model_validator(mode="after")
    def _weigh_by_own_words(self) -> JobCreate:
        if self.method.prompt_set == "paper_v2" and self.method.options.weigh_tokens != "equal":
            raise ValueError("options.weigh_tokens does not go with prompt_set paper_v2: take contrast or append")
        return self

    @model_validator(mode="before")
    @classmethod
    def _recommend_anchors(cls, values: Any) -> Any:
        method = values.get("method") if isinstance(values, Mapping) else None
        if not isinstance(method, Mapping) or "name" in method:
            return values
        options = method.get("options", {})
        if not isinstance(options, Mapping) or options.keys() & {"anchors", "compat", "weigh_tokens"}:
            return values
        return {**values, "method": {**method, "options": {**RECOMMENDED, **options}}}


class Progress(Contract):
    """How far a stage is. `done` and `total` count `unit`s."""

    done: int
    total: int
    unit: str
    eta_seconds: float | None = None
    metrics: dict[str, float] = Field(default_factory=dict)


class JobError(Contract):
    """Why a stage or a job failed."""

    code: str
    message: str


class Stage(Contract):
    """One step of a job."""

    name: StageName
    status: Status
    attempt: int = Field(description="How often a worker took the stage")
    progress: Progress | None = None
    error: JobError | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


class Job(Contract):
    """A job as its owner sees it."""

    id: str
    object: Literal["job"] = "job"
    status: Status
    character: str
    base_model: str
    method: Method
    hyperparameters: AskedHyperparameters
    evaluation: EvaluationOptions
    stages: tuple[Stage, ...]
    cancel_requested: bool
    pause_requested: bool = Field(default=False, description="The job is paused, or will be as soon as its stage stops")
    deadline_at: datetime | None = Field(default=None, description="When the job fails if it has not ended by then")
    harmful_share: float | None = Field(default=None, description="Share of the samples flagged harmful, once scored")
    adapter_sha256: str | None = None
    release: Release | None = Field(default=None, description="Whether the adapter is given out, once there is one")
    evaluates: str | None = Field(
        default=None, description="The job whose adapter this one evaluates again; none if it trained its own"
    )
    error: JobError | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
