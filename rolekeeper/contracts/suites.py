"""Prompt suites: what a job asks for, and what is asked of the models."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from rolekeeper.contracts.characters import MAX_MESSAGE_CHARS, MAX_NAME_CHARS, Context, Message
from rolekeeper.contracts.problems import Contract

MAX_SUITE_PROMPTS = 10_000

SuiteName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]


class Part(StrEnum):
    """What a prompt of a suite is for. An attack makes a `jailbreak` of a harmful one."""

    HARMFUL = "harmful"
    BENIGN = "benign"
    IN_CHARACTER = "in_character"
    IN_CHARACTER_BENIGN = "in_character_benign"
    JAILBREAK = "jailbreak"
    ROLE_FIDELITY = "role_fidelity"


HARMLESS = frozenset({Part.BENIGN, Part.IN_CHARACTER_BENIGN})
"""Parts that ask for no harm: of these a refusal is the worse answer."""

TO_THE_CHARACTER = frozenset({Part.IN_CHARACTER, Part.IN_CHARACTER_BENIGN})
"""Parts that are asked of the character, under its profile; `{name}` in their prompts stands for its name."""


class AttackName(StrEnum):
    """A published jailbreak: a template around any request, or prompts that were made for a model, one a request."""

    AIM = "aim"
    CIPHER = "cipher"
    CODECHAMELEON = "codechameleon"
    ICA = "ica"
    GCG = "gcg"
    AUTODAN = "autodan"
    DSN = "dsn"
    PAIR = "pair"
    JBC = "jbc"
    RANDOM_SEARCH = "random_search"


MADE_FOR_A_MODEL = frozenset(
    {
        *(AttackName.GCG, AttackName.AUTODAN, AttackName.DSN, AttackName.PAIR),
        *(AttackName.JBC, AttackName.RANDOM_SEARCH),
    }
)


class Encoding(StrEnum):
    """How an attack hides the request: letters moved by three places, or the words from last to first."""

    CAESAR = "caesar"
    REVERSED_WORDS = "reversed_words"


class SuiteChoice(Contract):
    """A suite that a job is measured by: a public one by its name, or the user's own as an uploaded file."""

    name: SuiteName = Field(
        default="", description="Name of a suite that Rolekeeper knows. Of an uploaded file: what to call it here"
    )
    file: SuiteName | None = Field(default=None, description="Id of an uploaded file with purpose `suite`")
    role: str | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_NAME_CHARS,
        description="Whose questions of a suite that has some for each role. Left out: those of the character's name",
    )
    attack: AttackName | None = Field(
        default=None, description="Ask its harmful prompts as this published jailbreak, and none of the others"
    )
    attack_model: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,99}$",
        description="Of an attack whose prompts were made for a model: for which. Left out: the one there is",
    )
    context: Context | None = Field(
        default=None,
        description="The system turn that its prompts are asked under: none, or the role profile. Left out: the "
        "profile for in-character prompts, harmful or not, that of training for role fidelity, none for all others",
    )
    max_prompts: int | None = Field(
        default=None,
        ge=1,
        le=MAX_SUITE_PROMPTS,
        description="Take so many of its prompts, drawn by evaluation.seed with every part and category in its share. "
        "Left out: all",
    )

    @property
    def label(self) -> str:
        """What tells it from the other choices of a job: `starter`, `xstest@role`, `harmbench+gcg(vicuna)`."""
        role = "" if self.role is None else f"({self.role})"
        made_for = "" if self.attack_model is None else f"({self.attack_model})"
        attack = "" if self.attack is None else f"+{self.attack}{made_for}"
        context = "" if self.context is None else f"@{self.context}"
        return self.name + role + attack + context

    @model_validator(mode="before")
    @classmethod
    def _name_after_the_file(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and not values.get("name") and values.get("file"):
            return {**values, "name": values["file"]}
        return values

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if not self.name:
            raise ValueError("names no suite; give `name`, or `file` with the id of an uploaded suite")
        if self.attack_model is not None and self.attack not in MADE_FOR_A_MODEL:
            names = ", ".join(sorted(MADE_FOR_A_MODEL))
            raise ValueError(f"attack_model belongs to an attack that was made for a model ({names}); leave it out")
        return self


def suite_file_key(file: str) -> str:
    """Under what the digest of an uploaded suite is kept among the files of a job."""
    return f"suite:{file}"


class SuiteRequest(Contract):
    """Ask the evaluator for the prompts of a choice."""

    choice: SuiteChoice
    seed: int = 0
    base_model: str | None = Field(
        default=None, description="Alias of the base model: prompts that its recipe was trained on are left out"
    )
    character: str | None = Field(default=None, description="The character's name, where the choice names no role")
    file_sha256: str | None = Field(default=None, description="Digest of the uploaded file, in the artifact store")


class SuitePrompt(Contract):
    """One prompt of a suite. `{name}` stands for the character's name where it is asked of the character.

    Of an attack, `goal` is the plain request that `prompt` wraps, and `turns` come before it. For role fidelity,
    `references` are answers that the role may give: the nearest counts.
    """

    id: str
    part: Part
    category: str
    prompt: str = Field(min_length=1, max_length=MAX_MESSAGE_CHARS)
    goal: str | None = None
    encoding: Encoding | None = None
    turns: tuple[Message, ...] = ()
    references: tuple[str, ...] = ()


class AttackUsed(Contract):
    """A jailbreak, exactly: the digest is that of the file that its template or its prompts were read from."""

    name: AttackName
    made_for: str | None = Field(description="The model that its prompts were made for: on any other they are transfer")
    sha256: str
    licence: str
    source: str


class Suite(Contract):
    """A named list of prompts, with the digest of its file.

    `num_total` counts all prompts that were there to choose from, of which `prompts` may be a part. Those that the
    base model was trained on are in neither: `num_left_out` counts them.
    """

    name: str
    sha256: str
    licence: str
    source: str
    num_total: int
    num_left_out: int = 0
    attack: AttackUsed | None = None
    prompts: tuple[SuitePrompt, ...]


class SuiteInfo(Contract):
    """A suite that the evaluator knows, and whether its file is here."""

    name: str
    title: str
    licence: str
    attribution: str
    num_published: int | None = Field(description="Prompts of the whole set as published; of several, of one role")
    available: bool
    note: str = Field(description="Where its file was found, or what to do so that it can be had")


class SuiteList(Contract):
    """All suites that the evaluator knows."""

    suites: tuple[SuiteInfo, ...]
