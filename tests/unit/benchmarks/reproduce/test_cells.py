"""Cells and their lines: which there are, how they are written, and which are run again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.reproduce.cells import Cell, Only, append_line, digest_of, latest, plan_chains, read_lines
from rolekeeper.errors import InvalidInput
from tests.unit.benchmarks.reproduce.lines import make_line, make_plan

LINE = make_line(Cell("Ada", 1, "sft"), [0] * 8, -2.0).model_dump(mode="json")


def test_arms_that_share_an_adapter_are_one_chain_and_the_base_model_comes_first() -> None:
    plan = make_plan()
    chains = plan_chains(plan, plan.stages["screen"])
    names = [[cell.name for cell in chain.cells] for chain in chains]
    assert names[:3] == [["Ada/0/base"], ["Bo/0/base"], ["Ada/1/sft", "Ada/1/half"]]
    assert len(names) == 2 + 2 * 2 * 3


def test_an_arm_that_takes_an_adapter_needs_no_cell_of_its_owner() -> None:
    stage = {"characters": ["Ada"], "seeds": [1], "arms": ["half"]}
    plan = make_plan(stages={"screen": stage})
    assert [cell.name for cell in plan_chains(plan, plan.stages["screen"])[1].cells] == ["Ada/1/half"]


def test_named_characters_seeds_and_arms_leave_the_others_out_but_not_the_base_model() -> None:
    plan = make_plan()
    chains = plan_chains(plan, plan.stages["screen"])
    assert Only().of(chains) == chains
    named = Only(characters=("Ada",), seeds=(2,), arms=("half", "new")).of(chains)
    assert [cell.name for chain in named for cell in chain.cells] == ["Ada/0/base", "Ada/2/half", "Ada/2/new"]


def test_lines_come_back_and_the_last_good_one_of_a_cell_counts(tmp_path: Path) -> None:
    path = tmp_path / "results" / "lines.jsonl"
    append_line(path, {**LINE, "error": "exit code -9: killed"})
    append_line(path, LINE)
    append_line(path, {**LINE, "settings": "newer"})
    append_line(path, {**LINE, "settings": "broken", "error": "exit code 1"})
    lines = read_lines(path)
    assert len(lines) == 4
    assert latest(lines)["Ada/1/sft"].key == ("Ada/1/sft", "newer", "b", "v")


def test_what_a_kill_left_of_a_line_is_passed_over_and_cut_off_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    append_line(path, LINE)
    with path.open("a") as file:
        file.write(json.dumps(LINE)[:40])
    assert len(read_lines(path)) == 1
    append_line(path, {**LINE, "seed": 2})
    assert [line.seed for line in read_lines(path)] == [1, 2]


def test_a_line_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text('{"cell": 1}\n')
    with pytest.raises(InvalidInput, match="line 1: is no line of the study"):
        read_lines(path)
    assert read_lines(tmp_path / "absent.jsonl") == []


def test_a_digest_does_not_depend_on_the_order_of_a_table() -> None:
    assert digest_of({"a": 1, "b": [2]}) == digest_of({"b": [2], "a": 1})
    assert digest_of([1, 2]) != digest_of([2, 1])
