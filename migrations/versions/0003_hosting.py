"""What hosting takes: contacts, lists of models, priorities, held work, shares per key, and an audit."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

QUEUED = sa.text("status = 'queued'")
CLAIMED = sa.text("attempt > 0 AND status <> 'queued'")


def upgrade() -> None:
    words = postgresql.ARRAY(sa.Text())
    op.add_column("tenants", sa.Column("models", words, nullable=True))
    op.add_column("tenants", sa.Column("contact", sa.Text(), nullable=True))
    op.add_column("api_keys", sa.Column("models", words, nullable=True))
    op.add_column("api_keys", sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("model_queues", sa.Column("low_virtual_floor", sa.BigInteger(), server_default="0", nullable=False))
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("details", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="audit_pkey"),
    )
    op.add_column("predictions", sa.Column("priority", sa.SmallInteger(), server_default="0", nullable=False))
    op.add_column("predictions", sa.Column("held", sa.Boolean(), server_default="false", nullable=False))
    op.add_column("predictions", sa.Column("fair_owner", sa.Text(), nullable=True))
    op.execute("UPDATE predictions SET fair_owner = tenant_id::text")
    op.alter_column("predictions", "fair_owner", nullable=False)
    _order_by("priority", "start_tag", where=sa.text("status = 'queued' AND NOT held"))
    op.create_index("predictions_held", "predictions", ["tenant_id"], postgresql_where=sa.text("held"))
    _share_by_owner()


def downgrade() -> None:
    # The older release would start both: what is held, at once; what is low, by tags of another clock.
    op.execute("""
    DO $$ BEGIN
        IF EXISTS (SELECT FROM predictions WHERE status IN ('queued', 'processing') AND (held OR priority <> 0)) THEN
            RAISE EXCEPTION 'resume suspended tenants and let predictions of low priority end before going back';
        END IF;
    END $$
    """)
    op.drop_index("predictions_held", table_name="predictions")
    _order_by("start_tag", where=QUEUED)
    op.execute("DELETE FROM fair_tags f WHERE priority <> 0 OR NOT EXISTS (SELECT FROM tenants WHERE id::text = owner)")
    op.execute("ALTER TABLE fair_tags DROP CONSTRAINT fair_tags_pkey")
    op.drop_column("fair_tags", "priority")
    op.alter_column("fair_tags", "owner", new_column_name="tenant_id", type_=sa.Uuid(), postgresql_using="owner::uuid")
    _rename_not_null("fair_tags_owner_not_null", "fair_tags_tenant_id_not_null")
    op.create_primary_key("fair_tags_pkey", "fair_tags", ["tenant_id", "model"])
    op.create_foreign_key("fair_tags_tenant_id_fkey", "fair_tags", "tenants", ["tenant_id"], ["id"])
    for column in ("fair_owner", "held", "priority"):
        op.drop_column("predictions", column)
    op.drop_table("audit")
    op.drop_column("model_queues", "low_virtual_floor")
    for table, column in (
        ("api_keys", "last_used_at"),
        ("api_keys", "models"),
        ("tenants", "contact"),
        ("tenants", "models"),
    ):
        op.drop_column(table, column)


def _order_by(*columns: str, where: sa.TextClause) -> None:
    op.drop_index("predictions_queue", table_name="predictions")
    op.drop_index("predictions_claimed", table_name="predictions")
    op.create_index("predictions_queue", "predictions", ["model", "version", *columns, "seq"], postgresql_where=where)
    op.create_index("predictions_claimed", "predictions", ["model", *columns], postgresql_where=CLAIMED)


def _share_by_owner() -> None:
    op.drop_constraint("fair_tags_tenant_id_fkey", "fair_tags", type_="foreignkey")
    op.execute("ALTER TABLE fair_tags DROP CONSTRAINT fair_tags_pkey")
    op.alter_column(
        "fair_tags", "tenant_id", new_column_name="owner", type_=sa.Text(), postgresql_using="tenant_id::text"
    )
    _rename_not_null("fair_tags_tenant_id_not_null", "fair_tags_owner_not_null")
    op.add_column("fair_tags", sa.Column("priority", sa.SmallInteger(), server_default="0", nullable=False))
    op.create_primary_key("fair_tags_pkey", "fair_tags", ["owner", "model", "priority"])


def _rename_not_null(old: str, new: str) -> None:
    """From PostgreSQL 18 on these have names, which a renamed column does not change."""
    op.execute(f"""
    DO $$ BEGIN
        IF EXISTS (SELECT FROM pg_constraint WHERE conname = '{old}') THEN
            ALTER TABLE fair_tags RENAME CONSTRAINT {old} TO {new};
        END IF;
    END $$
    """)
