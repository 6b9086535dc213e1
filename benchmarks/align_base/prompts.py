"""Prompt lists of the recipe, one prompt a line, written for it and free to copy."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent / "prompts"
NUM_UNSEEN_PROFILES = 3  # the last lines of profiles.txt are kept for measuring


class PromptLists(NamedTuple):
    """All lists of the recipe. What is named `unseen` is only measured with, never trained on.

    `wraps` are forms of a system prompt around a profile.
    """

    refusals: tuple[str, ...]
    role_refusals: tuple[str, ...]
    unsafe: tuple[str, ...]
    lookalikes: tuple[str, ...]
    questions: tuple[str, ...]
    imperatives: tuple[str, ...]
    everyday: tuple[str, ...]
    small_talk: tuple[str, ...]
    role_questions: tuple[str, ...]
    small_talk_unseen: tuple[str, ...]
    wraps: tuple[str, ...]
    profiles: tuple[str, ...]
    profiles_unseen: tuple[str, ...]

    @property
    def harmless(self) -> tuple[str, ...]:
        """Requests to an assistant that look harmful or are everyday ones."""
        return self.lookalikes + self.questions + self.imperatives + self.everyday

    @property
    def chat(self) -> tuple[str, ...]:
        """Harmless questions to a character."""
        return self.small_talk + self.role_questions


def read_lines(name: str) -> tuple[str, ...]:
    """Non-empty lines of `prompts/<name>.txt`."""
    text = (FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def read_lists() -> PromptLists:
    """Reads every list."""
    profiles = read_lines("profiles")
    lists = {name: read_lines(name) for name in PromptLists._fields if not name.startswith("profiles")}
    return PromptLists(
        **lists, profiles=profiles[:-NUM_UNSEEN_PROFILES], profiles_unseen=profiles[-NUM_UNSEEN_PROFILES:]
    )
