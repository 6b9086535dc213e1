"""What a deployment asks of every evaluation, whatever a job says of its own."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from rolekeeper.contracts.evaluation import Decoding, EvaluationOptions, JudgeName
from rolekeeper.contracts.gate import Gate, strictest_limit
from rolekeeper.contracts.problems import Contract, ErrorItem
from rolekeeper.contracts.suites import HARMLESS, SuiteChoice


class Policy(Contract):
    """What the operator fixes. A job adds to it, and takes nothing away. What is left out is this build's default."""

    suites: tuple[SuiteChoice, ...] = Field(default=(), description="Suites that every evaluation asks")
    judge: JudgeName | None = Field(default=None, description="The first judge, by which the gate goes")
    decoding: Decoding = Field(default=Decoding(), description="How this deployment serves; nothing else is released")
    max_new_tokens: int | None = Field(default=None, ge=8, le=1024, description="Least that answers are given room for")
    gate: Gate = Gate()

    @property
    def binding(self) -> Policy:
        """What the gate asks for: where the operator fixes nothing, the defaults of the build, and not less."""
        default = EvaluationOptions()
        return self.model_copy(
            update={
                "suites": self.suites or default.suites,
                "judge": self.judge or default.judges[0],
                "max_new_tokens": self.max_new_tokens or default.max_new_tokens,
            }
        )


def with_defaults(policy: Policy, asked: EvaluationOptions) -> EvaluationOptions:
    """Return what a job asks for, with the policy's words where it says nothing."""
    policy_says = {
        "suites": policy.suites or None,
        "judges": policy.judge and _first(policy.judge, asked.judges),
        "decoding": policy.decoding,
        "max_new_tokens": policy.max_new_tokens and max(policy.max_new_tokens, asked.max_new_tokens),
        "gate": policy.gate,
    }
    missing = {name: value for name, value in policy_says.items() if value and name not in asked.model_fields_set}
    # Thresholds name suites, and so the two are checked together again.
    return EvaluationOptions.model_validate(asked.model_dump(exclude_unset=True) | missing)


def weaknesses(policy: Policy, asked: EvaluationOptions) -> list[ErrorItem]:
    """Return where an evaluation asks for less than the policy does, of what it says itself.

    Decoding is not among it: answers may be looked at however they are decoded, and the gate decides what counts.
    """
    found = list(_missing_suites(policy, asked)) if "suites" in asked.model_fields_set else []
    if policy.judge is not None and "judges" in asked.model_fields_set and asked.judges[0] != policy.judge:
        found.append(_item("judges", f"begins with {asked.judges[0]}, but the gate goes by {policy.judge}"))
    is_short = policy.max_new_tokens is not None and asked.max_new_tokens < policy.max_new_tokens
    if is_short and "max_new_tokens" in asked.model_fields_set:
        found.append(_item("max_new_tokens", f"must be at least {policy.max_new_tokens}"))
    return found


def gate_weaknesses(wanted: Gate, asked: Gate) -> list[ErrorItem]:
    """Return where a job's gate says that it lets through what the policy's does not."""
    found = [
        _item(f"gate/{name}", f"must be at most {getattr(wanted, name):g}")
        for name in ("margin", "harmless_margin", "max_unjudged")
        if name in asked.model_fields_set and getattr(asked, name) > getattr(wanted, name)
    ]
    if "floor" in asked.model_fields_set and asked.floor < wanted.floor:
        found.append(_item("gate/floor", f"must be at least {wanted.floor:g}"))
    return [*found, *_laxer_thresholds(wanted, asked)]


def _missing_suites(policy: Policy, asked: EvaluationOptions) -> Iterator[ErrorItem]:
    for suite in policy.suites:
        if not any(_is_as_much(choice, suite) for choice in asked.suites):
            many = "whole" if suite.max_prompts is None else f"with at least {suite.max_prompts} prompts"
            yield _item("suites", f"lacks {suite.label}, which is asked of every adapter; add it, {many}")


def _is_as_much(choice: SuiteChoice, wanted: SuiteChoice) -> bool:
    """Whether it is the same suite, asked the same way, with no fewer prompts."""
    if choice.model_copy(update={"max_prompts": wanted.max_prompts}) != wanted:
        return False
    return choice.max_prompts is None or (wanted.max_prompts is not None and choice.max_prompts >= wanted.max_prompts)


def _laxer_thresholds(wanted: Gate, asked: Gate) -> Iterator[ErrorItem]:
    for number, threshold in enumerate(asked.thresholds):
        place, pointer = (threshold.suite, threshold.part), f"gate/thresholds/{number}"
        if threshold.margin is not None and threshold.margin > wanted.margin_of(*place):
            yield _item(f"{pointer}/margin", f"must be at most {wanted.margin_of(*place):g}")
        limit = wanted.limit_of(*place)
        if threshold.limit is not None and strictest_limit((wanted, asked), *place) != threshold.limit:
            bound = "most" if threshold.part in HARMLESS else "least"
            yield _item(f"{pointer}/limit", f"must be at {bound} {limit:g}")


def _first(judge: JudgeName, judges: tuple[JudgeName, ...]) -> tuple[JudgeName, ...]:
    return (judge, *(name for name in judges if name != judge))


def _item(pointer: str, what: str) -> ErrorItem:
    return ErrorItem(pointer=f"/{pointer}", detail=f"{what}: so this deployment's policy wants it")
