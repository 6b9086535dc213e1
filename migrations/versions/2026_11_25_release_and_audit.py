"""scopes of keys, whether an adapter is given out, and the audit log.

Revision 0003, after 0002.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

REFUSE = """
create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only: % is refused', tg_table_name, tg_op using errcode = 'insufficient_privilege';
end
$$
"""
REFUSE_ROWS = """
create trigger audit_rows_stay before update or delete on audit for each row execute function refuse_change()
"""
REFUSE_TRUNCATE = """
create trigger audit_stays before truncate on audit for each statement execute function refuse_change()
"""
# Adapters from before there was a gate stay what they were: given out to their owner.
RELEASE_OLD = """
insert into release (owner, adapter_sha256, status, note)
select distinct job.owner, artifact.sha256, 'released', 'made before there was a release gate'
from artifact join job on job.id = artifact.job_id where artifact.kind = 'adapter'
"""


def upgrade() -> None:
    # Keys from before may do what they could, and a gateway of before can go on making such.
    default = sa.text("""'["jobs:write"]'::jsonb""")
    scopes = sa.Column("scopes", postgresql.JSONB(astext_type=sa.Text()), server_default=default, nullable=False)
    op.add_column("api_key", scopes)
    op.create_table(
        "release",
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("adapter_sha256", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("decided_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("decided_by", sa.String(), nullable=True),
        sa.Column("job_id", sa.String(), nullable=True),
        sa.Column("outcome", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("note", sa.String(), nullable=True),
        sa.CheckConstraint(
            "status in ('pending', 'released', 'withheld', 'approved')", name=op.f("release_status_check")
        ),
        sa.PrimaryKeyConstraint("owner", "adapter_sha256", name=op.f("release_pkey")),
    )
    op.execute(RELEASE_OLD)
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column(
            "created_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("key_id", sa.String(), nullable=True),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=True),
        sa.Column("adapter_sha256", sa.String(length=64), nullable=True),
        sa.Column("report_sha256", sa.String(length=64), nullable=True),
        sa.Column("note", sa.String(), nullable=True),
        sa.Column("request_id", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("audit_pkey")),
    )
    op.create_index(op.f("audit_owner_id_index"), "audit", ["owner", "id"], unique=False)
    op.create_index(op.f("audit_job_id_id_index"), "audit", ["job_id", "id"], unique=False)
    for statement in (REFUSE, REFUSE_ROWS, REFUSE_TRUNCATE):
        op.execute(statement)


def downgrade() -> None:
    op.drop_table("audit")
    op.execute("drop function refuse_change()")
    op.drop_table("release")
    op.drop_column("api_key", "scopes")
