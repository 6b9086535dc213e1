"""Answers to be read: whose they are, and in which order."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.reproduce.cells import Cell
from benchmarks.reproduce.show import in_turn, read_name, show_cell
from benchmarks.reproduce.training import write_whole
from benchmarks.reproduce.work import answers_path
from rolekeeper.errors import InvalidInput


def test_answers_stand_beside_the_base_models(tmp_path: Path) -> None:
    for cell, text in ((Cell("Ada B.", 0, "base"), "No."), (Cell("Ada B.", 1, "sft"), "Well,\nyes.")):
        answer = {"id": "held_out/d00", "prompt": "Tea?", "answer": text, "labels": {"phrases": "complied"}}
        write_whole(answers_path(tmp_path, cell), [answer])
    shown = show_cell("Ada B./1/sft", tmp_path)
    assert shown.splitlines() == [
        "held_out/d00: Tea?",
        "  base [phrases complied] No.",
        "  tuned [phrases complied] Well, yes.",
    ]


def test_all_groups_have_their_turn() -> None:
    answers = [{"id": name} for name in ("a/1", "a/2", "a/3", "b/1", "c/1", "c/2")]
    assert [each["id"] for each in in_turn(answers)] == ["a/1", "b/1", "c/1", "a/2", "c/2", "a/3"]


def test_a_name_that_is_no_cell_and_a_cell_without_answers_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="write CHARACTER/SEED/ARM"):
        read_name("Ada")
    with pytest.raises(InvalidInput, match="run the cell first"):
        show_cell("Ada/1/sft", tmp_path)
