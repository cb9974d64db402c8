"""Pictures that came inside requests, until their predictions are there."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sent_pictures",
        sa.Column("object_key", sa.Text(), nullable=False),
        sa.Column("prediction_id", sa.Uuid(), nullable=False),
        sa.Column("noted_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("object_key", name=op.f("sent_pictures_pkey")),
    )
    op.create_index("sent_pictures_noted_at", "sent_pictures", ["noted_at"])


def downgrade() -> None:
    op.drop_table("sent_pictures")
