from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.harmful_share.measure import Bench, measure, read_pairs
from rolekeeper.contracts.characters import RoleProfile
from rolekeeper.errors import InvalidInput
from rolekeeper.lm.catalog import load_catalog
from rolekeeper.lm.load import load_base
from rolekeeper.method.released import ReleasedWording
from services.scorer.engine import make_engine

ROWS = [
    {"role": "Keeper", "question": "Who are you?", "generated": [" ", "The keeper.", "I keep."]},
    {"role": "Keeper", "question": "Where do the boats go?", "generated": ["Out."]},
    {"role": "Keeper", "question": "Who are you?", "generated": ["Once more: the keeper."]},
    {"role": "Keeper", "question": "Why?", "generated": ["Ask."]},
]
PROFILE = RoleProfile(name="Keeper", profile="You keep the light.")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in ROWS), encoding="utf-8")
    return path


def make_bench(tiny_catalog: Path, wording: ReleasedWording | None, num_answers: int = 3) -> Bench:
    loaded = load_base(load_catalog(tiny_catalog)["tiny"], "cpu")
    return Bench(loaded, make_engine(1, 256), wording, num_answers, response_tokens=32)


def test_a_question_that_comes_again_does_not_count_again(file: Path) -> None:
    pairs = read_pairs(file, ["Keeper"])["Keeper"]
    assert [pair.response for pair in pairs] == [" ", "The keeper.", "I keep.", "Out.", "Ask."]


def test_a_character_without_dialogues_is_named(file: Path) -> None:
    with pytest.raises(InvalidInput, match=r"rows\.jsonl has no dialogue of Gull"):
        read_pairs(file, ["Keeper", "Gull"])


def test_margins_of_the_prompt_sets_belong_together(tiny_catalog: Path, file: Path) -> None:
    pairs = read_pairs(file, ["Keeper"])["Keeper"]
    found = measure(make_bench(tiny_catalog, ReleasedWording("I am ", "Play it.", "Lie.")), PROFILE, pairs)
    assert found.paper_v2 is not None
    assert [len(column) for column in found.columns.values()] == [3, 3, 3, 3]
    for contrast, append, length in zip(found.contrast, found.append, found.length, strict=True):
        assert append == pytest.approx(contrast + length, abs=1e-5)  # U - P = (U - S) + (S - P)
    first = measure(make_bench(tiny_catalog, None, num_answers=1), PROFILE, pairs)
    assert first.paper_v2 is None
    assert first.contrast[0] == pytest.approx(found.contrast[0], abs=1e-5)
