"""Numbers of a training run, as they are asked for and as they are used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from rolekeeper.contracts.characters import Context
from rolekeeper.contracts.methods import Turns
from rolekeeper.contracts.problems import Contract

Epochs = Annotated[int, Field(ge=1, le=50)]
BatchSize = Annotated[int, Field(ge=1, le=256)]
LearningRate = Annotated[float, Field(gt=0, le=1)]
Auto = Literal["auto"]

_PAPER_RATE_OF_ALL_WEIGHTS = 2e-5
# What the released training script sets for LoRA; the other numbers are the defaults already.
_PAPER: Mapping[str, Any] = {
    "epochs": 1,
    "batch_size": 32,
    "learning_rate": 1e-4,
    "schedule": "constant",
    "warmup_share": 0.0,
    "lora_rank": 32,
    "lora_alpha": 64,
    "lora_targets": "q_v",
    "max_response_tokens": 128,
}


class AskedHyperparameters(Contract):
    """Numbers of the training run as they are asked for: the trainer chooses those that are `auto`.

    A preset gives the numbers that the request leaves out; those beside it are kept.
    """

    preset: Literal["default", "paper"] = Field(
        default="default",
        description="paper: 1 epoch in batches of 32 at a constant 1e-4 (2e-5 for all weights) without warm-up, LoRA "
        "of rank 32 and alpha 64 on q_proj and v_proj, responses of 128 tokens",
    )
    training: Literal["lora", "full"] = Field(
        default="lora",
        description="What is trained: a LoRA adapter; or all weights, which makes a whole model, needs about 16 bytes "
        "of memory for each, and wants a far lower learning rate (1e-5 to 5e-5)",
    )
    epochs: Epochs | Auto = 3
    batch_size: BatchSize | Auto = Field(default=16, description="Samples per optimizer step")
    learning_rate: LearningRate | Auto = Field(
        default="auto",
        description="The highest rate. auto: by the number of the base model's weights, 1e-3 for 135 million and less "
        "to 2e-4 for 7 billion and more, half of it if it does not fall; 2e-5 for all weights. The report says which",
    )
    schedule: Literal["linear", "constant"] = Field(
        default="linear", description="After the warm-up the learning rate falls to zero, or stays"
    )
    warmup_share: float = Field(default=0.05, ge=0, le=0.5, description="Share of the steps that warm up")
    max_grad_norm: float | None = Field(default=1.0, gt=0, description="Longer gradients are cut to it; null: none is")
    lora_rank: Literal[8, 16, 32, 64] = 16
    lora_alpha: int = Field(default=32, ge=1, le=256)
    lora_targets: Literal["all", "q_v"] = Field(
        default="all", description="all: every projection of attention and MLP; q_v: q_proj and v_proj, as in the paper"
    )
    validation_share: float = Field(
        default=0.0,
        ge=0,
        le=0.5,
        description="Share of the training dialogues that are not trained on; their loss is measured after each epoch",
    )
    early_stop_epochs: int | None = Field(
        default=None,
        ge=1,
        le=50,
        description="End when the validation loss was not lower for so many epochs, and keep the best epoch's adapter",
    )
    adapter_scale: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="The trained adapter is given out times this: below 1 between the base model and what was trained",
    )
    learned_turns: Turns = Field(
        default="last",
        description="Which responses of a dialogue are learned: the last, or all that follow a user turn, each as a "
        "sample of its own",
    )
    max_source_tokens: int = Field(default=512, ge=64, le=8192)
    max_response_tokens: int = Field(
        default=512,
        ge=8,
        le=4096,
        description="A response is learned up to here. Of one that is longer the end is not learned, nor that it ends",
    )
    context: Context = Context.PLAIN
    seed: int = Field(default=42, ge=0, le=2**31 - 1)

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("preset") == "paper":
            rate = {"learning_rate": _PAPER_RATE_OF_ALL_WEIGHTS} if values.get("training") == "full" else {}
            return {**_PAPER, **rate, **values}
        return values

    @model_validator(mode="after")
    def _need_validation(self) -> Self:
        if self.early_stop_epochs is not None and self.validation_share == 0:
            raise ValueError("early_stop_epochs needs a validation loss: set validation_share above 0")
        return self

    @model_validator(mode="after")
    def _an_adapter_is_scaled(self) -> Self:
        if self.adapter_scale != 1.0 and self.training == "full":
            raise ValueError("adapter_scale scales an adapter, and training: full makes none: leave it out")
        return self


class Hyperparameters(AskedHyperparameters):
    """The same when all numbers are chosen."""

    epochs: Epochs = 3
    batch_size: BatchSize = Field(default=16, description="Samples per optimizer step")
    learning_rate: LearningRate = 2e-4
