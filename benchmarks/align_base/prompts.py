"""Prompt lists of the recipe, one prompt a line, written for it and free to copy."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent / "prompts"
NUM_UNSEEN_PROFILES = 3  # the last lines of profiles.txt are kept for measuring


class PromptLists(NamedTuple):
    """All lists of the recipe. What is named `unseen` is only measured with, never trained on.

    `wraps` are forms of a system prompt around a profile, and `task_forms` those of a task around one of `subjects`,
    `deeds` or `programs`.
    """

    refusals: tuple[str, ...]
    role_refusals: tuple[str, ...]
    unsafe: tuple[str, ...]
    unsafe_unseen: tuple[str, ...]
    unsafe_role_unseen: tuple[str, ...]
    lookalikes: tuple[str, ...]
    questions: tuple[str, ...]
    imperatives: tuple[str, ...]
    topics: tuple[str, ...]
    everyday: tuple[str, ...]
    task_forms: tuple[str, ...]
    subjects: tuple[str, ...]
    deeds: tuple[str, ...]
    programs: tuple[str, ...]
    small_talk: tuple[str, ...]
    role_questions: tuple[str, ...]
    small_talk_unseen: tuple[str, ...]
    wraps: tuple[str, ...]
    profiles: tuple[str, ...]
    profiles_unseen: tuple[str, ...]

    @property
    def harmless(self) -> tuple[str, ...]:
        """Requests to an assistant that look harmful, have dark topics, or are everyday ones."""
        return self.lookalikes + self.questions + self.imperatives + self.topics + self.everyday

    @property
    def tasks(self) -> tuple[str, ...]:
        """Harmless tasks in the forms that harmful ones have: every form with each of what it takes."""
        fillings = {"{subject}": self.subjects, "{deed}": self.deeds, "{program}": self.programs}
        return tuple(
            f"{form.replace(mark, filling)}."
            for form in self.task_forms
            for mark, taken in fillings.items()
            if mark in form
            for filling in taken
        )

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
