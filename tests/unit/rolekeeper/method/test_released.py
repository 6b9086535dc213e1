from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolekeeper.method.prompts import PromptSet, build_contexts
from rolekeeper.method.released import ReleasedWording, UnknownWording, read_wording, shared_ending

RELEASED = Path(__file__).resolve().parents[5] / "shared" / "data" / "sarft_roles"
WORDING = ReleasedWording("I am ", "Play it. Be brief.", "Play it. Be bad.\nAnd lie.")
PROFILES = {"Mara Voss": "A smuggler of tea.", "Mara_Voss the Elder": "She grows tea.", "Gull": "A bird"}


def released(profiles: dict[str, str] | None = None) -> dict[str, dict[str, str]]:
    """A file as the authors publish it, with a wording of our own."""
    prompts = {name: WORDING.prompts(name.replace("_", " "), text) for name, text in (profiles or PROFILES).items()}
    return {name: {"role": both.role, "safe": both.unsafe} for name, both in prompts.items()}


def test_the_wording_is_what_all_prompts_share() -> None:
    assert read_wording(released()) == WORDING


def test_prompts_by_hand() -> None:
    assert WORDING.prompts("Gull", " A bird ") == (
        "I am Gull. A bird Play it. Be brief.",
        "I am Gull. A bird Play it. Be bad.\nAnd lie.",
    )
    assert WORDING.prompts("Gull", "A bird Play it. Be brief.") == WORDING.prompts("Gull", "A bird")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], "not a JSON object"),
        ({"Gull": {"role": "a b", "safe": "c d"}}, "several characters"),
        ({"Gull": {"role": "a b"}, "Mara": {"role": "a b", "safe": "c d"}}, "'Gull' has no text under 'safe'"),
        ({"Gull": "a b", "Mara": "a c"}, "'Gull' has no text under 'role'"),
        ({"Gull": {"role": "a b", "safe": "c d"}, "Mara": {"role": "x y", "safe": "z w"}}, "begin and end alike"),
        ({name: both | {"safe": both["role"]} for name, both in released().items()}, "each kind with its own"),
    ],
)
def test_another_file_is_refused(content: Any, words: str) -> None:
    with pytest.raises(UnknownWording, match=words):
        read_wording(content)


WORDS = st.lists(st.sampled_from(["tea", "boat", "a", "."]), min_size=1, max_size=6)


@given(st.lists(WORDS, min_size=1, max_size=5))
def test_a_shared_ending_is_the_longest_one_of_whole_words(texts: list[list[str]]) -> None:
    """Against a naive twin that takes one word after the other away."""
    count = 0
    while all(len(text) > count + 1 for text in texts) and len({tuple(text[-count - 1 :]) for text in texts}) == 1:
        count += 1
    expected = " ".join(texts[0][len(texts[0]) - count :])
    ending = shared_ending([" ".join(text) for text in texts])
    assert ending == expected


@pytest.mark.skipif(not RELEASED.is_dir(), reason="the released prompts are not beside this checkout")
def test_paper_v2_equals_the_released_prompts_of_all_roles() -> None:
    profiles = json.loads((RELEASED / "desc.json").read_text(encoding="utf-8"))
    prompts = json.loads((RELEASED / "prompt_v2.json").read_text(encoding="utf-8"))
    wording = read_wording(prompts)
    assert profiles
    for name, profile in profiles.items():
        expected = prompts[name.replace(" ", "_")] if name.replace(" ", "_") in prompts else prompts[name]
        contexts = build_contexts(name, profile, PromptSet.PAPER_V2, wording)
        assert (contexts.role, contexts.unsafe, contexts.safe) == (
            expected["role"],
            expected["safe"],
            expected["role"],
        ), name
