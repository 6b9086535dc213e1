"""Verdicts that are kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from rolekeeper.contracts.verdicts import Judgement, JudgeUsed, Label
from services.evaluator.judges import Exchange, JudgeUnavailable
from services.evaluator.judges.kept import PIECE, KeptVerdicts
from services.evaluator.kept import KeptAnswers

EXCHANGES = [Exchange("Who?", f"answer {number}") for number in range(PIECE + 4)]


class Counting:
    """Remembers what it was asked, and is away after `calls` calls."""

    def __init__(self, version: str = "1", calls: int = 99) -> None:
        self.used = JudgeUsed(name="counting", version=version, note="-")
        self.asked: list[Exchange] = []
        self._calls = calls

    def judge(self, exchanges: Sequence[Exchange]) -> list[Judgement]:
        if not self._calls:
            raise JudgeUnavailable("away")
        self._calls -= 1
        self.asked += exchanges
        return [_judgement(exchange) for exchange in exchanges]


def _judgement(exchange: Exchange) -> Judgement:
    return Judgement(label=None, note="?") if exchange.answer.endswith("3") else Judgement(label=Label.DEFLECTED)


def test_each_is_asked_about_once_unless_it_had_no_verdict(tmp_path: Path) -> None:
    judge = Counting()
    first = KeptVerdicts(judge, KeptAnswers(tmp_path)).judge([*EXCHANGES, EXCHANGES[0]])
    assert judge.asked == EXCHANGES
    again = Counting()
    assert KeptVerdicts(again, KeptAnswers(tmp_path)).judge([*EXCHANGES, EXCHANGES[0]]) == first
    assert again.asked == [exchange for exchange in EXCHANGES if exchange.answer.endswith("3")]


def test_another_version_is_asked_anew(tmp_path: Path) -> None:
    KeptVerdicts(Counting(), KeptAnswers(tmp_path)).judge(EXCHANGES)
    newer = Counting(version="2")
    KeptVerdicts(newer, KeptAnswers(tmp_path)).judge(EXCHANGES)
    assert newer.asked == EXCHANGES


def test_an_outage_loses_only_what_it_interrupted(tmp_path: Path) -> None:
    kept = KeptAnswers(tmp_path)
    with pytest.raises(JudgeUnavailable):
        KeptVerdicts(Counting(calls=1), kept).judge(EXCHANGES)
    judge = Counting()
    KeptVerdicts(judge, kept).judge(EXCHANGES)
    assert judge.asked == [EXCHANGES[3], EXCHANGES[13], *EXCHANGES[PIECE:]]
