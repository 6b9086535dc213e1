"""What happened to a job."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from rolekeeper.contracts.problems import Contract


class JobEvent(Contract):
    """Something that happened to a job. Ids grow with time."""

    id: int
    object: Literal["job.event"] = "job.event"
    created_at: datetime
    level: Literal["info", "warn", "error"]
    type: str
    message: str
    data: dict[str, Any] = Field(default_factory=dict)
