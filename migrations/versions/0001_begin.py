"""The first tables: tenants, keys, predictions, leases, fair tags, workers."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BUSY = {
    "autovacuum_vacuum_scale_factor": 0,
    "autovacuum_vacuum_threshold": 1000,
    "autovacuum_vacuum_cost_delay": 0,
}


def upgrade() -> None:
    op.create_table(
        "model_queues",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("virtual_floor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("pixel_step_microseconds", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("model", name=op.f("model_queues_pkey")),
    )
    op.create_table(
        "tenants",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("weight", sa.Double(), server_default="1", nullable=False),
        sa.Column("retention_seconds", sa.Integer(), server_default="2592000", nullable=False),
        sa.Column("active", sa.Integer(), server_default="0", nullable=False),
        sa.Column("max_active", sa.Integer(), nullable=True),
        sa.Column("creates_per_minute", sa.Integer(), nullable=True),
        sa.Column("suspended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("active >= 0", name=op.f("tenants_active_check")),
        sa.CheckConstraint("weight > 0", name=op.f("tenants_weight_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("tenants_pkey")),
        sa.UniqueConstraint("name", name=op.f("tenants_name_key")),
        postgresql_with={"fillfactor": 70, **BUSY},
    )
    op.create_table(
        "workers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column(
            "started_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("workers_pkey")),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("secret_sha256", postgresql.BYTEA(), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("creates_per_minute", sa.Integer(), server_default="60", nullable=False),
        sa.Column("reads_per_minute", sa.Integer(), server_default="600", nullable=False),
        sa.Column("max_active", sa.Integer(), server_default="10", nullable=False),
        sa.Column("active", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("active >= 0", name=op.f("api_keys_active_check")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("api_keys_tenant_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("api_keys_pkey")),
        postgresql_with={"fillfactor": 70, **BUSY},
    )
    op.create_index(op.f("api_keys_tenant_id"), "api_keys", ["tenant_id"], unique=False)
    op.create_table(
        "fair_tags",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("last_finish", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fair_tags_tenant_id_fkey")),
        sa.PrimaryKeyConstraint("tenant_id", "model", name=op.f("fair_tags_pkey")),
        postgresql_with={"fillfactor": 70, **BUSY},
    )
    op.create_table(
        "predictions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="queued", nullable=False),
        sa.Column("seq", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("start_tag", sa.BigInteger(), nullable=False),
        sa.Column("cost", sa.BigInteger(), nullable=False),
        sa.Column("needs_fetch", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lost", sa.Integer(), server_default="0", nullable=False),
        sa.Column("claim_id", sa.Uuid(), nullable=True),
        sa.Column("cancel_requested", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("revision", sa.Integer(), server_default="0", nullable=False),
        sa.Column("retention_seconds", sa.Integer(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "status IN ('queued', 'processing', 'succeeded', 'failed', 'cancelled')",
            name=op.f("predictions_status_check"),
        ),
        sa.ForeignKeyConstraint(["key_id"], ["api_keys.id"], name=op.f("predictions_key_id_fkey")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("predictions_tenant_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("predictions_pkey")),
        postgresql_with={"fillfactor": 70, **BUSY},
    )
    op.create_index(
        "predictions_claimed",
        "predictions",
        ["model", "start_tag"],
        unique=False,
        postgresql_where=sa.text("attempt > 0 AND status <> 'queued'"),
    )
    op.create_index(
        "predictions_expiry",
        "predictions",
        ["expires_at"],
        unique=False,
        postgresql_where=sa.text("expires_at IS NOT NULL"),
    )
    op.create_index("predictions_key_recent", "predictions", ["key_id", "created_at"], unique=False)
    op.create_index(
        "predictions_queue",
        "predictions",
        ["model", "version", "start_tag", "seq"],
        unique=False,
        postgresql_where=sa.text("status = 'queued'"),
    )
    op.create_index(
        "predictions_queued_age",
        "predictions",
        ["created_at"],
        unique=False,
        postgresql_where=sa.text("status = 'queued'"),
    )
    op.create_index(
        "predictions_queued_tenant",
        "predictions",
        ["tenant_id", "model"],
        unique=False,
        postgresql_where=sa.text("status = 'queued'"),
    )
    op.create_index("predictions_tenant_recent", "predictions", ["tenant_id", "created_at"], unique=False)
    op.create_table(
        "leases",
        sa.Column("prediction_id", sa.Uuid(), nullable=False),
        sa.Column("claim_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("worker_id", sa.Uuid(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("picture", sa.Integer(), server_default="0", nullable=False),
        sa.Column("step", sa.Integer(), server_default="0", nullable=False),
        sa.Column("steps", sa.Integer(), server_default="0", nullable=False),
        sa.Column("picture_seconds", sa.Double(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(
            ["prediction_id"], ["predictions.id"], name=op.f("leases_prediction_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("prediction_id", name=op.f("leases_pkey")),
        postgresql_with={"fillfactor": 50, **BUSY},
    )
    op.create_table(
        "outputs",
        sa.Column("prediction_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("object_key", sa.Text(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("render_width", sa.Integer(), nullable=False),
        sa.Column("render_height", sa.Integer(), nullable=False),
        sa.Column("crop", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("steps", sa.Integer(), nullable=False),
        sa.Column("device_microseconds", sa.BigInteger(), nullable=False),
        sa.Column("safety", sa.Text(), nullable=False),
        sa.Column("safety_score", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(
            ["prediction_id"], ["predictions.id"], name=op.f("outputs_prediction_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("prediction_id", "position", name=op.f("outputs_pkey")),
    )
    op.create_table(
        "prediction_inputs",
        sa.Column("prediction_id", sa.Uuid(), nullable=False),
        sa.Column("input", sa.JSON(), nullable=False),
        sa.Column("plan", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(
            ["prediction_id"], ["predictions.id"], name=op.f("prediction_inputs_prediction_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("prediction_id", name=op.f("prediction_inputs_pkey")),
    )
    op.create_table(
        "prediction_results",
        sa.Column("prediction_id", sa.Uuid(), nullable=False),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("device_microseconds", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("notices", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.ForeignKeyConstraint(
            ["prediction_id"],
            ["predictions.id"],
            name=op.f("prediction_results_prediction_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("prediction_id", name=op.f("prediction_results_pkey")),
    )


def downgrade() -> None:
    op.drop_table("prediction_results")
    op.drop_table("prediction_inputs")
    op.drop_table("outputs")
    op.drop_table("leases")
    op.drop_index("predictions_tenant_recent", table_name="predictions")
    op.drop_index("predictions_queued_tenant", table_name="predictions", postgresql_where=sa.text("status = 'queued'"))
    op.drop_index("predictions_queued_age", table_name="predictions", postgresql_where=sa.text("status = 'queued'"))
    op.drop_index("predictions_queue", table_name="predictions", postgresql_where=sa.text("status = 'queued'"))
    op.drop_index("predictions_key_recent", table_name="predictions")
    op.drop_index("predictions_expiry", table_name="predictions", postgresql_where=sa.text("expires_at IS NOT NULL"))
    op.drop_index(
        "predictions_claimed", table_name="predictions", postgresql_where=sa.text("attempt > 0 AND status <> 'queued'")
    )
    op.drop_table("predictions")
    op.drop_table("fair_tags")
    op.drop_index(op.f("api_keys_tenant_id"), table_name="api_keys")
    op.drop_table("api_keys")
    op.drop_table("workers")
    op.drop_table("tenants")
    op.drop_table("model_queues")
