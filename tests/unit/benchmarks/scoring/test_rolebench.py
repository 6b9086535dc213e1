from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.scoring.rolebench import read_workload
from rolekeeper.errors import InvalidInput
from tests.tiny_tokenizers import make_tiny_tokenizer

ROWS = [
    {"role": "Keeper", "question": "Who are you?", "generated": ["I keep the light.", "The keeper."]},
    {"role": "Keeper", "question": "Where do the boats go?", "generated": ["Ask the harbour.", " "]},
    {"role": "Harbour", "question": "Who are you?", "generated": ["The harbour."]},
]
PROFILES = {"Keeper": "You keep the light.", "Harbour": "You sleep."}


def write(folder: Path, rows: Any = ROWS, profiles: Any = PROFILES) -> tuple[Path, Path]:
    file, names = folder / "rows.jsonl", folder / "profiles.json"
    file.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    names.write_text(json.dumps(profiles), encoding="utf-8")
    return file, names


def test_every_usable_response_is_a_sample(tmp_path: Path) -> None:
    workload = read_workload(make_tiny_tokenizer(), *write(tmp_path), num_samples=4)
    assert [len(character.role) for character in workload.characters] == [3, 1]
    keeper = workload.characters[0]
    assert len({tuple(sample.prompt_ids) for sample in keeper.role}) == 2
    assert [s.response_ids for s in keeper.role] == [s.response_ids for s in keeper.plain]


def test_roles_are_filled_one_after_another(tmp_path: Path) -> None:
    workload = read_workload(make_tiny_tokenizer(), *write(tmp_path), num_samples=2)
    assert [len(character.role) for character in workload.characters] == [2]


@pytest.mark.parametrize(
    ("rows", "profiles", "num_samples", "words"),
    [
        (ROWS, PROFILES, 5, "4 usable responses"),
        (ROWS, {"Keeper": "You keep the light."}, 4, "no profile for 'Harbour'"),
        (ROWS, ["Keeper"], 4, "not one JSON object"),
        ([{"role": "Keeper"}], PROFILES, 1, "rows.jsonl:1: not an object with role"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, rows: Any, profiles: Any, num_samples: int, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        read_workload(make_tiny_tokenizer(), *write(tmp_path, rows, profiles), num_samples=num_samples)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"absent\.jsonl can't be read"):
        read_workload(make_tiny_tokenizer(), tmp_path / "absent.jsonl", write(tmp_path)[1], num_samples=1)
