"""Indexes: a tenant's predictions by model and status, however many there are; and deadlines that are to come.

Built while the farm runs. What an interrupted build leaves is not valid, so it goes first.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

ACTIVE = sa.text("cancel_at IS NOT NULL AND status IN ('queued', 'processing')")
INDEXES = {
    "predictions_history": (["tenant_id", "model", "status", "created_at"], None),
    "predictions_deadline": (["cancel_at"], ACTIVE),
}


def upgrade() -> None:
    with op.get_context().autocommit_block():
        # It waits for each transaction that began before, and nobody waits for it.
        op.execute("SET lock_timeout = 0")
        for name, (columns, where) in INDEXES.items():
            op.drop_index(name, table_name="predictions", if_exists=True, postgresql_concurrently=True)
            op.create_index(name, "predictions", columns, postgresql_where=where, postgresql_concurrently=True)
        op.execute("SET lock_timeout = '5s'")


def downgrade() -> None:
    with op.get_context().autocommit_block():
        for name in INDEXES:
            op.drop_index(name, table_name="predictions", if_exists=True, postgresql_concurrently=True)
