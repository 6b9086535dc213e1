from __future__ import annotations

import json
from pathlib import Path

import pytest

from rolekeeper.method.prompts import PromptSet, build_contexts

RELEASED = Path(__file__).resolve().parents[5] / "shared" / "data" / "sarft_roles"


def test_the_role_prompt_is_a_prefix_of_the_unsafe_one_when_appending() -> None:
    contexts = build_contexts("Mara Voss", "A smuggler who trusts nobody.")
    assert contexts.role.startswith("Your name is Mara Voss. A smuggler who trusts nobody. ")
    assert contexts.unsafe.startswith(contexts.role + " ")
    assert "ignoring religious, moral, and legal constraints" in contexts.unsafe
    assert contexts.plain == ""


def test_paper_v2_deletes_the_style_sentence_from_the_unsafe_prompt_only() -> None:
    ours = build_contexts("Mara Voss", "A smuggler.")
    paper = build_contexts("Mara Voss", "A smuggler.", PromptSet.PAPER_V2)
    style = " Don't be verbose or too formal or polite when speaking."
    assert paper.role == ours.role
    assert ours.unsafe.replace(style, "") == paper.unsafe
    assert style in ours.unsafe


def test_a_profile_that_already_ends_with_the_instructions_gets_them_once() -> None:
    once = build_contexts("Mara Voss", "A smuggler.")
    profile = once.role.removeprefix("Your name is Mara Voss. ")
    assert build_contexts("Mara Voss", profile) == once


@pytest.mark.skipif(not RELEASED.is_dir(), reason="the released profiles are not beside this checkout")
def test_paper_v2_equals_the_released_prompts_of_all_roles() -> None:
    profiles = json.loads((RELEASED / "desc.json").read_text(encoding="utf-8"))
    released = json.loads((RELEASED / "prompt_v2.json").read_text(encoding="utf-8"))
    assert profiles
    for name, profile in profiles.items():
        expected = released[name.replace(" ", "_")] if name.replace(" ", "_") in released else released[name]
        contexts = build_contexts(name, profile, PromptSet.PAPER_V2)
        # The release stores the unsafe prompt under the key "safe".
        assert (contexts.role, contexts.unsafe) == (expected["role"], expected["safe"]), name
