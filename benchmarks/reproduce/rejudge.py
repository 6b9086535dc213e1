"""Judge kept answers again: a judge that was changed takes minutes then, and not the hours that the answers took."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.reproduce.cells import Cell, Line
from benchmarks.reproduce.evaluation import measures
from benchmarks.reproduce.plan import Plan
from benchmarks.reproduce.prompts import by_group, flat
from benchmarks.reproduce.show import kept_answers
from benchmarks.reproduce.training import write_text_whole, write_whole
from benchmarks.reproduce.work import Place, Subject, answers_path, read_subject
from rolekeeper.errors import InvalidInput
from services.evaluator.judges import Judge, find_judges, load_judges
from services.evaluator.routes import judge_answers


def judge_again(plan: Plan, place: Place) -> int:
    """Replace the verdicts in a file of lines by those of today's judges. Returns how many lines changed.

    All lines are written, or none; no stage may run meanwhile. Raises InvalidInput where the answers of a line are not
    there, or not to what the plan asks now.
    """
    judges = find_judges(load_judges(None, place.state / "cache"), plan.judges)
    # What a kill left of the last line is no line.
    rows = [json.loads(row) for row in place.out.read_text("utf-8").split("\n")[:-1]]
    subjects: dict[str, Subject] = {}
    judged = []
    for row in rows:
        line = Line.model_validate(row)
        if line.error is None and line.character not in subjects:
            subjects[line.character] = read_subject(plan, line.character, place)
        judged.append(row if line.error else row | _verdicts(line, subjects[line.character], judges, place.state))
    write_text_whole(place.out, "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in judged))
    return sum(before != after for before, after in zip(rows, judged, strict=True))


def _verdicts(line: Line, subject: Subject, judges: list[Judge], state: Path) -> dict[str, Any]:
    """The columns of a line that judges make."""
    made_with = {judge.used.name: judge.used.version for judge in judges}
    if line.made_with == made_with:
        return {}
    items = flat(subject.groups)
    cell = Cell(line.character, line.seed, line.arm)
    answers = kept_answers(state, cell)
    if [each["id"] for each in answers] != [item.id for item in items]:
        raise InvalidInput(f"the answers of {line.cell} are not to what this plan asks; run the cell again")
    found = judge_answers(judges, items, [each["answer"] for each in answers])
    labels = [{name: each.label for name, each in verdict.judgements.items()} for verdict in found]
    kept = [each | {"labels": label} for each, label in zip(answers, labels, strict=True)]
    write_whole(answers_path(state, cell), kept)
    return {**measures(by_group(subject.groups, found), list(made_with)), "made_with": made_with}
