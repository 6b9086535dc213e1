"""What the evaluator is asked, and what it answers: responses and what the judges say of them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from pydantic import Field

from rolekeeper.contracts.characters import Context, Message, RoleProfile
from rolekeeper.contracts.estimates import Estimate
from rolekeeper.contracts.evaluation import Decoding, JudgeName
from rolekeeper.contracts.problems import Contract
from rolekeeper.contracts.suites import Encoding

MAX_ITEMS = 256
MAX_SOURCE_TOKENS = 8192


class VerdictItem(Contract):
    """One thing to answer: turns that end with a user turn, and the character's own answers where there are some."""

    id: str
    messages: tuple[Message, ...] = Field(min_length=1)
    context: Context = Context.PLAIN
    references: tuple[str, ...] = ()
    goal: str | None = Field(
        default=None, description="The plain request inside an attack: what the answer is judged by"
    )
    encoding: Encoding | None = Field(default=None, description="How the attack hides the request")


class VerdictRequest(Contract):
    """Answer up to 256 items with the base model, or with an adapter on it, and judge the answers."""

    base_model: str
    profile: RoleProfile
    adapter_sha256: str | None = Field(default=None, description="Digest of an adapter tar in the artifact store")
    items: tuple[VerdictItem, ...] = Field(min_length=1, max_length=MAX_ITEMS)
    judges: tuple[JudgeName, ...] = Field(default=("phrases",), min_length=1)
    max_new_tokens: int = Field(default=64, ge=8, le=1024)
    max_source_tokens: int = Field(default=512, ge=16, le=MAX_SOURCE_TOKENS)
    max_reference_tokens: int | None = Field(
        default=None,
        ge=8,
        le=4096,
        description="Measure the first reference of each item that has one, too: how likely its first so many tokens "
        "are, and what the first judge says of it. Left out: none is",
    )
    decoding: Decoding = Decoding()


class Label(StrEnum):
    """What an answer does. A refusal in any voice is `refused`; `deflected` stays in character and does not help."""

    REFUSED = "refused"
    DEFLECTED = "deflected"
    COMPLIED = "complied"
    INCOHERENT = "incoherent"

    @property
    def is_refusal(self) -> bool:
        """Whether it counts in a refusal rate."""
        return self in (Label.REFUSED, Label.DEFLECTED)


class Judgement(Contract):
    """What one judge says of one answer. Without a label it could not say: `note` tells why."""

    label: Label | None
    note: str | None = None


class Calibration(Contract):
    """A judge against the labels that people gave answers it was not made from; `deflected` counts as a refusal."""

    data: str = Field(description="The labelled answers")
    agreement: Estimate = Field(description="Share of the answers where judge and people agree whether it is a refusal")
    refusal_recall: Estimate = Field(description="Share of the refusals that the judge finds")
    refusal_precision: Estimate = Field(description="Share of what the judge calls a refusal that is one")
    specificity: Estimate | None = Field(
        default=None, description="Share of the answers that are no refusal that the judge does not call one"
    )
    corrects: bool = Field(
        default=False,
        description="Whether rates are corrected by it: its answers are like those that this service has judged",
    )
    num_unjudged: int = Field(default=0, description="Answers without a verdict; each counts as a disagreement")


class JudgeUsed(Contract):
    """A judge, exactly: whatever changes its verdicts changes its `version`."""

    name: JudgeName
    version: str
    note: str = Field(description="What to know before its numbers are trusted")
    calibrations: tuple[Calibration, ...] = Field(default=(), description="Its measured error, by labelled data")


class ReferenceVerdict(Contract):
    """What the model and the first judge make of an item's first reference, as if it were the answer."""

    log_prob: float = Field(description="Mean log-prob of its tokens, end of turn included, nats per token")
    num_tokens: int = Field(description="Tokens that the mean is of")
    judgement: Judgement


class Verdict(Contract):
    """One answer and what each judge says of it. `fidelity` is Rouge-L F against the nearest reference, 0 to 1.

    Where an attack hid the request, `understood` says whether the answer shows that the model could read it, and
    `decoded` is the answer in plain words, if it came in the attack's cipher; that is what the judges saw.
    `babble` says whether the answer is no language, by a rule; there is none of an evaluator of an older build.
    """

    id: str
    response: str
    judgements: Mapping[JudgeName, Judgement]
    fidelity: float | None = None
    understood: bool | None = None
    decoded: str | None = None
    babble: bool | None = None
    reference: ReferenceVerdict | None = None


class VerdictResponse(Contract):
    """Verdicts in the order of the items, and what they were made with."""

    base_model: str
    base_digest: str
    adapter_sha256: str | None
    judges: tuple[JudgeUsed, ...]
    decoding: str
    software: Mapping[str, str] = Field(default={}, description="Versions of what answered and judged")
    verdicts: tuple[Verdict, ...]
