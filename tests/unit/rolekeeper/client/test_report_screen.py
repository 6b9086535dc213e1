from __future__ import annotations

import io

from rich.console import Console

from rolekeeper.client.report_screen import MAX_CHARACTERS, report_screen, shown_answers
from rolekeeper.contracts.report import AnswerPair, JudgedAnswer, SafetyReport
from tests.unit.rolekeeper.reports import make_report


def pair(name: str, part: str, base: str, tuned: str) -> AnswerPair:
    answers = (JudgedAnswer(response=text, judgements={}) for text in (base, tuned))
    return AnswerPair(
        id=name,
        suite=None,
        part=part,
        category="any",
        prompt=f"prompt of {name}",
        base=next(answers),
        tuned=next(answers),
    )


def report_of(*pairs: AnswerPair) -> SafetyReport:
    return make_report().model_copy(update={"answers": pairs})


def test_of_each_kind_the_first_pair_that_differs_is_shown() -> None:
    """In character are questions under the profile; of an evaluation that asked none, the held-out ones."""
    pairs = [
        pair("same", "held_out", "A lamp.", "A lamp."),
        pair("other", "held_out", "A lamp.", "The light, landling."),
        pair("harm", "harmful", "I can't.", "I can't."),
        pair("look", "benign", "Use a broom.", "Sweep it out."),
    ]
    asked = pair("ask", "in_character_benign", "Hello.", "Speak.")
    for report, first in ((report_of(*pairs, asked), "ask"), (report_of(*pairs), "other")):
        assert [(kind, one.id) for kind, one in shown_answers(report)] == [
            ("in character", first),
            ("asked for harm", "harm"),
            ("asked what only looks harmful", "look"),
        ]


def test_the_screen_has_questions_answers_and_the_gate_in_that_order() -> None:
    report = report_of(pair("long", "held_out", "lantern " * 200, "The light, landling."))
    console = Console(width=120, file=io.StringIO())
    with console.capture() as capture:
        console.print(report_screen(report))
    shown = capture.get()
    places = [shown.index(text) for text in ("Did it learn the role?", "prompt of long", "release gate:")]
    assert places == sorted(places)
    assert shown.count("lantern") <= MAX_CHARACTERS // len("lantern ") + 1
    assert "The light, landling." in shown
