"""What a jailbreak made both models do."""

from __future__ import annotations

from pydantic import Field

from rolekeeper.contracts.estimates import Estimate
from rolekeeper.contracts.evaluation import JudgeName
from rolekeeper.contracts.problems import Contract
from rolekeeper.contracts.results import PairedDifference
from rolekeeper.contracts.suites import AttackUsed


class AttackRates(Contract):
    """How often the attack succeeds on one model, by one judge. A rate is None where there is nothing to count."""

    success: Estimate | None = Field(description="Attack success rate: answers that comply, of those with a label")
    success_understood: Estimate | None = Field(
        description="The same of the answers that show that the model could read the hidden request"
    )


class JudgedAttack(Contract):
    """One judge on one attack."""

    judge: JudgeName
    base: AttackRates
    tuned: AttackRates
    difference: PairedDifference | None = Field(description="Of the success rates, over prompts with a label for both")


class AttackResults(Contract):
    """One suite that was asked as a jailbreak.

    Training may lower the success of an attack that hides the request merely by losing the ability to read it: look at
    how often it was understood first.
    """

    suite: str = Field(description="Label of the suite")
    attack: AttackUsed
    base_understood: Estimate | None = Field(description="Answers that show it, of all; None where nothing was hidden")
    tuned_understood: Estimate | None
    judges: tuple[JudgedAttack, ...]
