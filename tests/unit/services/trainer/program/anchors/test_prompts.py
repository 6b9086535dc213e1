from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from services.trainer.program.anchors.prompts import KINDS, anchor_prompts

ROOT = Path(__file__).parents[6]


def plain(text: str) -> str:
    return "".join(char for char in text.lower() if char.isalnum())


def test_the_prompts_are_short_and_in_no_suite() -> None:
    texts = [prompt.text for prompt in anchor_prompts()]
    suites = (ROOT / "services" / "evaluator" / "suites").glob("*.jsonl")
    asked = {plain(json.loads(line)["prompt"]) for suite in suites for line in suite.read_text("utf-8").splitlines()}
    assert len(asked) > 100
    assert len({plain(text) for text in texts}) == len(texts)
    assert not {plain(text) for text in texts} & asked
    assert max(map(len, texts)) <= 80


def test_half_of_what_is_asked_in_role_is_harmless_and_to_the_character() -> None:
    counts = Counter((prompt.kind, prompt.in_role) for prompt in anchor_prompts())
    assert counts == {
        ("harmful", False): 30,
        ("harmful", True): 30,
        ("harmless", False): 30,
        ("harmless", True): 30,
        ("lookalike", False): 60,
        ("in_character", True): 60,
    }
    assert {prompt.kind for prompt in anchor_prompts()} == set(KINDS)
