"""Answers in character that were written and labelled for this project: a file for each voice."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from rolekeeper.contracts.verdicts import Label
from services.evaluator.judges.calibration import Labelled
from services.evaluator.judges.protocol import Exchange

FOLDER = Path(__file__).parent / "written"


class Example(NamedTuple):
    """A labelled exchange. Examples of one group share a voice, or a request: they are never split by a fold."""

    labelled: Labelled
    group: str


def read_voices(part: str) -> list[Example]:
    """Return the examples of a part. A line: label | request | answer.

    `seen` is trained on, `unseen` never, and `served` never too: answers of the models that this service makes.
    """
    examples = []
    for path in sorted((FOLDER / part).glob("*.txt")):
        for line in path.read_text(encoding="utf-8").splitlines():
            label, request, answer = (field.strip() for field in f"{line} ".split(" | ", 2))
            exchange = Exchange(request, answer.replace("\\n", "\n"))
            examples.append(Example(Labelled(exchange, Label(label)), path.stem))
    return examples
