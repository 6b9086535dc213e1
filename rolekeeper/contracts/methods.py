"""The methods of training by name, what each needs besides the dialogues, and their options."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rolekeeper.contracts.problems import Contract

MethodName = Literal["sarft", "sft", "random", "flip", "all", "seal", "seal_filter", "bi_selection", "sppft", "vaccine"]
FileOption = Literal["safe_file", "harmful_file"]

NEEDED_FILES: dict[MethodName, tuple[FileOption, ...]] = {
    "seal": ("safe_file",),
    "seal_filter": ("safe_file",),
    "bi_selection": ("safe_file", "harmful_file"),
}
"""Uploaded dialogues that a method can't do without. The other methods take none."""

SELECTED_IN_TRAINING: frozenset[MethodName] = frozenset({"seal", "seal_filter", "bi_selection"})
"""Methods that choose samples by gradients. The training program does it before the first step."""


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
    rho: float = Field(default=2.0, ge=0, le=1000, description="Norm of the shift that vaccine trains under")
