"""keys end: by a date, or when an operator revokes them.

Revision 0004, after 0003.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Keys from before have no end, and a gateway of before can go on making such.
    for name in ("expires_at", "revoked_at"):
        op.add_column("api_key", sa.Column(name, postgresql.TIMESTAMP(timezone=True), nullable=True))


def downgrade() -> None:
    # Without the columns these keys would work again.
    op.execute("delete from api_key where revoked_at is not null or expires_at <= clock_timestamp()")
    op.drop_column("api_key", "revoked_at")
    op.drop_column("api_key", "expires_at")
