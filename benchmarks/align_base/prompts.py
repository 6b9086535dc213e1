"""Prompt lists of the recipe, one prompt a line, written for it and free to copy."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent / "prompts"
NUM_UNSEEN_PROFILES = 3  # the last lines of profiles.txt are kept for measuring


class Fillings(NamedTuple):
    """What forms take. The names of the fields are the marks in the forms."""

    subject: tuple[str, ...]
    deed: tuple[str, ...]
    program: tuple[str, ...]

    def fill(self, forms: tuple[str, ...]) -> tuple[str, ...]:
        """Every form with each of what it takes."""
        return tuple(
            form.replace(f"{{{mark}}}", filling)
            for form in forms
            for mark, fillings in self._asdict().items()
            if f"{{{mark}}}" in form
            for filling in fillings
        )


class PromptLists(NamedTuple):
    """All lists of the recipe. What is named `unseen` is only measured with, never trained on.

    `wraps` are forms of a system prompt around a profile. `task_forms` and `ask_forms` are forms of a request to an
    assistant, `role_forms` of one to a character. What fills a form makes the request harmful or harmless: the lists
    named `unsafe_*` have a harmless twin each.
    """

    refusals: tuple[str, ...]
    role_refusals: tuple[str, ...]
    unsafe: tuple[str, ...]
    unsafe_role: tuple[str, ...]
    unsafe_unseen: tuple[str, ...]
    unsafe_role_unseen: tuple[str, ...]
    lookalikes: tuple[str, ...]
    questions: tuple[str, ...]
    imperatives: tuple[str, ...]
    topics: tuple[str, ...]
    everyday: tuple[str, ...]
    task_forms: tuple[str, ...]
    ask_forms: tuple[str, ...]
    role_forms: tuple[str, ...]
    subjects: tuple[str, ...]
    deeds: tuple[str, ...]
    programs: tuple[str, ...]
    unsafe_subjects: tuple[str, ...]
    unsafe_deeds: tuple[str, ...]
    unsafe_programs: tuple[str, ...]
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
    def safe_fillings(self) -> Fillings:
        """What makes a form harmless."""
        return Fillings(self.subjects, self.deeds, self.programs)

    @property
    def unsafe_fillings(self) -> Fillings:
        """What makes a form harmful."""
        return Fillings(self.unsafe_subjects, self.unsafe_deeds, self.unsafe_programs)

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
