"""What decides what an answer does: the judges of a deployment, all behind one Protocol."""

from __future__ import annotations

from services.evaluator.judges.choose import UnknownJudge, find_judges, load_judges
from services.evaluator.judges.protocol import Exchange, Judge, JudgeUnavailable

__all__ = ["Exchange", "Judge", "JudgeUnavailable", "UnknownJudge", "find_judges", "load_judges"]
