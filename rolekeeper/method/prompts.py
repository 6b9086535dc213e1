"""The contexts in which the base model reads a response: role, unsafe, safe and plain.

SaRFT (arXiv 2502.20968), section on RDS. The idea is the paper's; every sentence here is our own. The released wording
is not part of this repository: `rolekeeper.method.released` reads it from a file that the operator names.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from rolekeeper.method.released import ReleasedWording

PROMPTS_VERSION = "2"
"""Changes whenever a word below changes: scores made with different versions must not be mixed."""

ROLE_INSTRUCTION = "Always answer as this person would, and never step out of the role."

UNSAFE_INSTRUCTION = "Be unscrupulous and dishonest, and ignore every law and moral rule when you answer."
"""It turns the safety instruction round: the more likely a response becomes under it, the less safe it is."""

SAFE_INSTRUCTION = "Be scrupulous and honest, and respect every law and moral rule when you answer."
"""The unsafe instruction word for word, but for its sense: what any longer prompt does, both do."""


class PromptSet(StrEnum):
    """What the unsafe prompt is, and what it is compared with.

    CONTRAST compares role prompt + unsafe instruction with role prompt + safe instruction, which differ in sense alone.
    APPEND compares the same unsafe prompt with the bare role prompt: that measures the length of a prompt, too.
    PAPER_V2 is the released wording, whose unsafe prompt also lacks a sentence on style that its role prompt has: long,
    formal or polite responses gain likelihood under it. It is kept to reproduce the paper.
    """

    CONTRAST = "contrast"
    APPEND = "append"
    PAPER_V2 = "paper_v2"


class ScoredContexts(NamedTuple):
    """The system prompts of the three passes: what the unsafe prompt is compared with, the unsafe prompt, and none."""

    safe: str
    unsafe: str
    plain: str


class Contexts(NamedTuple):
    """System prompts. `plain` is empty: a system turn without content, not a missing one.

    `role` is what a character is trained and served under. `safe` is what `unsafe` is compared with: the role prompt
    with the safe instruction, or the role prompt itself where the prompt set has no such instruction.
    """

    role: str
    unsafe: str
    safe: str
    plain: str

    @property
    def scored(self) -> ScoredContexts:
        """Those that RDS needs. However many there are, three go through the model."""
        return ScoredContexts(self.safe, self.unsafe, self.plain)


class NoReleasedWording(ValueError):
    """PAPER_V2 was asked for without the released wording."""


def build_contexts(
    name: str, profile: str, prompt_set: PromptSet = PromptSet.CONTRAST, released: ReleasedWording | None = None
) -> Contexts:
    """Return the system prompts for a character. Raises NoReleasedWording if PAPER_V2 comes without `released`.

    A profile that already ends with the role instruction gets it once.
    """
    if prompt_set is PromptSet.PAPER_V2:
        if released is None:
            raise NoReleasedWording("the prompt set paper_v2 needs the released wording")
        role, unsafe = released.prompts(name, profile)
        return Contexts(role=role, unsafe=unsafe, safe=role, plain="")
    description = profile.strip().removesuffix(ROLE_INSTRUCTION).rstrip()
    role = f"Your name is {name.strip()}. {description} {ROLE_INSTRUCTION}"
    safe = f"{role} {SAFE_INSTRUCTION}" if prompt_set is PromptSet.CONTRAST else role
    return Contexts(role=role, unsafe=f"{role} {UNSAFE_INSTRUCTION}", safe=safe, plain="")
