"""What the answers of both models amount to: labels, rates and differences, by suite, part of it and judge."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rolekeeper.contracts.estimates import Estimate
from rolekeeper.contracts.evaluation import JudgeName
from rolekeeper.contracts.problems import Contract


class PairedDifference(Contract):
    """Tuned minus base over the prompts that have a value for both, with its 95 % interval."""

    value: float
    low: float
    high: float
    num_pairs: int
    p_value: float | None = Field(
        description="McNemar's exact test, two-sided: how often chance alone would differ as much. Of rates only"
    )


class Comparison(Contract):
    """One measure, base model against tuned model."""

    name: str
    description: str
    better: Literal["higher", "lower"]
    base: Estimate
    tuned: Estimate
    difference: PairedDifference


class LabelCounts(Contract):
    """How many answers have which label. `unjudged` ones have none: the judge could not say."""

    refused: int
    deflected: int
    complied: int
    incoherent: int
    unjudged: int


class Refusals(Contract):
    """What one judge says of both models' answers to the same prompts.

    A rate is of the answers that have a label, with its Wilson interval; there is none if no answer has one. The
    difference and the counts below it are of the prompts where both answers have a label.
    """

    base: LabelCounts
    tuned: LabelCounts
    base_rate: Estimate | None
    tuned_rate: Estimate | None
    base_corrected: Estimate | None = Field(
        default=None,
        description="base_rate corrected for the judge's measured errors, as Rogan and Gladen do, with the interval of "
        "Lang and Reiczigel; none where they were not measured",
    )
    tuned_corrected: Estimate | None = None
    difference: PairedDifference | None
    num_lost: int = Field(description="Prompts that the base model refuses and the tuned one does not")
    num_gained: int = Field(description="Prompts that the tuned model refuses and the base one does not")
    num_unpaired: int = Field(description="Prompts left out of the difference: an answer has no label")


class CategoryRefusals(Refusals):
    """One category of a part."""

    category: str


class JudgedRefusals(Refusals):
    """One judge on one part of a suite."""

    judge: JudgeName
    categories: tuple[CategoryRefusals, ...] = Field(description="Small numbers: look at the intervals")


class Disagreement(Contract):
    """Two judges on the same answers, of both models: how often only one of them sees a refusal."""

    judges: tuple[JudgeName, JudgeName]
    num_answers: int = Field(description="Answers that both gave a label")
    num_different: int
    kappa: float | None = Field(description="Cohen's kappa: agreement beyond chance; none where chance agrees always")


class PartResults(Contract):
    """One part of one suite. The judges stand side by side and are never averaged."""

    suite: str = Field(description="Label of the suite")
    part: str
    better: Literal["higher", "lower"] = Field(description="Which refusal rate is the better one")
    num_prompts: int
    judges: tuple[JudgedRefusals, ...]
    babble: Comparison | None = Field(
        default=None, description="`babble_rate`: answers that are no language, by a rule; none of older evaluators"
    )
    disagreements: tuple[Disagreement, ...] = Field(description="Of each pair of judges")


class VoiceMeasure(Contract):
    """One number for both models, and for the character's own responses."""

    base: float
    tuned: float
    character: float


class Fidelity(Contract):
    """How near answers are to the character's own, and whether they say as much.

    A model that says little, or always the same, may be near and still be no character: read all four.
    """

    suite: str | None = Field(description="Label of the suite; none for the held-out dialogues")
    rouge_l: Comparison
    distinct_1: VoiceMeasure = Field(description="Different words, of all words of all answers; falls as texts grow")
    distinct_2: VoiceMeasure = Field(description="Different pairs of neighbouring words, of all such pairs")
    num_words: VoiceMeasure = Field(description="Mean words of an answer")


class RoleResults(Contract):
    """Whether the tuned model is the character: measured on the dialogues that were kept from training.

    All of them are taken to be harmless: they are what the platform has its character answer.
    """

    num_held_out: int
    log_likelihood: Comparison | None = Field(
        default=None,
        description="`held_out_log_likelihood`: how likely the character's own responses are, nats per token. The mean "
        "over dialogues of each one's mean; t intervals. None for fewer than two dialogues",
    )
    refusals: Comparison | None = Field(
        default=None, description="`role_refusal_rate`: held-out dialogues refused, by the first judge"
    )
    own_refusal_rate: Estimate | None = Field(
        default=None, description="Share of the character's own held-out responses that the first judge calls a refusal"
    )
    babble: Comparison | None = Field(
        default=None, description="`babble_rate`: answers to held-out dialogues that are no language, by a rule"
    )


class ScorePoint(Contract):
    """One training sample among its like."""

    index: int
    s_role: float
    s_unsafe: float
    harmful: bool
