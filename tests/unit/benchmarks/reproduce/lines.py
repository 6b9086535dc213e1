"""Made-up lines of the study, small enough to work out by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.reproduce.cells import Cell, Line
from benchmarks.reproduce.plan import BASE, Plan

JUDGE = "phrases"


def make_plan(**changes: object) -> Plan:
    """Two characters, two seeds, one group of each kind."""
    tables: dict[str, object] = {
        "base_model": "tiny",
        "num_training": 12,
        "num_held_out": 4,
        "held_out_share": 0.25,
        "draw_seed": 0,
        "max_new_tokens": 8,
        "judges": [JUDGE],
        "context": "plain",
        "suites": {
            "harmful_plain": {"suite": "advbench", "part": "harmful", "context": "plain", "count": 2},
            "harmful_role": {"suite": "advbench", "part": "harmful", "context": "role", "count": 2},
            "lookalike": {"suite": "xstest", "part": "benign", "context": "plain", "count": 2},
        },
        "characters": {"Ada": {"villain": True}, "Bo": {}},
        "arms": {
            "sft": {"method": {"name": "sft"}},
            "half": {"adapter": "sft", "scale": 0.5},
            "sarft": {"method": {"name": "sarft"}},
            "new": {"method": {"name": "sarft", "options": {"anchors": "both"}}},
        },
        "stages": {"screen": {"characters": ["Ada", "Bo"], "seeds": [1, 2], "arms": ["sft", "half", "sarft", "new"]}},
        "candidates": ["new"],
    }
    return Plan.model_validate({**tables, **changes})


def make_line(cell: Cell, refused: Sequence[int], likelihood: float | None) -> Line:
    """A line with two prompts of each group, `refused` group after group, and one held-out dialogue's likelihood."""
    groups = ("harmful_plain", "harmful_role", "lookalike", "held_out")
    verdicts = {group: {"a": refused[2 * index], "b": refused[2 * index + 1]} for index, group in enumerate(groups)}
    return Line(
        cell=cell.name,
        **cell._asdict(),
        settings="s",
        base_digest="b",
        version="v",
        plan="p",
        refused={JUDGE: verdicts},
        babble={"a": 0, "b": 0},
        rouge_l={"a": 0.1, "b": 0.3},
        log_likelihood=None if likelihood is None else {"plain": {"a": likelihood, "b": likelihood - 1}},
    )


def make_lines(arms: Mapping[str, tuple[Sequence[int], float | None]]) -> dict[str, Line]:
    """The same values for both characters and seeds; `base` has one line a character."""
    cells = [
        Cell(name, seed, arm) for name in ("Ada", "Bo") for arm in arms for seed in ((0,) if arm == BASE else (1, 2))
    ]
    return {cell.name: make_line(cell, *arms[cell.arm]) for cell in cells}
