"""Safety: policies of tenants and keys, which checker said what, and the log of what was decided."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

POLICY = "safety IN ('off_allowed', 'default_on', 'enforced')"
APPEND_ONLY = """
CREATE OR REPLACE FUNCTION moderation_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND current_setting('fluxfarm.forgetting', true) = 'on' THEN RETURN OLD; END IF;
    RAISE EXCEPTION 'the moderation log is append-only';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON moderation
FOR EACH ROW EXECUTE FUNCTION moderation_is_append_only();
"""


def upgrade() -> None:
    for table in ("tenants", "api_keys"):
        op.add_column(table, sa.Column("safety", sa.Text(), nullable=True))
        op.create_check_constraint(op.f(f"{table}_safety_check"), table, POLICY)
    op.add_column("outputs", sa.Column("safety_checker", sa.Text(), nullable=True))
    op.add_column(
        "prediction_results",
        sa.Column("withheld", postgresql.JSONB(), server_default=sa.text("'[]'"), nullable=False),
    )
    op.execute("UPDATE outputs SET safety = 'passed' WHERE safety = 'safe'")
    op.create_table(
        "moderation",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("prediction_id", sa.Uuid(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=True),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("withheld", sa.Boolean(), nullable=False),
        sa.Column("checker", sa.Text(), nullable=True),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("score", sa.Float(), nullable=True),
        sa.Column("threshold", sa.Float(), nullable=True),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("set_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("moderation_pkey")),
    )
    op.create_index("moderation_at", "moderation", ["at"])
    op.execute(APPEND_ONLY)


def downgrade() -> None:
    op.drop_table("moderation")
    op.execute("DROP FUNCTION IF EXISTS moderation_is_append_only")
    op.execute("UPDATE outputs SET safety = 'safe' WHERE safety = 'passed'")
    op.drop_column("prediction_results", "withheld")
    op.drop_column("outputs", "safety_checker")
    for table in ("tenants", "api_keys"):
        op.drop_column(table, "safety")
