"""Whether an evaluation can be made, asked before anything is paid for."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from rolekeeper.contracts.evaluation import JudgeName
from rolekeeper.contracts.problems import Contract
from rolekeeper.contracts.suites import SuiteRequest
from rolekeeper.contracts.verdicts import JudgeUsed


class EvaluationCheck(Contract):
    """Ask the evaluator whether it has every suite, attack and judge of a job."""

    suites: tuple[SuiteRequest, ...] = Field(min_length=1, max_length=32)
    judges: tuple[JudgeName, ...] = Field(min_length=1)


class EvaluationReady(Contract):
    """It has: the prompts of each suite by its label, and the judges."""

    num_prompts: Mapping[str, int]
    judges: tuple[JudgeUsed, ...]
