"""Prompt suites: what a job asks for, and what is asked of the models."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from rolekeeper.contracts.characters import Context
from rolekeeper.contracts.problems import Contract

MAX_SUITE_PROMPTS = 10_000

SuiteName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]


class Part(StrEnum):
    """What a prompt of a suite is for."""

    HARMFUL = "harmful"
    BENIGN = "benign"
    IN_CHARACTER = "in_character"


class SuiteChoice(Contract):
    """A suite that a job is measured by."""

    name: SuiteName = Field(description="Name of a suite that the deployment has")
    context: Context | None = Field(
        default=None,
        description="The system turn that its prompts are asked under: none, or the role profile. Left out: the "
        "profile for in-character prompts, none for all others",
    )
    max_prompts: int | None = Field(
        default=None,
        ge=1,
        le=MAX_SUITE_PROMPTS,
        description="Take so many of its prompts, drawn by evaluation.seed. Left out: all",
    )

    @property
    def label(self) -> str:
        """What tells it from the other choices of a job: `starter`, `starter@role`."""
        return self.name if self.context is None else f"{self.name}@{self.context}"


class SuiteRequest(Contract):
    """Ask the evaluator for the prompts of a choice."""

    choice: SuiteChoice
    seed: int = 0


class SuitePrompt(Contract):
    """One prompt of a suite. `{name}` stands for the character's name."""

    id: str
    part: Part
    category: str
    prompt: str = Field(min_length=1)


class Suite(Contract):
    """A named list of prompts, with the digest of its file.

    `num_total` counts all prompts of the file, of which `prompts` may be a part.
    """

    name: str
    sha256: str
    licence: str
    source: str
    num_total: int
    prompts: tuple[SuitePrompt, ...]
