from __future__ import annotations

import pytest

from rolekeeper.method.prompts import (
    ROLE_INSTRUCTION,
    SAFE_INSTRUCTION,
    UNSAFE_INSTRUCTION,
    NoReleasedWording,
    PromptSet,
    build_contexts,
)
from rolekeeper.method.released import ReleasedWording

PROFILE = "A smuggler who trusts nobody."
ROLE = f"Your name is Mara Voss. {PROFILE} {ROLE_INSTRUCTION}"


def test_contrast_compares_the_role_prompt_with_an_unsafe_and_with_a_safe_instruction() -> None:
    contexts = build_contexts("Mara Voss", PROFILE)
    assert contexts == (ROLE, f"{ROLE} {UNSAFE_INSTRUCTION}", f"{ROLE} {SAFE_INSTRUCTION}", "")
    assert contexts.scored == (contexts.safe, contexts.unsafe, "")


def test_append_compares_the_unsafe_prompt_with_the_role_prompt() -> None:
    contexts = build_contexts("Mara Voss", PROFILE, PromptSet.APPEND)
    assert contexts == (ROLE, f"{ROLE} {UNSAFE_INSTRUCTION}", ROLE, "")
    assert contexts.scored == (ROLE, contexts.unsafe, "")


def test_paper_v2_is_what_the_released_wording_says() -> None:
    wording = ReleasedWording("You are ", "Play it.", "Play it. Be bad.")
    contexts = build_contexts(" Mara Voss ", PROFILE, PromptSet.PAPER_V2, wording)
    role = f"You are Mara Voss. {PROFILE} Play it."
    assert contexts == (role, f"{role} Be bad.", role, "")


def test_paper_v2_needs_the_released_wording() -> None:
    with pytest.raises(NoReleasedWording, match="paper_v2"):
        build_contexts("Mara Voss", PROFILE, PromptSet.PAPER_V2)


def test_the_instructions_match_word_by_word_but_for_their_sense() -> None:
    unsafe, safe = UNSAFE_INSTRUCTION.split(), SAFE_INSTRUCTION.split()
    assert len(unsafe) == len(safe)
    assert sum(one != other for one, other in zip(unsafe, safe, strict=True)) <= len(unsafe) // 2
    assert [word[-1] for word in unsafe if word[-1] in ",.:"] == [word[-1] for word in safe if word[-1] in ",.:"]


@pytest.mark.parametrize("prompt_set", [PromptSet.CONTRAST, PromptSet.APPEND])
def test_a_profile_that_already_ends_with_the_instruction_gets_it_once(prompt_set: PromptSet) -> None:
    once = build_contexts("Mara Voss", PROFILE, prompt_set)
    assert build_contexts("Mara Voss", f"{PROFILE} {ROLE_INSTRUCTION}\n", prompt_set) == once
