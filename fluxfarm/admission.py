"""May this key create this now? The slot, the fair tag and the row, in one statement of one short transaction.

The limit of creates per minute is counted from the rows themselves, while the key's row is locked by the slot that was
just taken: exact over any number of API processes, whatever becomes of Redis, and a refused create leaves no trace.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import JSON, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from fluxfarm.catalog import Model
from fluxfarm.database import announce_change
from fluxfarm.errors import (
    ConcurrencyLimited,
    LimitReached,
    LimitState,
    ModelNotAllowed,
    QueueFull,
    RateLimited,
    TenantSuspended,
    Unauthenticated,
)
from fluxfarm.keys import Caller
from fluxfarm.plans import Plan

WINDOW_SECONDS = 60

# Start-time fair queueing (Goyal, Vin and Cheng, 1996): start = max(virtual time, the tenant's last finish),
# finish = start + cost / weight. Each part reads from the one before it, for a part that reads nothing from the
# counter would run even when the counter refuses.
ADMIT = text("""
WITH slot AS (
    UPDATE api_keys
    SET active = active + 1, created = created + 1
    WHERE id = :key_id
      AND active < max_active
      AND revoked_at IS NULL
      AND (expires_at IS NULL OR expires_at > clock_timestamp())
    RETURNING id, tenant_id, active, max_active, created
), tenant AS (
    UPDATE tenants t
    SET active = t.active + 1, created = t.created + 1
    FROM slot
    WHERE t.id = slot.tenant_id
      AND t.suspended_at IS NULL
      AND (t.max_active IS NULL OR t.active < t.max_active)
    RETURNING t.id, t.weight, t.retention_seconds, t.active, t.creates_per_minute, t.created
), estimate AS (
    SELECT
        tenant.*,
        ceil(:pixel_steps * coalesce(q.pixel_step_microseconds, :pixel_step_microseconds))::bigint AS cost,
        greatest(
            coalesce(CASE :priority WHEN 0 THEN q.virtual_floor ELSE q.low_virtual_floor END, 0),
            coalesce((
                SELECT p.start_tag FROM predictions p
                WHERE p.model = :model AND p.priority = :priority AND p.attempt > 0 AND p.status <> 'queued'
                ORDER BY p.start_tag DESC LIMIT 1
            ), 0)
        ) AS virtual_time
    FROM tenant LEFT JOIN model_queues q ON q.model = :model
), tag AS (
    INSERT INTO fair_tags AS f (owner, model, priority, last_finish)
    SELECT :fair_owner, :model, :priority, virtual_time + ceil(cost / weight)::bigint FROM estimate
    ON CONFLICT (owner, model, priority) DO UPDATE
    SET last_finish = greatest(
        excluded.last_finish,
        f.last_finish + (SELECT ceil(cost / weight)::bigint FROM estimate)
    )
    RETURNING last_finish
), created AS (
    INSERT INTO predictions (
        id, tenant_id, key_id, key_seq, tenant_seq, fair_owner, model, version, priority, start_tag, cost, needs_fetch,
        retention_seconds, request_id, traceparent
    )
    SELECT
        :id, e.id, :key_id, slot.created, e.created, :fair_owner, :model, :version, :priority,
        tag.last_finish - ceil(e.cost / e.weight)::bigint, e.cost, :needs_fetch,
        least(e.retention_seconds, :retention_seconds), :request_id, :traceparent
    FROM tag, estimate e, slot
    RETURNING id
), asked AS (
    INSERT INTO prediction_inputs (prediction_id, input, plan) SELECT id, :input, :plan FROM created
)
SELECT slot.active, slot.max_active, slot.created, e.active AS tenant_active, e.created AS tenant_created,
    e.creates_per_minute AS tenant_creates_per_minute
FROM created, slot, estimate e
""").bindparams(bindparam("input", type_=JSON), bindparam("plan", type_=JSONB))

# Each row knows how many its key had made by then, so that the oldest of the last minute tells how many there are: one
# probe of an index, where counting them would make a busy key's every create dearer.
RECENT_OF_KEY = text("""
SELECT :created - key_seq + 1 AS n, extract(epoch FROM created_at + interval '60 s' - clock_timestamp())::float AS reset
FROM predictions WHERE key_id = :key_id AND created_at > clock_timestamp() - interval '60 s'
ORDER BY created_at LIMIT 1
""")

RECENT_OF_TENANT = text("""
SELECT :created - tenant_seq + 1 AS n,
    extract(epoch FROM created_at + interval '60 s' - clock_timestamp())::float AS reset
FROM predictions WHERE tenant_id = :tenant_id AND created_at > clock_timestamp() - interval '60 s'
ORDER BY created_at LIMIT 1
""")

QUEUED_OF_TENANT = text("""
SELECT count(*) FROM (
    SELECT FROM predictions WHERE tenant_id = :tenant_id AND model = :model AND status = 'queued' LIMIT :bound + 1
) AS queued
""")

# Whether this very transaction wrote the key's row.
TOOK_SLOT = text("""
SELECT coalesce(xmin::text = pg_current_xact_id_if_assigned()::xid::text, false) FROM api_keys WHERE id = :key_id
""")

REFUSED = text("""
SELECT
    k.revoked_at IS NOT NULL OR coalesce(k.expires_at <= clock_timestamp(), false) AS ended,
    t.suspended_at IS NOT NULL AS suspended,
    k.active, k.max_active, k.created, t.active AS tenant_active, t.max_active AS tenant_max_active
FROM api_keys k JOIN tenants t ON t.id = k.tenant_id WHERE k.id = :key_id
""")


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked, by whom: validated, with its picture already stored."""

    id: uuid.UUID
    caller: Caller
    model: Model
    plan: Plan
    shown_input: Mapping[str, Any]
    request_id: str
    traceparent: str | None = None
    low_priority: bool = False
    retention_seconds: int | None = None
    """A wish to keep it shorter than the tenant's retention."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the deployment says of all callers."""

    max_queued: int
    """Most queued predictions of one tenant and model."""
    fair_between: str = "tenant"


def admit(session: Session, request: Request, rules: Rules) -> LimitState:
    """Take a slot and write the row, or refuse; a refusal must be rolled back by the caller's transaction.

    Returns where the key stands afterwards.

    Raises:
        ConcurrencyLimited, RateLimited, QueueFull: with the state of the limits.
        TenantSuspended: its tenant may not create now.
        ModelNotAllowed: the key's or its tenant's list of models lacks this one.
        Unauthenticated: the key ended since it was looked up.

    """
    _check_model(request)
    admitted = session.execute(ADMIT, _parameters(request, rules)).one_or_none()
    caller = request.caller
    if admitted is None:
        raise _refusal(session, caller)
    recent = session.execute(RECENT_OF_KEY, {"key_id": caller.key_id, "created": admitted.created}).one()
    state = _state(caller, recent.n, recent.reset, admitted.active, admitted.max_active)
    if recent.n > caller.limits.creates_per_minute:
        message = f"The key may create {caller.limits.creates_per_minute} predictions a minute."
        raise _limited(RateLimited(message, retry_after=recent.reset), state)
    if (most := admitted.tenant_creates_per_minute) is not None:
        of_tenant = session.execute(
            RECENT_OF_TENANT, {"tenant_id": caller.tenant_id, "created": admitted.tenant_created}
        ).one()
        if of_tenant.n > most:
            message = f"The tenant may create {most} predictions a minute over all its keys."
            raise _limited(RateLimited(message, retry_after=of_tenant.reset), state)
    most_queued = rules.max_queued
    if admitted.tenant_active > most_queued and _queued(session, request, most_queued) > most_queued:
        message = f"The tenant has {most_queued} predictions of {request.model.slug} waiting, the most allowed."
        raise _limited(QueueFull(message, retry_after=10), state)
    traced = {"request_id": request.request_id, "traceparent": request.traceparent}
    announce_change(session, "prediction queued", prediction=request.id, model=request.model.slug, **traced)
    return state


def _check_model(request: Request) -> None:
    caller, slug = request.caller, request.model.slug
    for whose, allowed in (("key", caller.models), ("key's tenant", caller.tenant_models)):
        if allowed is not None and slug not in allowed:
            may = f"it may use {', '.join(sorted(allowed))}" if allowed else "it may use none"
            raise ModelNotAllowed(f"The {whose} may not use the model {slug}; {may}.")


def _parameters(request: Request, rules: Rules) -> dict[str, Any]:
    return {
        "fair_owner": request.caller.key_id if rules.fair_between == "key" else str(request.caller.tenant_id),
        "priority": int(request.low_priority),
        "id": request.id,
        "key_id": request.caller.key_id,
        "model": request.model.slug,
        "version": request.model.version,
        "pixel_steps": request.plan.pixel_steps(request.model),
        "pixel_step_microseconds": request.model.pixel_step_microseconds,
        "needs_fetch": request.plan.has_image,
        "retention_seconds": request.retention_seconds,
        "request_id": request.request_id,
        "traceparent": request.traceparent,
        "input": dict(request.shown_input),
        "plan": request.plan.to_json(),
    }


def _queued(session: Session, request: Request, bound: int) -> int:
    parameters = {"tenant_id": request.caller.tenant_id, "model": request.model.slug, "bound": bound}
    return int(session.execute(QUEUED_OF_TENANT, parameters).scalar_one())


def _refusal(session: Session, caller: Caller) -> Exception:
    row = session.execute(REFUSED, {"key_id": caller.key_id}).one_or_none()
    if row is None or row.ended:
        return Unauthenticated("The API key was revoked or has expired.")
    if row.suspended:
        return TenantSuspended("The tenant of this key is suspended; it may not create predictions now.")
    of_tenant = row.tenant_max_active is not None and row.tenant_active >= row.tenant_max_active
    # Where the tenant refused, the key's slot was taken before; it goes with this transaction.
    taken = int(of_tenant and session.execute(TOOK_SLOT, {"key_id": caller.key_id}).scalar_one())
    active, created = row.active - taken, row.created - taken
    recent = session.execute(RECENT_OF_KEY, {"key_id": caller.key_id, "created": created}).one_or_none()
    n, reset = (recent.n, recent.reset) if recent else (0, None)
    if of_tenant:
        message = f"The tenant has {row.tenant_max_active} active predictions over all its keys, the most allowed."
    else:
        message = f"The key has {row.max_active} active predictions, the most allowed; wait for one to end."
    return _limited(ConcurrencyLimited(message, retry_after=1), _state(caller, n, reset, active, row.max_active))


def _state(caller: Caller, recent: int, reset: float | None, active: int, max_active: int) -> LimitState:
    limit = caller.limits.creates_per_minute
    return LimitState(
        rate_limit=limit,
        rate_remaining=max(0, limit - recent),
        rate_reset_seconds=max(0.0, WINDOW_SECONDS if reset is None else reset),
        active_limit=max_active,
        active_remaining=max(0, max_active - active),
    )


def _limited(error: LimitReached, state: LimitState) -> LimitReached:
    error.limits = state
    return error
