"""API keys: issue, rotate, change, look up, list, revoke. A key is shown once; the database keeps only a hash."""

import hmac
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, select, text, update
from sqlalchemy.orm import Session

from fluxfarm import audit
from fluxfarm.changes import Words, read_changes
from fluxfarm.credentials import hashed, new_credential, split
from fluxfarm.errors import Conflict, NotFound, Unauthenticated
from fluxfarm.fields import Choice, Field, Number, Text, Whole
from fluxfarm.safety_policy import SCOPE, Policy
from fluxfarm.tables import ApiKey, Tenant

SCOPES = ("predict", "read", "cancel", SCOPE, "admin")
"""What a key may be allowed; the last two are given only on request."""
DEFAULT_SCOPES = ("predict", "read", "cancel")
MOST = 1_000_000_000

FIELDS = (
    Field("name", Text(100), "What the key is for; shown in lists.", default="unnamed"),
    Field("scopes", Words(SCOPES), "What it may do.", default=list(DEFAULT_SCOPES)),
    Field("models", Words(), "Models it may use; null: all that its tenant may."),
    Field("safety", Choice(tuple(Policy)), "Whether its pictures may go unchecked; null: as its tenant says."),
    Field("creates_per_minute", Whole(1, MOST), "Creates a minute.", default=60),
    Field("reads_per_minute", Whole(1, MOST), "Reads a minute.", default=600),
    Field("max_active", Whole(1, MOST), "Active predictions at once.", default=10),
)
LIFETIME = Field("expires_in_days", Number(0.001, 36500), "Days until it ends; null: it does not.")

# Coarse, so that a key in use costs a write every ten minutes, not one a request.
TOUCH = text("""
UPDATE api_keys SET last_used_at = clock_timestamp()
WHERE id = :id AND (last_used_at IS NULL OR last_used_at < clock_timestamp() - interval '10 min')
""")


@dataclass(frozen=True, slots=True)
class KeyLimits:
    creates_per_minute: int = 60
    reads_per_minute: int = 600
    max_active: int = 10


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking: a key that has been checked, with its tenant and limits."""

    key_id: str
    tenant_id: uuid.UUID
    scopes: frozenset[str]
    limits: KeyLimits
    models: frozenset[str] | None = None
    """None, like `tenant_models`: all."""
    tenant_models: frozenset[str] | None = None
    safety: Policy | None = None
    """None, like `tenant_safety`: it says nothing."""
    tenant_safety: Policy | None = None


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key as an operator sees it."""

    id: str
    tenant: str
    name: str
    scopes: list[str]
    models: list[str] | None
    safety: str | None
    creates_per_minute: int
    reads_per_minute: int
    max_active: int
    active: int
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new key; `key` is the only copy of its secret."""

    id: str
    key: str
    tenant: str
    name: str


def issue(
    session: Session, *, tenant: str, settings: Mapping[str, Any], by: str, expires_in_days: float | None = None
) -> IssuedKey:
    """Make a key for the tenant of that name.

    Raises:
        NotFound: there is no such tenant.
        InvalidInput: a setting is not allowed.

    """
    sent = {field.name: None for field in FIELDS} | dict(settings)
    values = read_changes(FIELDS, sent)
    days = read_changes([LIFETIME], {"expires_in_days": expires_in_days})["expires_in_days"]
    tenant_id = session.scalar(select(Tenant.id).where(Tenant.name == tenant))
    if tenant_id is None:
        raise NotFound(f"There is no tenant {tenant!r}.")
    made = new_credential()
    expires_at = func.clock_timestamp() + timedelta(days=days) if days else None
    row = ApiKey(id=made.id, tenant_id=tenant_id, secret_sha256=made.secret_sha256, **values)
    session.add(row)
    session.flush()
    session.execute(update(ApiKey).where(ApiKey.id == made.id).values(expires_at=expires_at))
    audit.note(session, by=by, action="key issued", subject=made.id, tenant=tenant, **values)
    return IssuedKey(id=made.id, key=made.text, tenant=tenant, name=values["name"])


def rotate(session: Session, key_id: str, *, overlap_seconds: int, by: str) -> IssuedKey:
    """Make a second key like this one, with the same end if it has one; the old one ends after the overlap.

    Raises:
        NotFound: there is no such key.
        Conflict: it has ended.

    """
    old = show(session, key_id)
    if old.revoked_at is not None:
        raise Conflict(f"The key {key_id!r} was revoked; issue a new one.")
    if session.scalar(select(ApiKey.expires_at <= func.clock_timestamp()).where(ApiKey.id == key_id)):
        raise Conflict(f"The key {key_id!r} has expired; issue a new one.")
    settings = {field.name: getattr(old, field.name) for field in FIELDS}
    new = issue(session, tenant=old.tenant, settings=settings, by=by)
    session.execute(update(ApiKey).where(ApiKey.id == new.id).values(expires_at=old.expires_at))
    end = func.clock_timestamp() + timedelta(seconds=overlap_seconds)
    session.execute(
        update(ApiKey)
        .where(ApiKey.id == key_id)
        .values(expires_at=func.least(end, func.coalesce(ApiKey.expires_at, end)))
    )
    audit.note(session, by=by, action="key rotated", subject=key_id, new=new.id, overlap_seconds=overlap_seconds)
    return new


def authenticate(session: Session, key: str) -> Caller:
    """Find out who holds this key.

    Raises:
        Unauthenticated: no such key, or it has expired or was revoked.

    """
    key_id, secret = split(key)
    expired = (ApiKey.expires_at <= func.clock_timestamp()).label("expired")
    query = select(ApiKey, Tenant.models, Tenant.safety, expired).join(Tenant, Tenant.id == ApiKey.tenant_id)
    row = session.execute(query.where(ApiKey.id == key_id)).one_or_none()
    expected = row[0].secret_sha256 if row else bytes(32)
    if not hmac.compare_digest(hashed(secret), expected) or row is None:
        raise Unauthenticated("The API key is not valid.")
    found, tenant_models, tenant_safety, has_expired = row
    if found.revoked_at is not None:
        raise Unauthenticated("The API key was revoked.")
    if has_expired:
        raise Unauthenticated("The API key has expired.")
    session.execute(TOUCH, {"id": key_id})
    return Caller(
        key_id=found.id,
        tenant_id=found.tenant_id,
        scopes=frozenset(found.scopes),
        limits=KeyLimits(found.creates_per_minute, found.reads_per_minute, found.max_active),
        models=None if found.models is None else frozenset(found.models),
        tenant_models=None if tenant_models is None else frozenset(tenant_models),
        safety=None if found.safety is None else Policy(found.safety),
        tenant_safety=None if tenant_safety is None else Policy(tenant_safety),
    )


def every(session: Session, tenant: str | None = None) -> list[KeyRecord]:
    """All keys, or a tenant's, oldest first."""
    query = select(ApiKey, Tenant.name).join(Tenant, Tenant.id == ApiKey.tenant_id).order_by(ApiKey.created_at)
    if tenant is not None:
        query = query.where(Tenant.name == tenant)
    return [_record(key, name) for key, name in session.execute(query)]


def of_tenant(connection: Connection, tenant_id: uuid.UUID) -> list[str]:
    """The ids of a tenant's keys that were not revoked."""
    return [*connection.scalars(select(ApiKey.id).where(ApiKey.tenant_id == tenant_id, ApiKey.revoked_at.is_(None)))]


def show(session: Session, key_id: str) -> KeyRecord:
    """Raises `NotFound` if there is none of that id."""
    query = select(ApiKey, Tenant.name).join(Tenant, Tenant.id == ApiKey.tenant_id).where(ApiKey.id == key_id)
    row = session.execute(query.execution_options(populate_existing=True)).one_or_none()
    if row is None:
        raise NotFound(f"There is no key with the id {key_id!r}.")
    return _record(row[0], row[1])


def change(session: Session, key_id: str, changes: Mapping[str, Any], *, by: str) -> KeyRecord:
    """Set some of its settings; null goes back to the default. API processes notice within five seconds.

    Raises:
        NotFound: there is none of that id.
        InvalidInput: a setting is not allowed.

    """
    values = read_changes(FIELDS, changes)
    before = asdict(show(session, key_id))
    if values:
        session.execute(update(ApiKey).where(ApiKey.id == key_id).values(**values))
        was = {field: before[field] for field in values}
        audit.note(session, by=by, action="key changed", subject=key_id, was=was, now=values)
    return show(session, key_id)


def revoke(session: Session, key_id: str, *, by: str) -> KeyRecord:
    """End a key; its running predictions finish. API processes notice within five seconds.

    Raises:
        NotFound: there is no such key.

    """
    if show(session, key_id).revoked_at is None:
        session.execute(update(ApiKey).where(ApiKey.id == key_id).values(revoked_at=func.clock_timestamp()))
        audit.note(session, by=by, action="key revoked", subject=key_id)
    return show(session, key_id)


def _record(key: ApiKey, tenant: str) -> KeyRecord:
    names = KeyRecord.__dataclass_fields__.keys() - {"tenant"}
    return KeyRecord(tenant=tenant, **{name: getattr(key, name) for name in names})
