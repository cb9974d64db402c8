"""Creates that may be sent again: remembered for a day; ids of clients' own; and deadlines."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "remembered",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("prediction_id", sa.Uuid(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="remembered_tenant_id_fkey"),
        sa.PrimaryKeyConstraint("tenant_id", "kind", "name", name="remembered_pkey"),
    )
    op.create_index("remembered_at", "remembered", ["at"])
    op.add_column("predictions", sa.Column("own_id", sa.Uuid(), nullable=True))
    op.add_column("predictions", sa.Column("cancel_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("prediction_inputs", sa.Column("fingerprint", sa.LargeBinary(), nullable=True))


def downgrade() -> None:
    op.drop_column("prediction_inputs", "fingerprint")
    op.drop_column("predictions", "cancel_at")
    op.drop_column("predictions", "own_id")
    op.drop_table("remembered")
