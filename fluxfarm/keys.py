"""API keys: issue, read, look up, list, revoke. A key is shown once; the database keeps only a hash of its secret."""

import hashlib
import hmac
import secrets
import string
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from fluxfarm.database import announce_change
from fluxfarm.errors import InvalidInput, NotFound, Unauthenticated
from fluxfarm.tables import ApiKey, Tenant

PREFIX = "flx"
BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
ID_LENGTH = 12
SECRET_BYTES = 32
SECRET_LENGTH = 43
CHECK_LENGTH = 6

SCOPES = ("predict", "read", "cancel", "safety:off")
"""What a key may be allowed; `safety:off` is given only on request."""
DEFAULT_SCOPES = ("predict", "read", "cancel")


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


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key as an operator sees it."""

    id: str
    tenant: str
    name: str
    scopes: tuple[str, ...]
    limits: KeyLimits
    active: int
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class IssuedKey:
    id: str
    key: str
    tenant: str
    name: str


def issue(
    session: Session,
    *,
    tenant: str,
    name: str,
    scopes: Sequence[str] = DEFAULT_SCOPES,
    limits: KeyLimits | None = None,
    expires_at: datetime | None = None,
) -> IssuedKey:
    """Make a key for the tenant of that name; the returned text is the only copy of the secret.

    Raises:
        NotFound: there is no such tenant.
        InvalidInput: a scope is unknown.

    """
    if unknown := sorted(set(scopes) - set(SCOPES)):
        raise InvalidInput(f"There is no scope {unknown[0]!r}; scopes are {', '.join(SCOPES)}.")
    tenant_id = session.scalar(select(Tenant.id).where(Tenant.name == tenant))
    if tenant_id is None:
        raise NotFound(f"There is no tenant {tenant!r}.")
    limits = limits or KeyLimits()
    key_id = "".join(secrets.choice(BASE62) for _ in range(ID_LENGTH))
    secret = _base62(int.from_bytes(secrets.token_bytes(SECRET_BYTES)), SECRET_LENGTH)
    session.add(
        ApiKey(
            id=key_id,
            tenant_id=tenant_id,
            name=name,
            secret_sha256=_hash(secret),
            scopes=list(scopes),
            creates_per_minute=limits.creates_per_minute,
            reads_per_minute=limits.reads_per_minute,
            max_active=limits.max_active,
            expires_at=expires_at,
        )
    )
    session.flush()
    announce_change(session, "key issued", key=key_id, tenant=tenant)
    body = f"{PREFIX}_{key_id}_{secret}"
    return IssuedKey(id=key_id, key=f"{body}_{_check(body)}", tenant=tenant, name=name)


def split(text: str) -> tuple[str, str]:
    """Take a key apart into id and secret without any look-up; raises `Unauthenticated` if it cannot be one of ours."""
    body, _, check = text.rpartition("_")
    parts = body.split("_")
    well_formed = (
        text.isascii()
        and len(parts) == 3  # noqa: PLR2004 (prefix, id, secret)
        and parts[0] == PREFIX
        and len(parts[1]) == ID_LENGTH
        and len(parts[2]) == SECRET_LENGTH
        and hmac.compare_digest(check, _check(body))
    )
    if not well_formed:
        raise Unauthenticated("The API key is not valid: it is not one of this service's keys, or it was cut short.")
    return parts[1], parts[2]


def authenticate(session: Session, text: str) -> Caller:
    """Find out who holds this key.

    Raises:
        Unauthenticated: no such key, or it has expired or was revoked.

    """
    key_id, secret = split(text)
    row = session.execute(
        select(ApiKey, (ApiKey.expires_at <= func.clock_timestamp()).label("expired")).where(ApiKey.id == key_id)
    ).one_or_none()
    expected = row[0].secret_sha256 if row else bytes(32)
    if not hmac.compare_digest(_hash(secret), expected) or row is None:
        raise Unauthenticated("The API key is not valid.")
    key: ApiKey = row[0]
    if key.revoked_at is not None:
        raise Unauthenticated("The API key was revoked.")
    if row.expired:
        raise Unauthenticated("The API key has expired.")
    return Caller(key_id=key.id, tenant_id=key.tenant_id, scopes=frozenset(key.scopes), limits=_limits(key))


def every(session: Session, tenant: str | None = None) -> list[KeyRecord]:
    """All keys, or a tenant's, oldest first."""
    query = select(ApiKey, Tenant.name).join(Tenant, Tenant.id == ApiKey.tenant_id).order_by(ApiKey.created_at)
    if tenant is not None:
        query = query.where(Tenant.name == tenant)
    return [_record(key, name) for key, name in session.execute(query)]


def revoke(session: Session, key_id: str) -> None:
    """End a key; its running predictions finish. API processes notice within five seconds.

    Raises:
        NotFound: there is no such key.

    """
    statement = (
        update(ApiKey)
        .where(ApiKey.id == key_id)
        .values(revoked_at=func.coalesce(ApiKey.revoked_at, func.clock_timestamp()))
        .returning(ApiKey.id)
    )
    if session.execute(statement).one_or_none() is None:
        raise NotFound(f"There is no key with the id {key_id!r}.")
    announce_change(session, "key revoked", key=key_id)


def _record(key: ApiKey, tenant: str) -> KeyRecord:
    return KeyRecord(
        id=key.id,
        tenant=tenant,
        name=key.name,
        scopes=tuple(key.scopes),
        limits=_limits(key),
        active=key.active,
        created_at=key.created_at,
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
    )


def _limits(key: ApiKey) -> KeyLimits:
    return KeyLimits(key.creates_per_minute, key.reads_per_minute, key.max_active)


def _hash(secret: str) -> bytes:
    """A plain SHA-256 suffices for a secret of 256 random bits."""
    return hashlib.sha256(secret.encode()).digest()


def _check(body: str) -> str:
    """A checksum, so that secret scanners and we can tell a key from a likeness without a look-up."""
    return _base62(zlib.crc32(body.encode()), CHECK_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(BASE62[digit])
    return "".join(reversed(digits))
