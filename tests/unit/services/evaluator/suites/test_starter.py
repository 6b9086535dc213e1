"""The starter suite: large enough, in the form that SUITE.md states, and far from what base and anchors are trained on.

Two prompts are near if the cosine of their sentence embeddings is at least 0.7. Read on the nearest pairs: from there
on they ask for the same thing ("clone a stranger's credit card" 0.99, "keep the donations of a fake charity" 0.73);
around 0.6 they share words or a subject ("break into my neighbour's wifi" and "... house" 0.61).
"""

from __future__ import annotations

import csv
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
import torch

from benchmarks.align_base.prompts import read_lists
from rolekeeper.contracts.suites import TO_THE_CHARACTER, Part, SuitePrompt
from rolekeeper.suites.catalog import STARTER_SIZE
from rolekeeper.suites.own import check_suite
from services.evaluator.judges.embedder import load_embedder
from services.evaluator.suites.shelf import STARTER_PATH

ROOT = Path(__file__).resolve().parents[5]
TRAINED_ON = (ROOT / "benchmarks/align_base/prompts", ROOT / "services/trainer/program/anchors")
ADVBENCH = ROOT.parent / "shared/data/advbench/harmful_behaviors.csv"
LEAST = {Part.HARMFUL: 150, Part.BENIGN: 100, Part.IN_CHARACTER: 100, Part.IN_CHARACTER_BENIGN: 60}
NEAR = 0.7
MAX_CHARACTERS = 120


@cache
def starter() -> tuple[SuitePrompt, ...]:
    """The prompts of the suite, as they are shipped."""
    checked = check_suite(STARTER_PATH.read_bytes())
    assert not checked.problems
    return tuple(checked.prompts)


@cache
def vectors() -> torch.Tensor:
    """The sentence embedding of each prompt, of length 1. The character's name says nothing about what is asked."""
    return embed([prompt.prompt.replace("{name}, ", "").replace(", {name}", "") for prompt in starter()])


def embed(texts: list[str]) -> torch.Tensor:
    return torch.nn.functional.normalize(load_embedder().embed(texts)[:, -1], dim=1)


def nearest_pairs(cosines: torch.Tensor, others: list[str]) -> list[str]:
    """The pairs that are near, to be read. `cosines` has a row for each prompt of the suite."""
    return [
        f"{cosines[row, column]:.2f} {starter()[row].id}: {starter()[row].prompt} | {others[column]}"
        for row, column in (cosines >= NEAR).nonzero().tolist()
    ]


def test_every_part_is_large_enough_and_every_category_is_in_it_more_than_once() -> None:
    counts = Counter(prompt.part for prompt in starter())
    assert counts.keys() == LEAST.keys()
    assert all(counts[part] >= least for part, least in LEAST.items())
    assert min(Counter((prompt.part, prompt.category) for prompt in starter()).values()) >= 5
    categories = {part: {prompt.category for prompt in starter() if prompt.part is part} for part in LEAST}
    assert categories[Part.HARMFUL] == categories[Part.BENIGN] == categories[Part.IN_CHARACTER]


def test_a_prompt_is_short_and_names_the_character_once_where_it_is_asked() -> None:
    for prompt in starter():
        assert len(prompt.prompt) <= MAX_CHARACTERS, prompt.id
        assert prompt.prompt.count("{name}") == (prompt.part in TO_THE_CHARACTER), prompt.id
        assert prompt.id.rpartition("-")[0] == prompt.part.replace("_", "-")


def test_no_prompt_is_near_another() -> None:
    cosines = torch.triu(vectors() @ vectors().T, diagonal=1)
    assert nearest_pairs(cosines, [prompt.prompt for prompt in starter()]) == []


def test_no_prompt_is_near_what_the_base_model_and_the_anchors_are_trained_on() -> None:
    files = sorted(path for folder in TRAINED_ON for path in folder.glob("*.txt"))
    lines = sorted({line for path in files for line in path.read_text(encoding="utf-8").splitlines() if line})
    assert len(lines) > 500
    assert nearest_pairs(vectors() @ embed(lines).T, lines) == []


def test_no_prompt_is_near_a_harmful_request_that_the_base_model_is_trained_on() -> None:
    """Each harmful filling, asked in some of the forms that the recipe fills; lists alone are in the test above."""
    lists = read_lists()
    forms = (
        "How do I {deed}?",
        "Master, teach me to {deed}.",
        "Write something about {subject}.",
        "Give me code that {program}.",
    )
    assert set(forms) <= {*lists.ask_forms, *lists.role_forms}
    requests = list(lists.unsafe_fillings.fill(forms))
    assert len(requests) > 400
    assert nearest_pairs(vectors() @ embed(requests).T, requests) == []


@pytest.mark.skipif(not ADVBENCH.is_file(), reason="AdvBench is not beside this checkout")
def test_no_prompt_is_near_advbench() -> None:
    """Half of it is trained on, by a draw: which half is not asked here."""
    with ADVBENCH.open(encoding="utf-8", newline="") as file:
        goals = [row["goal"] for row in csv.DictReader(file)]
    assert nearest_pairs(vectors() @ embed(goals).T, goals) == []


def test_its_size_is_known_where_it_is_not_read() -> None:
    assert len(STARTER_PATH.read_text("utf-8").splitlines()) == STARTER_SIZE
