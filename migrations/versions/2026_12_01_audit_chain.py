"""the audit log is a chain: each entry holds the digest of itself and of the entry before.

Revision 0007, after 0006.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# rolekeeper/jobs/chain.py computes the same text to verify it; what one changes, the other must.
DIGEST = """
create function audit_digest(before text, entry audit) returns text language sql stable as $$
    select encode(sha256(convert_to(before || json_build_array(
        entry.id, to_char(entry.created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), entry.owner,
        entry.key_id, entry.action, entry.job_id, entry.adapter_sha256, entry.report_sha256, entry.note,
        entry.request_id)::text, 'UTF8')), 'hex')
$$
"""
# One transaction at a time appends, until it ends: so the ids are in the order of the chain, and without gaps.
APPEND = """
create function append_to_audit() returns trigger language plpgsql as $$
declare
    latest audit;
begin
    perform pg_advisory_xact_lock(hashtext('audit'));
    select * into latest from audit order by id desc limit 1;
    new.id := coalesce(latest.id, 0) + 1;
    new.sha256 := audit_digest(coalesce(latest.sha256, ''), new);
    return new;
end
$$
"""
APPEND_ROWS = "create trigger audit_is_a_chain before insert on audit for each row execute function append_to_audit()"
FILL = """
do $$
declare
    entry audit;
    before text := '';
begin
    for entry in select * from audit order by id loop
        before := audit_digest(before, entry);
        update audit set sha256 = before where id = entry.id;
    end loop;
end
$$
"""


def upgrade() -> None:
    op.execute("lock table audit in exclusive mode")
    op.add_column("audit", sa.Column("sha256", sa.String(length=64), nullable=True))
    op.execute(DIGEST)
    op.execute("alter table audit disable trigger audit_rows_stay")
    op.execute(FILL)
    op.execute("alter table audit enable trigger audit_rows_stay")
    op.alter_column("audit", "sha256", nullable=False)
    for statement in (APPEND, APPEND_ROWS):
        op.execute(statement)


def downgrade() -> None:
    op.execute("drop trigger audit_is_a_chain on audit")
    op.execute("drop function append_to_audit")
    op.execute("drop function audit_digest")
    op.drop_column("audit", "sha256")
    # The chain counted by itself; the table's own counter goes on behind it.
    op.execute("select setval(pg_get_serial_sequence('audit', 'id'), coalesce(max(id), 0) + 1, false) from audit")
