"""What each result was made with, so that it can be made again."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("prediction_results", sa.Column("made_with", JSONB(), nullable=True))


def downgrade() -> None:
    op.drop_column("prediction_results", "made_with")
