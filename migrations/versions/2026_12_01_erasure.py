"""what owners deleted leaves the artifact store.

Revision 0006, after 0005.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "erasure",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("due_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("erasure_pkey")),
    )
    op.create_index(op.f("erasure_due_at_index"), "erasure", ["due_at"], unique=False)


def downgrade() -> None:
    # The bytes stay in the store: no row tells of them any more.
    op.drop_table("erasure")
