"""The methods of training by name, what each needs besides the dialogues, and their options."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rolekeeper.contracts.problems import Contract

MethodName = Literal["sarft", "sft", "random", "flip", "all", "seal", "seal_filter", "bi_selection", "sppft", "vaccine"]
FileOption = Literal["safe_file", "harmful_file"]
KlDirectionName = Literal["reverse", "forward"]
Turns = Literal["last", "all"]

PromptSetName = Annotated[
    Literal["contrast", "append", "paper_v2"],
    Field(
        description="What s_unsafe and s_role are measured under. contrast: the role prompt with an unsafe "
        "instruction, and with a safe one of the same words but for the sense. append: the same unsafe prompt, and the "
        "bare role prompt. paper_v2: the released prompts of the paper, on deployments that have them"
    ),
]
HarmfulShare = Annotated[
    float | None,
    Field(
        gt=0,
        le=1,
        description="Takes the place of margin: harmful is this share of all samples, those with the highest margins, "
        "rounded half up; of equal margins the earlier sample",
    ),
]

NEEDED_FILES: dict[MethodName, tuple[FileOption, ...]] = {
    "seal": ("safe_file",),
    "seal_filter": ("safe_file",),
    "bi_selection": ("safe_file", "harmful_file"),
}
"""Uploaded dialogues that a method can't do without. The other methods take none."""

SELECTED_IN_TRAINING: frozenset[MethodName] = frozenset({"seal", "seal_filter", "bi_selection"})
"""Methods that choose samples by gradients. The training program does it before the first step."""


UNANCHORED: frozenset[MethodName] = frozenset({"sft", "seal_filter", "sppft", "vaccine"})
"""Methods that hold no sample to the base model."""


class MethodOptions(Contract):
    """What only some methods look at."""

    safe_file: str | None = Field(
        default=None,
        description="Id of an uploaded file of dialogues with safe answers. Needed by seal, seal_filter and "
        "bi_selection, which takes each half of it as one anchor",
    )
    harmful_file: str | None = Field(
        default=None,
        description="Id of an uploaded file of dialogues whose answers are harmful. Needed by bi_selection",
    )
    selector_epochs: int = Field(default=3, ge=1, le=50, description="Passes over the dialogues that SEAL selects by")
    keep_share: float = Field(
        default=0.8, gt=0, le=1, description="Share of the training samples that seal_filter keeps"
    )
    compat: Literal["official"] | None = Field(
        default=None,
        description="official: the loss of SaRFT's released code. CE and KL of a sample are divided by the length of "
        "prompt and response, KL is forward and taken at every position of both, responses end with the tokenizer's "
        "end token. Goes with no option that changes the loss",
    )
    anchors: Literal["harmful", "prompts", "both"] = Field(
        default="harmful",
        description="What is held to the base model: the samples that the method anchors, its own answers to 240 "
        "prompts that come with Rolekeeper, or both. A quarter of the prompts ask for harm; the others are everyday "
        "questions, some that look harmful, some to the character. `prompts` and `both` go with every method",
    )
    anchor_kl: Literal["tokens", "decision"] = Field(
        default="tokens",
        description="What of the prompts' answers is held. tokens: the base model's answer, word for word. decision: "
        "how likely a refusal is, and not what is said instead. Not with kl_limit",
    )
    anchor_first_tokens: int | None = Field(
        default=None,
        ge=1,
        le=48,
        description="How many tokens of each of the prompts' answers are held, from the first; null: all, up to 48",
    )
    anchor_weight: float = Field(default=0.5, gt=0, le=100, description="Weight of the KL term on the prompts' answers")
    anchors_per_step: int = Field(
        default=8, ge=1, le=64, description="How many of the prompts each step takes; with kl_limit, of all anchored"
    )
    kl_limit: float | None = Field(
        default=None,
        gt=0,
        le=100,
        description="Takes the place of kl_weight and anchor_weight: the mean KL to the base model, in nats per token, "
        "that what is anchored may have. The loss is CE alone; a step that ends above is followed by a move back",
    )
    surgery: bool = Field(
        default=False, description="Take from the gradient of CE what pulls against that of KL. Needs an anchor"
    )
    weigh_tokens: Literal["equal", "margin"] = Field(
        default="equal",
        description="What the KL counts at each token of an anchored sample. margin: in proportion to how much rather "
        "the unsafe prompt says it than the role prompt, none where it does not; the mean over a sample is 1",
    )
    rho: float = Field(default=2.0, ge=0, le=1000, description="Norm of the shift that vaccine trains under")

    @model_validator(mode="after")
    def _surgery_needs_a_loss_with_kl(self) -> Self:
        if self.surgery and self.kl_limit is not None:
            raise ValueError(
                "options.surgery works on the KL in the loss, and options.kl_limit takes it out of there: leave one of "
                "them out"
            )
        return self

    @model_validator(mode="after")
    def _a_limit_is_on_tokens(self) -> Self:
        if self.anchor_kl == "decision" and self.kl_limit is not None:
            raise ValueError("options.kl_limit limits the KL over all words: leave it out, or options.anchor_kl")
        return self

    @model_validator(mode="after")
    def _official_is_the_released_loss(self) -> Self:
        if self.compat is None:
            return self
        changes = {
            "anchors": self.anchors != "harmful",
            "kl_limit": self.kl_limit is not None,
            "surgery": self.surgery,
            "weigh_tokens": self.weigh_tokens != "equal",
        }
        named = [name for name, is_set in changes.items() if is_set]
        if named:
            raise ValueError(f"options.compat is the released loss, which has no {', '.join(named)}: leave it out")
        return self

    @property
    def changed(self) -> str:
        """The options that are not as they are when nothing is asked for: `anchors both, surgery`."""
        told = self.model_dump(exclude_defaults=True, exclude={"safe_file", "harmful_file"})
        return ", ".join(name if value is True else f"{name} {value}" for name, value in told.items())


def without_anchor(options: MethodOptions, name: MethodName, kl_weight: float, *, holds_samples: bool) -> str | None:
    """What is wrong where an option works on an anchor that the method does not have; None if nothing is."""
    has_prompts = options.anchors != "harmful"
    if options.kl_limit is not None and not holds_samples and not has_prompts:
        return (
            f"options.kl_limit needs an anchor: {name} has none; set options.anchors to prompts, or leave kl_limit out"
        )
    if options.weigh_tokens != "equal" and not holds_samples:
        return (
            f"options.weigh_tokens needs anchored samples: {name} with kl_weight {kl_weight:g} and options.anchors "
            f"{options.anchors} has none; leave weigh_tokens out"
        )
    if options.surgery and not holds_samples and not has_prompts:
        return (
            f"options.surgery needs an anchor: {name} with kl_weight {kl_weight:g} has none; set options.anchors to "
            "prompts, or leave surgery out"
        )
    return None


def unlike_the_released(options: MethodOptions, name: MethodName, kl_direction: KlDirectionName) -> str | None:
    """What is wrong where `compat: official` is asked of what the released code does not do; None if nothing is."""
    if options.compat is None:
        return None
    if name == "vaccine":
        return "options.compat is the loss of SaRFT's released code, and vaccine has another: leave it out"
    if kl_direction == "reverse":
        return "options.compat is the loss of SaRFT's released code, whose KL is forward: leave kl_direction out"
    return None
