"""How many statuses there are, for the planner: where nearly all have succeeded, what it samples shows one of them.

Then it takes any status for nearly every row, and walks past all that succeeded to find the few that failed.
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE predictions ALTER COLUMN status SET (n_distinct = 5)")
    op.execute("ANALYZE predictions (status)")


def downgrade() -> None:
    op.execute("ALTER TABLE predictions ALTER COLUMN status RESET (n_distinct)")
