"""How many predictions a key and its tenant ever made, so that the last minute's need not be counted one by one."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

COLUMNS = (("api_keys", "created"), ("tenants", "created"), ("predictions", "key_seq"), ("predictions", "tenant_seq"))


def upgrade() -> None:
    for table, column in COLUMNS:
        op.add_column(table, sa.Column(column, sa.BigInteger(), server_default="0", nullable=False))


def downgrade() -> None:
    for table, column in reversed(COLUMNS):
        op.drop_column(table, column)
