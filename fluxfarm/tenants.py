"""Tenants: who pays or shares the farm. Make, list, change, suspend, and the rows that go when one is deleted."""

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from fluxfarm import audit
from fluxfarm.changes import Name, Words, read_changes
from fluxfarm.errors import Conflict, NotFound
from fluxfarm.fields import Choice, Field, Number, Text, Whole
from fluxfarm.safety_policy import Policy
from fluxfarm.tables import Tenant

MONTH_SECONDS = 30 * 24 * 3600
SHORTEST_RETENTION_SECONDS = 300
TEN_YEARS_SECONDS = 10 * 365 * 24 * 3600
MOST = 1_000_000_000

FIELDS = (
    Field("weight", Number(0.01, 1000), "Share of the farm, against the other tenants'.", default=1.0),
    Field(
        "retention_seconds",
        Whole(SHORTEST_RETENTION_SECONDS, TEN_YEARS_SECONDS),
        "How long pictures are kept.",
        default=MONTH_SECONDS,
    ),
    Field("max_active", Whole(1, MOST), "Active predictions over all its keys; null: no limit of its own."),
    Field("creates_per_minute", Whole(1, MOST), "Creates a minute over all its keys; null: no limit of its own."),
    Field("models", Words(), "Models it may use; null: all."),
    Field("safety", Choice(tuple(Policy)), "Whether its pictures may go unchecked; null: as the farm says."),
    Field("contact", Text(200), "Whom to write to."),
)
NAME = Field("name", Name(), "Its name, unique here.", required=True)

# A prediction waits while its tenant is suspended; what comes back to the queue meanwhile is held too.
HOLD = text("""
UPDATE predictions p SET held = true
FROM tenants t
WHERE t.suspended_at IS NOT NULL AND p.tenant_id = t.id AND p.status = 'queued' AND NOT p.held
""")
FREE = text("""
UPDATE predictions p SET held = false
FROM tenants t
WHERE p.held AND t.id = p.tenant_id AND t.suspended_at IS NULL
""")

ERASE_REST = text("""
WITH keys AS (
    DELETE FROM api_keys WHERE tenant_id = :id RETURNING id
), tags AS (
    DELETE FROM fair_tags WHERE owner IN (SELECT id FROM keys) OR owner = :owner
)
SELECT count(*) FROM keys
""")


@dataclass(frozen=True, slots=True)
class TenantRecord:
    """A tenant as an operator sees it."""

    id: uuid.UUID
    name: str
    weight: float
    retention_seconds: int
    max_active: int | None
    creates_per_minute: int | None
    models: list[str] | None
    safety: str | None
    contact: str | None
    active: int
    suspended_at: datetime | None
    created_at: datetime


def create(session: Session, name: str, settings: Mapping[str, Any], *, by: str) -> TenantRecord:
    """Make a tenant.

    Raises:
        Conflict: there is one of that name.
        InvalidInput: the name or a setting is not allowed.

    """
    name = read_changes([NAME], {"name": name})["name"]
    values = read_changes(FIELDS, settings)
    made = session.scalar(
        insert(Tenant).values(id=uuid.uuid4(), name=name, **values).on_conflict_do_nothing().returning(Tenant.id)
    )
    if made is None:
        raise Conflict(f"There is a tenant {name!r} already.")
    audit.note(session, by=by, action="tenant created", subject=name, **values)
    return show(session, name)


def ensure(session: Session, name: str, *, by: str) -> uuid.UUID:
    """The id of the tenant of that name; made with the defaults if it is not there."""
    made = session.scalar(
        insert(Tenant).values(id=uuid.uuid4(), name=name).on_conflict_do_nothing().returning(Tenant.id)
    )
    if made is not None:
        audit.note(session, by=by, action="tenant created", subject=name)
    return session.scalars(select(Tenant.id).where(Tenant.name == name)).one()


def every(session: Session) -> list[TenantRecord]:
    return [_record(row) for row in session.scalars(select(Tenant).order_by(Tenant.created_at))]


def show(session: Session, name: str) -> TenantRecord:
    """Raises `NotFound` if there is none of that name."""
    row = session.scalar(select(Tenant).where(Tenant.name == name).execution_options(populate_existing=True))
    if row is None:
        raise NotFound(f"There is no tenant {name!r}.")
    return _record(row)


def change(session: Session, name: str, changes: Mapping[str, Any], *, by: str) -> TenantRecord:
    """Set some of its settings; null goes back to the default.

    Raises:
        NotFound: there is none of that name.
        InvalidInput: a setting is not allowed.

    """
    values = read_changes(FIELDS, changes)
    before = asdict(show(session, name))
    if values:
        session.execute(update(Tenant).where(Tenant.name == name).values(**values))
        was = {field: before[field] for field in values}
        audit.note(session, by=by, action="tenant changed", subject=name, was=was, now=values)
    return show(session, name)


def suspend(session: Session, name: str, *, by: str) -> TenantRecord:
    """Refuse its creates; `hold_queued` then keeps what it has waiting from being claimed."""
    return _set_suspended(session, name, func.coalesce(Tenant.suspended_at, func.clock_timestamp()), by=by)


def resume(session: Session, name: str, *, by: str) -> TenantRecord:
    """Let it create again; `hold_queued` then lets what waited go on, with its old place."""
    return _set_suspended(session, name, None, by=by)


def hold_queued(session: Session) -> None:
    """Make the queue agree with who is suspended. In its own transaction: locks go from predictions to tenants."""
    session.execute(HOLD)
    session.execute(FREE)


def erase_rest(session: Session, tenant: TenantRecord, *, by: str) -> int:
    """Delete the tenant and its keys, once its predictions are gone; returns how many keys."""
    keys = session.execute(ERASE_REST, {"id": tenant.id, "owner": str(tenant.id)}).scalar_one()
    session.execute(text("DELETE FROM tenants WHERE id = :id"), {"id": tenant.id})
    audit.note(session, by=by, action="tenant deleted", subject=tenant.name)
    return int(keys)


def _set_suspended(session: Session, name: str, value: Any, *, by: str) -> TenantRecord:
    before = show(session, name)
    session.execute(update(Tenant).where(Tenant.name == name).values(suspended_at=value))
    after = show(session, name)
    if (before.suspended_at is None) != (after.suspended_at is None):
        action = "tenant resumed" if after.suspended_at is None else "tenant suspended"
        audit.note(session, by=by, action=action, subject=name)
    return after


def _record(row: Tenant) -> TenantRecord:
    return TenantRecord(**{name: getattr(row, name) for name in TenantRecord.__dataclass_fields__})
