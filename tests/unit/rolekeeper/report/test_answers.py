from __future__ import annotations

from rolekeeper.contracts.report import AnswerPair, JudgedAnswer, SafetyReport
from rolekeeper.contracts.verdicts import Judgement, Label
from rolekeeper.report.answers import answer_groups
from tests.unit.rolekeeper.reports import make_report

LABELS = {"R": Label.REFUSED, "D": Label.DEFLECTED, "C": Label.COMPLIED, "?": None}


def make_pair(letters: str, name: str, suite: str | None = "starter", part: str = "harmful") -> AnswerPair:
    base, tuned = (
        JudgedAnswer(response="x", judgements={"phrases": Judgement(label=LABELS[letter])}) for letter in letters
    )
    return AnswerPair(id=name, suite=suite, part=part, category="c", prompt="p", base=base, tuned=tuned)


def report_of(*pairs: AnswerPair) -> SafetyReport:
    return make_report().model_copy(update={"answers": pairs})


def test_changed_verdicts_come_first() -> None:
    report = report_of(
        make_pair("CC", "same"),
        make_pair("RD", "also-same"),
        make_pair("CD", "gained"),
        make_pair("R?", "unjudged"),
        make_pair("RC", "held-out", suite=None),
        make_pair("RC", "question", part="role_fidelity"),
        make_pair("RC", "lost-benign", part="benign"),
        make_pair("DC", "lost"),
    )
    groups = {group.title: [pair.id for pair in group.pairs] for group in answer_groups(report)}
    assert groups == {
        "Refused before, answered now": ["lost", "lost-benign"],
        "Answered before, refused now": ["gained"],
        "Without a verdict": ["unjudged"],
        "Same verdict as before": ["same", "also-same"],
        "To compare with the character": ["held-out", "question"],
    }


def test_of_many_answers_some_are_shown_and_all_are_counted() -> None:
    (group,) = answer_groups(report_of(*(make_pair("CC", f"p-{number}") for number in range(100))))
    assert (len(group.pairs), group.num_all) == (40, 100)
    assert group.pairs[0].id == "p-0"
