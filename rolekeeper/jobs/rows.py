"""The tables. Private to this folder: everyone else gets contracts."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import BigInteger, CheckConstraint, FetchedValue, ForeignKey, Identity, Index, MetaData, String, text
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

STAGE_STATUSES = "'pending', 'queued', 'running', 'succeeded', 'failed', 'cancelled'"
RELEASE_STATUSES = "'pending', 'released', 'withheld', 'approved'"
JOB_STATUSES = "'queued', 'running', 'paused', 'succeeded', 'failed', 'cancelled'"


class Row(DeclarativeBase):
    """Base of the tables; constraints are named by rule so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "%(table_name)s_%(column_0_N_name)s_index",
            "uq": "%(table_name)s_%(column_0_N_name)s_key",
            "ck": "%(table_name)s_%(constraint_name)s_check",
            "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
            "pk": "%(table_name)s_pkey",
        }
    )
    type_annotation_map: ClassVar = {datetime: TIMESTAMP(timezone=True), dict[str, Any]: JSONB, list[str]: JSONB}


class ApiKeyRow(Row):
    """A bearer key. Only the digest of its secret is kept."""

    __tablename__ = "api_key"

    id: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str]
    secret_sha256: Mapped[str] = mapped_column(String(64))
    scopes: Mapped[list[str]] = mapped_column(server_default=text("'[\"jobs:write\"]'::jsonb"))
    created_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class FileRow(Row):
    """An uploaded file; its bytes are in the artifact store."""

    __tablename__ = "file"

    id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, Identity(), unique=True)
    owner: Mapped[str]
    filename: Mapped[str]
    purpose: Mapped[str]
    sha256: Mapped[str] = mapped_column(String(64))
    bytes: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))

    __table_args__ = (Index(None, "owner", "number"),)


class CharacterRow(Row):
    """A character; its dialogues are in the artifact store."""

    __tablename__ = "character"

    id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, Identity(), unique=True)
    owner: Mapped[str]
    name: Mapped[str]
    profile: Mapped[str]
    num_dialogues: Mapped[int]
    num_messages: Mapped[int]
    dialogues_sha256: Mapped[str] = mapped_column(String(64))
    notes: Mapped[list[str]]
    created_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))

    __table_args__ = (Index(None, "owner", "number"),)


class JobRow(Row):
    """One run of the pipeline. `version` grows with every visible change."""

    __tablename__ = "job"

    id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, Identity(), unique=True)
    owner: Mapped[str]
    character_id: Mapped[str] = mapped_column(ForeignKey("character.id"))
    base_model: Mapped[str]
    options: Mapped[dict[str, Any]]
    status: Mapped[str]
    version: Mapped[int] = mapped_column(server_default=text("1"))
    cancel_requested_at: Mapped[datetime | None]
    pause_requested_at: Mapped[datetime | None]
    deadline_at: Mapped[datetime | None]
    harmful_share: Mapped[float | None]
    error: Mapped[dict[str, Any] | None]
    request_id: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint(f"status in ({JOB_STATUSES})", "status"),
        Index(None, "owner", "number"),
        Index("job_deadline_index", "deadline_at", postgresql_where=text("finished_at is null")),
    )


class StageRow(Row):
    """One step of a job. `attempt` is the fencing token: only the worker of the latest attempt may write.

    `lost` counts the attempts in a row that were lost without getting further than `furthest`, `lost_in_total` all.
    """

    __tablename__ = "stage"

    job_id: Mapped[str] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[str]
    attempt: Mapped[int] = mapped_column(server_default=text("0"))
    lost: Mapped[int] = mapped_column(server_default=text("0"))
    lost_in_total: Mapped[int] = mapped_column(server_default=text("0"))
    furthest: Mapped[int] = mapped_column(server_default=text("0"))
    worker: Mapped[str | None]
    lease_expires_at: Mapped[datetime | None]
    not_before: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    hinted_at: Mapped[datetime | None]
    progress: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint(f"status in ({STAGE_STATUSES})", "status"),
        CheckConstraint("(status = 'running') = (lease_expires_at is not null)", "lease"),
        Index("stage_queued_index", "not_before", postgresql_where=text("status = 'queued'")),
        Index("stage_lease_index", "lease_expires_at", postgresql_where=text("status = 'running'")),
    )


class EventRow(Row):
    """Something that happened to a job."""

    __tablename__ = "event"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    level: Mapped[str]
    type: Mapped[str]
    message: Mapped[str]
    data: Mapped[dict[str, Any]]

    __table_args__ = (Index(None, "job_id", "id"),)


class ArtifactRow(Row):
    """What a stage made. The key makes a second adapter of one job impossible."""

    __tablename__ = "artifact"

    job_id: Mapped[str] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64))
    bytes: Mapped[int] = mapped_column(BigInteger)
    attempt: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))


class ReleaseRow(Row):
    """Whether an owner's adapter is given out. The key is the adapter's bytes, so no second job is a way around it.

    `outcome` is what the gate found when it last held the adapter back. `version` grows with every decision.
    """

    __tablename__ = "release"

    owner: Mapped[str] = mapped_column(primary_key=True)
    adapter_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    status: Mapped[str]
    version: Mapped[int] = mapped_column(server_default=text("0"))
    decided_at: Mapped[datetime | None]
    decided_by: Mapped[str | None]
    job_id: Mapped[str | None]
    outcome: Mapped[dict[str, Any] | None]
    note: Mapped[str | None]

    __table_args__ = (CheckConstraint(f"status in ({RELEASE_STATUSES})", "status"),)


class ErasureRow(Row):
    """Bytes that leave the artifact store after `due_at`, unless a row names them then."""

    __tablename__ = "erasure"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    due_at: Mapped[datetime] = mapped_column(index=True)


class AuditRow(Row):
    """A decision, for good: a trigger refuses to change or remove it. It names jobs and keys but needs neither.

    Another trigger gives it its id, and the digest that chains it to the entry before.
    """

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    owner: Mapped[str]
    key_id: Mapped[str | None]
    action: Mapped[str]
    job_id: Mapped[str | None]
    adapter_sha256: Mapped[str | None] = mapped_column(String(64))
    report_sha256: Mapped[str | None] = mapped_column(String(64))
    note: Mapped[str | None]
    request_id: Mapped[str | None]
    sha256: Mapped[str] = mapped_column(String(64), FetchedValue())

    __table_args__ = (Index(None, "owner", "id"), Index(None, "job_id", "id"))
