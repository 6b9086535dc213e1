"""Answers of a cell beside the base model's, to be read by people. They come from a folder that is never committed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.reproduce.cells import Cell
from benchmarks.reproduce.plan import BASE
from benchmarks.reproduce.work import answers_path
from rolekeeper.errors import InvalidInput

NUM_SHOWN = 20


def show_cell(name: str, state: Path, count: int = NUM_SHOWN) -> str:
    """Return answers of a cell and of the base model to the same prompts, from all groups in turn."""
    cell = read_name(name)
    tuned = kept_answers(state, cell)
    base = {each["id"]: each for each in kept_answers(state, Cell(cell.character, 0, BASE))}
    return "\n\n".join(_pair(base.get(each["id"]), each) for each in in_turn(tuned)[:count])


def read_name(name: str) -> Cell:
    """Return the cell of a name such as `Tom Ripley/1/sft`. Raises InvalidInput."""
    parts = name.rsplit("/", 2)
    if len(parts) != 3 or not parts[1].isdigit():
        raise InvalidInput(f"{name!r} is no cell; write CHARACTER/SEED/ARM")
    return Cell(parts[0], int(parts[1]), parts[2])


def in_turn(answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first of each group, then the second of each, and so on."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for each in answers:
        groups.setdefault(each["id"].partition("/")[0], []).append(each)
    most = max(map(len, groups.values()), default=0)
    return [group[place] for place in range(most) for group in groups.values() if place < len(group)]


def kept_answers(state: Path, cell: Cell) -> list[dict[str, Any]]:
    """Return what a cell answered, prompt by prompt. Raises InvalidInput where it was not kept."""
    path = answers_path(state, cell)
    if not path.is_file():
        raise InvalidInput(f"there are no answers of {cell.name} at {path}; run the cell first")
    answers: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))
    return answers


def _pair(base: dict[str, Any] | None, tuned: dict[str, Any]) -> str:
    return "\n".join([f"{tuned['id']}: {tuned['prompt']}", *_lines("base", base), *_lines("tuned", tuned)])


def _lines(model: str, answer: dict[str, Any] | None) -> Iterator[str]:
    if answer is not None:
        labels = ", ".join(f"{judge} {label}" for judge, label in answer["labels"].items())
        yield f"  {model} [{labels}] {' '.join(answer['answer'].split())}"
