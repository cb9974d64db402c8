"""The tables, as SQLAlchemy sees them; `migrations/` is what makes them, and a test holds the two together.

A prediction's row is narrow, for it changes with every move; what it was asked and what came of it stand beside it, and
the lease, written every few seconds, has a table of its own. Hot statements are SQL in `admission` and `lifecycle`.
"""

import uuid
from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    MetaData,
    SmallInteger,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from fluxfarm.safety_policy import Policy
from fluxfarm.status import Status

NAMING = {
    "ix": "%(table_name)s_%(column_0_N_name)s",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "ck": "%(table_name)s_%(constraint_name)s_check",
    "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    "pk": "%(table_name)s_pkey",
}
# Small hot tables are vacuumed after a fixed number of dead rows, not after a share of their history.
BUSY = {
    "autovacuum_vacuum_scale_factor": 0,
    "autovacuum_vacuum_threshold": 1000,
    "autovacuum_vacuum_cost_delay": 0,
}
KNOWN_POLICY = f"safety IN ({', '.join(repr(word.value) for word in Policy)})"
NOW = text("clock_timestamp()")
QUEUED = text("status = 'queued'")
CLAIMABLE = text("status = 'queued' AND NOT held")
DEADLINE = text("cancel_at IS NOT NULL AND status IN ('queued', 'processing')")


class Table(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text,
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
        list[str]: ARRAY(Text),
        bytes: BYTEA,
    }


class Tenant(Table):
    """Who pays or shares the farm; its limits stand above those of its keys (none where null)."""

    __tablename__ = "tenants"
    __table_args__ = (
        CheckConstraint("active >= 0", "active"),
        CheckConstraint("weight > 0", "weight"),
        CheckConstraint(KNOWN_POLICY, "safety"),
        {"postgresql_with": {"fillfactor": 70, **BUSY}},
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    weight: Mapped[float] = mapped_column(server_default="1")
    retention_seconds: Mapped[int] = mapped_column(server_default=str(30 * 24 * 3600))
    active: Mapped[int] = mapped_column(server_default="0")
    created: Mapped[int] = mapped_column(BigInteger, server_default="0")
    max_active: Mapped[int | None]
    creates_per_minute: Mapped[int | None]
    models: Mapped[list[str] | None]
    safety: Mapped[str | None]
    """The mildest policy that it allows; likewise a key's."""
    contact: Mapped[str | None]
    suspended_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class ApiKey(Table):
    """A credential of a tenant; only the SHA-256 of its secret is kept."""

    __tablename__ = "api_keys"
    __table_args__ = (
        CheckConstraint("active >= 0", "active"),
        CheckConstraint(KNOWN_POLICY, "safety"),
        {"postgresql_with": {"fillfactor": 70, **BUSY}},
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id"), index=True)
    name: Mapped[str]
    secret_sha256: Mapped[bytes]
    scopes: Mapped[list[str]]
    models: Mapped[list[str] | None]
    safety: Mapped[str | None]
    creates_per_minute: Mapped[int] = mapped_column(server_default="60")
    reads_per_minute: Mapped[int] = mapped_column(server_default="600")
    max_active: Mapped[int] = mapped_column(server_default="10")
    active: Mapped[int] = mapped_column(server_default="0")
    created: Mapped[int] = mapped_column(BigInteger, server_default="0")
    """Predictions it ever made."""
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    last_used_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class Prediction(Table):
    """One request for pictures: the truth about where it stands."""

    __tablename__ = "predictions"
    __table_args__ = (
        CheckConstraint(f"status IN ({', '.join(repr(word.value) for word in Status)})", "status"),
        # The claim takes the first row of this index.
        Index("predictions_queue", "model", "version", "priority", "start_tag", "seq", postgresql_where=CLAIMABLE),
        # Virtual time is the last row of this one.
        Index(
            "predictions_claimed",
            "model",
            "priority",
            "start_tag",
            postgresql_where=text("attempt > 0 AND status <> 'queued'"),
        ),
        Index("predictions_queued_tenant", "tenant_id", "model", postgresql_where=QUEUED),
        Index("predictions_held", "tenant_id", postgresql_where=text("held")),
        Index("predictions_queued_age", "created_at", postgresql_where=QUEUED),
        # The rate limit counts a key's last minute; the tenant's counts over its keys.
        Index("predictions_key_recent", "key_id", "created_at"),
        Index("predictions_tenant_recent", "tenant_id", "created_at"),
        Index("predictions_history", "tenant_id", "model", "status", "created_at"),
        Index("predictions_expiry", "expires_at", postgresql_where=text("expires_at IS NOT NULL")),
        Index("predictions_deadline", "cancel_at", postgresql_where=DEADLINE),
        {"postgresql_with": {"fillfactor": 70, **BUSY}},
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id"))
    key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id"))
    key_seq: Mapped[int] = mapped_column(BigInteger, server_default="0")
    """How many its key had made with it; likewise its tenant."""
    tenant_seq: Mapped[int] = mapped_column(BigInteger, server_default="0")
    model: Mapped[str]
    version: Mapped[str]
    status: Mapped[str] = mapped_column(server_default=Status.QUEUED.value)
    priority: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    """0 normal, 1 low: starts only while no normal one of its model waits."""
    held: Mapped[bool] = mapped_column(server_default="false")
    """Its tenant is suspended."""
    seq: Mapped[int] = mapped_column(BigInteger, Identity(always=True))
    fair_owner: Mapped[str]
    """Whose share it draws on: its tenant, or its key where the operator says so."""
    start_tag: Mapped[int] = mapped_column(BigInteger)
    cost: Mapped[int] = mapped_column(BigInteger)
    """Estimated device-microseconds."""
    needs_fetch: Mapped[bool] = mapped_column(server_default="false")
    attempt: Mapped[int] = mapped_column(server_default="0")
    lost: Mapped[int] = mapped_column(server_default="0")
    """Leases that ran out while this was held; handing back does not count."""
    claim_id: Mapped[uuid.UUID | None]
    cancel_requested: Mapped[bool] = mapped_column(server_default="false")
    revision: Mapped[int] = mapped_column(server_default="0")
    retention_seconds: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    request_id: Mapped[str]
    traceparent: Mapped[str | None]
    own_id: Mapped[uuid.UUID | None]
    """What its client calls it; see `fluxfarm.own_ids`."""
    cancel_at: Mapped[datetime | None]
    """If it has not ended by then, its owner wishes it to end."""


class PredictionInput(Table):
    """What was asked: the input as the API shows it, and the plan a worker renders from."""

    __tablename__ = "prediction_inputs"

    prediction_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("predictions.id", ondelete="CASCADE"), primary_key=True)
    input: Mapped[dict[str, Any]] = mapped_column(JSON)
    """As text, so that its fields keep their order."""
    plan: Mapped[dict[str, Any]]
    fingerprint: Mapped[bytes | None]
    """Of the body that asked for it, where its client gave it an id."""


class PredictionResult(Table):
    """How it ended, other than its pictures."""

    __tablename__ = "prediction_results"

    prediction_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("predictions.id", ondelete="CASCADE"), primary_key=True)
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]
    device_microseconds: Mapped[int] = mapped_column(BigInteger, server_default="0")
    notices: Mapped[list[str]] = mapped_column(server_default="{}")
    withheld: Mapped[list[Any]] = mapped_column(JSONB, server_default=text("'[]'"))
    made_with: Mapped[dict[str, Any] | None]
    """Weights, scheduler, dtype and libraries; none where no picture was made."""
    """The pictures that were drawn and are not handed out, and why; see `fluxfarm.outcomes.Withheld`."""


class Output(Table):
    """One picture of a prediction."""

    __tablename__ = "outputs"

    prediction_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("predictions.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    object_key: Mapped[str]
    media_type: Mapped[str]
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]
    width: Mapped[int]
    height: Mapped[int]
    render_width: Mapped[int]
    render_height: Mapped[int]
    crop: Mapped[dict[str, Any] | None]
    seed: Mapped[int] = mapped_column(BigInteger)
    steps: Mapped[int]
    device_microseconds: Mapped[int] = mapped_column(BigInteger)
    safety: Mapped[str]
    safety_score: Mapped[float | None]
    safety_checker: Mapped[str | None]


class Lease(Table):
    """The right of one worker to finish one prediction until a time, and how far it has come."""

    __tablename__ = "leases"
    __table_args__ = ({"postgresql_with": {"fillfactor": 50, **BUSY}},)

    prediction_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("predictions.id", ondelete="CASCADE"), primary_key=True)
    claim_id: Mapped[uuid.UUID]
    attempt: Mapped[int]
    worker_id: Mapped[uuid.UUID]
    expires_at: Mapped[datetime]
    stage: Mapped[str]
    picture: Mapped[int] = mapped_column(server_default="0")
    step: Mapped[int] = mapped_column(server_default="0")
    steps: Mapped[int] = mapped_column(server_default="0")
    picture_seconds: Mapped[float] = mapped_column(server_default="0")


class FairTag(Table):
    """Where an owner's last prediction in a model's queue would finish, in virtual device-microseconds.

    The owner is a tenant, or a key where the operator says so; each priority has an order of its own.
    """

    __tablename__ = "fair_tags"
    __table_args__ = ({"postgresql_with": {"fillfactor": 70, **BUSY}},)

    owner: Mapped[str] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(primary_key=True)
    priority: Mapped[int] = mapped_column(SmallInteger, primary_key=True, server_default="0")
    last_finish: Mapped[int] = mapped_column(BigInteger)


class ModelQueue(Table):
    """What the maintenance loop knows of a model's queue: a floor for virtual time, and the measured rate."""

    __tablename__ = "model_queues"

    model: Mapped[str] = mapped_column(primary_key=True)
    virtual_floor: Mapped[int] = mapped_column(BigInteger, server_default="0")
    low_virtual_floor: Mapped[int] = mapped_column(BigInteger, server_default="0")
    pixel_step_microseconds: Mapped[float | None]


class Worker(Table):
    """A worker process that has loaded its pipeline, or is about to."""

    __tablename__ = "workers"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    model: Mapped[str]
    version: Mapped[str]
    host: Mapped[str]
    pid: Mapped[int]
    device: Mapped[str]
    loading: Mapped[bool] = mapped_column(server_default="false")
    """It can render nothing yet."""
    started_at: Mapped[datetime] = mapped_column(server_default=NOW)
    seen_at: Mapped[datetime] = mapped_column(server_default=NOW)


class StoreProbe(Table):
    """A question of a machine that wants to join: whether the farm sees what it put into the store."""

    __tablename__ = "store_probes"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    sha256: Mapped[str]
    asked_at: Mapped[datetime] = mapped_column(server_default=NOW)
    seen: Mapped[str | None]
    """What the maintenance process found when it last looked."""


class SentPicture(Table):
    """An object that came inside a request, until it is known whether its prediction came to be."""

    __tablename__ = "sent_pictures"

    object_key: Mapped[str] = mapped_column(primary_key=True)
    prediction_id: Mapped[uuid.UUID]
    noted_at: Mapped[datetime] = mapped_column(server_default=NOW, index=True)


class Remembered(Table):
    """What a client may send again within a day and shall be told as before.

    A `create` by its Idempotency-Key, a `put` by its client's own id, a `delete` by the id of what is gone.
    """

    __tablename__ = "remembered"

    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    prediction_id: Mapped[uuid.UUID]
    fingerprint: Mapped[bytes | None]
    """Of the body that was sent."""
    at: Mapped[datetime] = mapped_column(server_default=NOW, index=True)


class Moderation(Table):
    """What a check said of a prompt, an input picture or an output; the database refuses to change a row.

    It names ids, not rows: what was decided is remembered for a time of its own.
    """

    __tablename__ = "moderation"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=NOW, index=True)
    prediction_id: Mapped[uuid.UUID | None]
    """None where a create was refused."""
    attempt: Mapped[int | None]
    tenant_id: Mapped[uuid.UUID]
    key_id: Mapped[str]
    model: Mapped[str]
    request_id: Mapped[str]
    stage: Mapped[str]
    what: Mapped[str]
    """The field of the input, or the place of the output from 0."""
    verdict: Mapped[str]
    withheld: Mapped[bool]
    checker: Mapped[str | None]
    label: Mapped[str | None]
    score: Mapped[float | None]
    threshold: Mapped[float | None]
    policy: Mapped[str]
    set_by: Mapped[str]


class AuditEntry(Table):
    """One change of a tenant or a key: who did it, and what it was before."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=NOW)
    actor: Mapped[str]
    action: Mapped[str]
    subject: Mapped[str]
    details: Mapped[dict[str, Any]]
