"""a page of an owner's rows is read from an index, in its order.

Revision 0005, after 0004.
"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TABLES = ("file", "character", "job")


def upgrade() -> None:
    # Concurrently: the services of before go on writing meanwhile.
    with op.get_context().autocommit_block():
        for table in TABLES:
            op.create_index(f"{table}_owner_number_index", table, ["owner", "number"], postgresql_concurrently=True)
            op.drop_index(f"{table}_owner_index", table, postgresql_concurrently=True)


def downgrade() -> None:
    with op.get_context().autocommit_block():
        for table in TABLES:
            op.create_index(f"{table}_owner_index", table, ["owner"], postgresql_concurrently=True)
            op.drop_index(f"{table}_owner_number_index", table, postgresql_concurrently=True)
