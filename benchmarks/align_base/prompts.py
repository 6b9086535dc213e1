"""Prompt lists of the recipe, one prompt a line, written for it and free to copy."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent / "prompts"
NUM_UNSEEN_PROFILES = 3  # the last lines of profiles.txt are kept for measuring


class PromptLists(NamedTuple):
    """All lists of the recipe. What is named `unseen` is only measured with, never trained on."""

    refusals: tuple[str, ...]
    role_refusals: tuple[str, ...]
    unsafe: tuple[str, ...]
    lookalikes: tuple[str, ...]
    everyday: tuple[str, ...]
    small_talk: tuple[str, ...]
    small_talk_unseen: tuple[str, ...]
    profiles: tuple[str, ...]
    profiles_unseen: tuple[str, ...]


def read_lines(name: str) -> tuple[str, ...]:
    """Non-empty lines of `prompts/<name>.txt`."""
    text = (FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def read_lists() -> PromptLists:
    """Reads every list."""
    profiles = read_lines("profiles")
    return PromptLists(
        refusals=read_lines("refusals"),
        role_refusals=read_lines("role_refusals"),
        unsafe=read_lines("unsafe"),
        lookalikes=read_lines("lookalikes"),
        everyday=read_lines("everyday"),
        small_talk=read_lines("small_talk"),
        small_talk_unseen=read_lines("small_talk_unseen"),
        profiles=profiles[:-NUM_UNSEEN_PROFILES],
        profiles_unseen=profiles[-NUM_UNSEEN_PROFILES:],
    )
