"""The receipt of a deletion."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from rolekeeper.contracts.problems import Contract


class Deleted(Contract):
    """What is gone: no request finds it any more. The audit log keeps who deleted it."""

    id: str
    object: Literal["file", "character", "job"]
    deleted: Literal[True] = True
    erased_after: datetime = Field(
        description="From then on its bytes are erased from the artifact store, but those that something else names"
    )
