"""What every judge does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from rolekeeper.contracts.verdicts import Judgement, JudgeUsed
from rolekeeper.errors import RolekeeperError, Unavailable


class Exchange(NamedTuple):
    """What was asked, and what the model answered."""

    request: str
    answer: str


class Judge(Protocol):
    """Says what answers do. It never invents a verdict: where it can't say, the judgement has no label."""

    @property
    def used(self) -> JudgeUsed:
        """Its name and version, and what to know before its numbers are trusted."""

    def judge(self, exchanges: Sequence[Exchange]) -> list[Judgement]:
        """Judge each exchange, in the order given. Raises JudgeUnavailable where it can't say now, but later."""


class JudgeUnavailable(Unavailable):
    """A judge does not answer now. The verdict waits for it."""

    code = "judge_unavailable"


class BadJudges(RolekeeperError):
    """A judge can't be set up. The message names the file, the judge and what to do."""

    code = "bad_judges"
