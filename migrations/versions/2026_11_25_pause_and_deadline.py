"""pause and deadline of a job, and what its lost attempts got done.

Revision 0002, after 0001.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BEFORE = "status in ('pending', 'queued', 'running', 'succeeded', 'failed', 'cancelled') and status <> 'pending'"
AFTER = "status in ('queued', 'running', 'paused', 'succeeded', 'failed', 'cancelled')"


def upgrade() -> None:
    op.add_column("job", sa.Column("pause_requested_at", postgresql.TIMESTAMP(timezone=True), nullable=True))
    op.add_column("job", sa.Column("deadline_at", postgresql.TIMESTAMP(timezone=True), nullable=True))
    op.drop_constraint(op.f("job_status_check"), "job", type_="check")
    op.create_check_constraint(op.f("job_status_check"), "job", AFTER)
    op.create_index(
        "job_deadline_index", "job", ["deadline_at"], unique=False, postgresql_where=sa.text("finished_at is null")
    )
    for name in ("lost_in_total", "furthest"):
        op.add_column("stage", sa.Column(name, sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.execute("update stage set lost_in_total = lost")


def downgrade() -> None:
    for name in ("furthest", "lost_in_total"):
        op.drop_column("stage", name)
    op.drop_index("job_deadline_index", table_name="job", postgresql_where=sa.text("finished_at is null"))
    # A paused job goes on: there is no word for it any more.
    op.execute("update job set status = 'running' where status = 'paused'")
    op.drop_constraint(op.f("job_status_check"), "job", type_="check")
    op.create_check_constraint(op.f("job_status_check"), "job", BEFORE)
    op.drop_column("job", "deadline_at")
    op.drop_column("job", "pause_requested_at")
