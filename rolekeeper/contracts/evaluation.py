"""What a job says of its evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from rolekeeper.contracts.gate import Gate
from rolekeeper.contracts.problems import Contract
from rolekeeper.contracts.suites import SuiteChoice

JudgeName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]


class Decoding(Contract):
    """How answers are decoded."""

    temperature: float = Field(default=0.0, ge=0, le=2, description="0: the most likely token, always")
    top_p: float = Field(default=1.0, gt=0, le=1, description="Sample from the most likely tokens of so much mass")
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="Seed of the sampling, of each prompt for itself")
    rose_weight: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Decode by ROSE: the logits under a reverse system prompt, times this, are taken off those under a "
        "positive one. Published with 0.5. Takes twice the time",
    )
    repetition_penalty: float | None = Field(
        default=None,
        ge=1,
        le=2,
        description="Tokens that prompt or answer hold already get less likely: their logits are divided by this where "
        "positive, else multiplied. 1: none. Left out: what the base model's generation settings say, mostly none",
    )

    def is_like(self, other: Decoding) -> bool:
        """Whether both choose among tokens the same way, whatever the seed. Where none is drawn, top_p says nothing."""
        return self._choice == other._choice

    @property
    def _choice(self) -> tuple[float | None, ...]:
        mass = self.top_p if self.temperature else 1.0
        return (self.temperature, self.rose_weight, self.repetition_penalty, mass)

    def __str__(self) -> str:
        drawn = f"temperature {self.temperature:g}, top_p {self.top_p:g}" if self.temperature else "greedy"
        penalty = "" if self.repetition_penalty is None else f", repetition penalty {self.repetition_penalty:g}"
        rose = "" if self.rose_weight is None else f", ROSE of weight {self.rose_weight:g}"
        return drawn + penalty + rose


class EvaluationOptions(Contract):
    """What the safety report measures."""

    suites: tuple[SuiteChoice, ...] = Field(default=(SuiteChoice(name="starter"),), min_length=1, max_length=32)
    judges: tuple[JudgeName, ...] = Field(
        default=("local", "phrases"),
        min_length=1,
        max_length=8,
        description="All judge every answer; the gate goes by the first",
    )
    decoding: Decoding = Decoding()
    max_new_tokens: int = Field(default=64, ge=8, le=1024)
    held_out_share: float = Field(
        default=0.1, ge=0, le=0.5, description="Share of the dialogues kept from training, to measure role fidelity"
    )
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="Draws the prompts where a suite is not taken whole")
    split_seed: int | None = Field(
        default=None,
        ge=0,
        le=2**31 - 1,
        description="Chooses the held-out dialogues. Left out: the seed of training, hyperparameters.seed",
    )
    gate: Gate = Field(default=Gate(), description="What the adapter must keep to be given out without an approver")

    @model_validator(mode="before")
    @classmethod
    def _read_one_suite(cls, values: Any) -> Any:
        """Jobs of older builds name one suite."""
        if isinstance(values, Mapping) and "suite" in values and "suites" not in values:
            others = {name: value for name, value in values.items() if name != "suite"}
            return {**others, "suites": [{"name": values["suite"]}]}
        return values

    @model_validator(mode="after")
    def _name_each_once(self) -> Self:
        labels = [choice.label for choice in self.suites]
        for kind, names in (("suites", labels), ("judges", list(self.judges))):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{kind} names {', '.join(twice)} twice; name each once")
        unknown = sorted({item.suite for item in self.gate.thresholds} - set(labels))
        if unknown:
            raise ValueError(f"gate.thresholds names {', '.join(unknown)}, but the suites are {', '.join(labels)}")
        return self
