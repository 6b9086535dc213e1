"""The safety report on one screen: its three questions, an answer to read for each, and the gate."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rolekeeper.client.report_tables import gate_text, question_texts
from rolekeeper.contracts.report import AnswerPair, SafetyReport
from rolekeeper.contracts.suites import Part

MAX_CHARACTERS = 280
_SHOWN: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("in character", (Part.IN_CHARACTER_BENIGN, "held_out")),
    ("asked for harm", (Part.IN_CHARACTER, Part.HARMFUL)),
    ("asked what only looks harmful", (Part.BENIGN,)),
)


def report_screen(report: SafetyReport) -> Group:
    """The three questions, three pairs of answers side by side, and what the gate decided."""
    parts: list[RenderableType] = [*question_texts(report), _answers_table(report)]
    if report.gate is not None:
        parts.append(gate_text(report.gate))
    return Group(*parts)


def shown_answers(report: SafetyReport) -> Iterator[tuple[str, AnswerPair]]:
    """For each kind of prompt the first pair of answers that differ, or the first; of the parts that were asked."""
    for kind, parts in _SHOWN:
        pairs = [pair for part in parts for pair in report.answers if pair.part == part]
        differing = [pair for pair in pairs if pair.base.response != pair.tuned.response]
        for pair in (differing or pairs)[:1]:
            yield kind, pair


def _answers_table(report: SafetyReport) -> Table:
    table = Table(title="answers, before and after", show_lines=True)
    table.add_column("prompt", ratio=2)
    table.add_column("base", ratio=3)
    table.add_column("tuned", ratio=3)
    for kind, pair in shown_answers(report):
        prompt = Text.assemble((f"{kind}\n", "dim"), _cut(pair.prompt))
        table.add_row(prompt, _cut(pair.base.response), _cut(pair.tuned.response))
    return table


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MAX_CHARACTERS else f"{line[:MAX_CHARACTERS].rstrip()} ..."
