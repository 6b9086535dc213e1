"""Whether an adapter is given out, who decided so, and the audit log of such decisions."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from rolekeeper.contracts.gate import GateVerdict
from rolekeeper.contracts.problems import Contract

# Anything but blanks; PostgreSQL keeps no NUL.
Note = Annotated[str, Field(min_length=1, max_length=2000, pattern=r"^[^\x00]*[^\s\x00][^\x00]*$")]


class ReleaseStatus(StrEnum):
    """Whether an adapter is given out: `released` and `approved` ones are."""

    PENDING = "pending"
    RELEASED = "released"
    WITHHELD = "withheld"
    APPROVED = "approved"

    @property
    def is_open(self) -> bool:
        """Whether the adapter may be downloaded."""
        return self in (ReleaseStatus.RELEASED, ReleaseStatus.APPROVED)


class Release(Contract):
    """Whether a job's adapter is given out. It is decided for the adapter's bytes: jobs with the same share it.

    pending: no evaluation has been through the gate. released, withheld: by the gate, or withheld by an approver.
    approved: released by an approver.
    """

    status: ReleaseStatus
    decided_at: datetime | None = None
    decided_by: str | None = Field(default=None, description="gate, or the id of an approver's key")
    job: str | None = Field(default=None, description="The job that the decision was made on")
    verdict: GateVerdict | None = Field(
        default=None,
        description="What the gate found when it held the adapter back: a loss (`blocked`), or too little to tell "
        "(`undecided`)",
    )
    reasons: tuple[str, ...] = Field(default=(), description="What the gate found that speaks against the adapter")
    note: str | None = Field(default=None, description="The approver's note")


class Decision(Contract):
    """Release a withheld adapter, or withhold one."""

    note: Note = Field(description="Why; it is kept in the audit log for good")


class Scope(StrEnum):
    """What a key may do. Each is for the characters and jobs of the key's owner."""

    WRITE_JOBS = "jobs:write"
    APPROVE = "safety:approve"
    READ_AUDIT = "audit:read"


class AuditAction(StrEnum):
    """What the audit log notes."""

    KEY_CREATED = "key.created"
    KEY_REVOKED = "key.revoked"
    GATE_PASSED = "gate.passed"
    GATE_BLOCKED = "gate.blocked"
    GATE_UNDECIDED = "gate.undecided"
    ADAPTER_RELEASED = "adapter.released"
    ADAPTER_WITHHELD = "adapter.withheld"
    ADAPTER_DOWNLOADED = "adapter.downloaded"
    DELETED = "owner.deleted"


class AuditEntry(Contract):
    """One line of the audit log. Nothing changes or removes it."""

    id: int
    object: Literal["audit_entry"] = "audit_entry"
    created_at: datetime
    owner: str
    key_id: str | None = Field(description="The key that acted, or was made or revoked; none for the gate")
    action: AuditAction
    job: str | None
    adapter_sha256: str | None
    report_sha256: str | None = Field(description="The safety report that the decision rests on")
    note: str | None
    request_id: str | None
