"""May this key create this now? The limits, the slot, the fair tag and the row, in one statement.

The limit of creates per minute is told from the rows themselves, while the key's row is locked: exact over any number
of API processes, whatever becomes of Redis, and a refused create leaves no trace.
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select, text
from sqlalchemy.orm import Session

from fluxfarm import retries
from fluxfarm.catalog import Model
from fluxfarm.database import Statements, announce_change, driver_sql
from fluxfarm.errors import (
    ConcurrencyLimited,
    FluxfarmError,
    LimitReached,
    LimitState,
    ModelNotAllowed,
    QueueFull,
    RateLimited,
    RepeatedDifferently,
    TenantSuspended,
    Unauthenticated,
)
from fluxfarm.keys import Caller
from fluxfarm.moves import Moved, Word
from fluxfarm.plans import Plan
from fluxfarm.retries import Repeatable, Replayed
from fluxfarm.tables import Tenant

WINDOW_SECONDS = 60

UNDECIDED = "undecided"

# The key's row is locked, then its tenant's; all is judged by what they hold then; and only what is not refused moves
# anything, since each part reads from the one before it. So a refusal has nothing to undo, and the statement may commit
# by itself, which keeps the key's lock from waiting for a client.
#
# How many were created within the last minute is told by numbers, not by counting: each row knows how many its key had
# made with it, so the oldest of the minute is enough. The statement sees only what had committed when it began, while
# the counters it locks are the latest; but the rows it cannot see are the latest ones, and follow in number on those
# that had been made as it saw them (`seen`).
#
# Start-time fair queueing (Goyal, Vin and Cheng, 1996): start = max(virtual time, the tenant's last finish),
# finish = start + cost / weight.
ADMIT_SQL = """
WITH key AS (
    SELECT id, tenant_id, active, max_active, created, creates_per_minute,
        revoked_at IS NOT NULL OR coalesce(expires_at <= clock_timestamp(), false) AS ended
    FROM api_keys WHERE id = :key_id{alone}
    FOR NO KEY UPDATE
), tenant AS (
    SELECT t.id, t.weight, t.retention_seconds, t.active, t.max_active, t.created, t.creates_per_minute,
        t.suspended_at IS NOT NULL AS suspended
    FROM tenants t JOIN key ON key.tenant_id = t.id
    FOR NO KEY UPDATE OF t
), seen AS (
    SELECT k.created AS by_key, t.created AS by_tenant
    FROM api_keys k JOIN tenants t ON t.id = k.tenant_id WHERE k.id = :key_id
), minute AS (
    SELECT
        k.n AS of_key, t.n AS of_tenant,
        extract(epoch FROM k.since + interval '60 s' - clock_timestamp())::float AS key_reset,
        extract(epoch FROM t.since + interval '60 s' - clock_timestamp())::float AS tenant_reset
    FROM key, tenant, seen
    CROSS JOIN LATERAL (
        SELECT key.created - coalesce(min(first.key_seq), seen.by_key + 1) + 1 AS n, min(first.created_at) AS since
        FROM (
            SELECT p.key_seq, p.created_at FROM predictions p
            WHERE p.key_id = key.id AND p.created_at > statement_timestamp() - interval '60 s'
            ORDER BY p.created_at LIMIT 1
        ) AS first
    ) AS k
    CROSS JOIN LATERAL (
        SELECT tenant.created - coalesce(min(first.tenant_seq), seen.by_tenant + 1) + 1 AS n,
            min(first.created_at) AS since
        FROM (
            SELECT p.tenant_seq, p.created_at FROM predictions p
            WHERE tenant.creates_per_minute IS NOT NULL
              AND p.tenant_id = tenant.id AND p.created_at > statement_timestamp() - interval '60 s'
            ORDER BY p.created_at LIMIT 1
        ) AS first
    ) AS t
){known}, judged AS MATERIALIZED (
    SELECT
        key.active, key.max_active, key.created, key.creates_per_minute,
        tenant.id AS tenant_id, tenant.weight, tenant.retention_seconds, tenant.created AS tenant_created,
        tenant.max_active AS tenant_max_active, tenant.creates_per_minute AS tenant_creates_per_minute,
        minute.of_key, minute.key_reset, minute.tenant_reset,
        CASE
            {first}
            WHEN key.ended THEN 'ended'
            WHEN tenant.suspended THEN 'suspended'
            WHEN key.active >= key.max_active THEN 'active of key'
            WHEN tenant.active >= tenant.max_active THEN 'active of tenant'
            WHEN minute.of_key >= key.creates_per_minute THEN 'rate of key'
            WHEN minute.of_tenant >= tenant.creates_per_minute THEN 'rate of tenant'
            WHEN tenant.active < :max_queued THEN NULL
            WHEN NOT :locked THEN 'undecided'
            WHEN (
                SELECT count(*) FROM (
                    SELECT FROM predictions p
                    WHERE p.tenant_id = tenant.id AND p.model = :model AND p.status = 'queued' LIMIT :max_queued
                ) AS queued
            ) >= :max_queued THEN 'queued'
        END AS refusal
    FROM key, tenant, minute
), slot AS (
    UPDATE api_keys k SET active = k.active + 1, created = k.created + 1
    FROM judged WHERE k.id = :key_id AND judged.refusal IS NULL
), tenant_slot AS (
    UPDATE tenants t SET active = t.active + 1, created = t.created + 1
    FROM judged WHERE t.id = judged.tenant_id AND judged.refusal IS NULL
), estimate AS (
    SELECT
        judged.*,
        ceil(:pixel_steps * coalesce(q.pixel_step_microseconds, :pixel_step_microseconds))::bigint AS cost,
        greatest(
            coalesce(CASE :priority WHEN 0 THEN q.virtual_floor ELSE q.low_virtual_floor END, 0),
            coalesce((
                SELECT p.start_tag FROM predictions p
                WHERE p.model = :model AND p.priority = :priority AND p.attempt > 0 AND p.status <> 'queued'
                ORDER BY p.start_tag DESC LIMIT 1
            ), 0)
        ) AS virtual_time
    FROM judged LEFT JOIN model_queues q ON q.model = :model WHERE judged.refusal IS NULL
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
        retention_seconds, request_id, traceparent, own_id, cancel_at, revision
    )
    SELECT
        :id, e.tenant_id, :key_id, e.created + 1, e.tenant_created + 1, :fair_owner, :model, :version, :priority,
        tag.last_finish - ceil(e.cost / e.weight)::bigint, e.cost, :needs_fetch,
        least(e.retention_seconds, :retention_seconds), :request_id, :traceparent, :own_id,
        clock_timestamp() + :cancel_after_seconds * interval '1 s', {revision}
    FROM tag, estimate e
    RETURNING id, tenant_id
), asked AS (
    INSERT INTO prediction_inputs (prediction_id, input, plan, fingerprint)
    SELECT id, cast(:input AS json), cast(:plan AS jsonb), :own_fingerprint FROM created
){remembered}
SELECT {result}
"""
STATE = """active, max_active, of_key, creates_per_minute, key_reset,
    tenant_max_active, tenant_creates_per_minute, tenant_reset"""
ADMIT = text(
    ADMIT_SQL.format(alone="", known="", first="", remembered="", revision="0", result=f"refusal, {STATE} FROM judged")
)
ADMIT_ALONE = driver_sql(ADMIT)

# One that may be a repetition goes behind `retries.TRY_ALONE`, in its transaction; without that lock it touches no row.
# What was admitted before is told before any limit is looked at, and is remembered only with the row. An id may come
# again once its row is gone: revisions begin anywhere, so that no old answer passes for a new one.
ADMIT_ONCE = text(
    ADMIT_SQL.format(
        alone=f" AND {retries.ALONE}",
        known=f", known AS ({retries.KNOWN})",
        first="WHEN EXISTS (SELECT FROM known) THEN 'known'",
        remembered=f", remembered AS ({retries.REMEMBER})",
        revision="CASE WHEN cast(:own_id AS uuid) IS NULL THEN 0 ELSE (random() * 1e9)::int END",
        result=f"""
            CASE WHEN NOT alone THEN 'in flight' WHEN active IS NULL THEN 'ended' ELSE refusal END AS refusal,
            {STATE}, known.id, known.fingerprint
        FROM (SELECT {retries.ALONE} AS alone) AS tried LEFT JOIN judged ON true LEFT JOIN known ON true""",
    )
)
ADMIT_ONCE_ALONE = driver_sql(ADMIT_ONCE)
TRY_ALONE_ALONE = driver_sql(retries.TRY_ALONE)


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
    cancel_after_seconds: int | None = None
    """It shall be cancelled if it has not ended by then."""
    repeatable: Repeatable | None = None
    """By what it is known again if it was sent before."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the deployment says of all callers."""

    max_queued: int
    """Most queued predictions of one tenant and model."""
    fair_between: str = "tenant"


Verdict = LimitState | Replayed | FluxfarmError | None
"""Where the key stands after the create, what it had made before, or why it is refused; None if only a transaction can
tell."""


def admit(session: Session, request: Request, rules: Rules) -> LimitState | Replayed:
    """Take a slot and write the row, or refuse and leave nothing behind; returns where the key stands afterwards.

    Raises:
        ConcurrencyLimited, RateLimited, QueueFull: with the state of the limits.
        TenantSuspended: its tenant may not create now.
        ModelNotAllowed: the key's or its tenant's list of models lacks this one.
        Unauthenticated: the key ended since it was looked up.
        InFlight, RepeatedDifferently: it is a repetition, of one that is not over or asked for something else.

    """
    check_model(request.caller, request.model.slug)
    parameters = _parameters(request, rules)
    statement = ADMIT
    if request.repeatable is not None:
        session.execute(retries.TRY_ALONE, {"lock": request.repeatable.name})
        statement = ADMIT_ONCE
    row = session.execute(statement, parameters).one_or_none()
    if row is not None and row.refusal == UNDECIDED:
        # The rows of key and tenant are locked by now.
        row = session.execute(statement, {**parameters, "locked": True}).one()
    verdict = _verdict(row, request, rules)
    if isinstance(verdict, FluxfarmError):
        raise verdict
    assert verdict is not None
    _announce_admitted(session, request, verdict)
    return verdict


def admit_all(statements: Statements, requests: Sequence[Request], rules: Rules) -> list[Verdict]:
    """As `admit`, several of one key in one round trip; each decided after those before it.

    A tenant with so much active that its queue may be full is not decided here: that must be counted under its lock.
    """
    asked = [(_statements(request), _parameters(request, rules)) for request in requests]
    rows = statements.last_of_each(asked)
    verdicts = [_verdict(row, request, rules) for row, request in zip(rows, requests, strict=True)]
    for request, verdict in zip(requests, verdicts, strict=True):
        _announce_admitted(statements, request, verdict)
    return verdicts


def _statements(request: Request) -> Sequence[str]:
    return (ADMIT_ALONE,) if request.repeatable is None else (TRY_ALONE_ALONE, ADMIT_ONCE_ALONE)


def _announce_admitted(scope: Session | Statements, request: Request, verdict: Verdict) -> None:
    if isinstance(verdict, LimitState):
        announce_change(scope, "prediction queued", _moved(request), **_told(request))


def _verdict(row: Any, request: Request, rules: Rules) -> Verdict:
    if row is not None and row.refusal == UNDECIDED:
        return None
    if row is not None and row.refusal is None:
        return _state(row, admitted=1)
    if row is not None and row.refusal == "known":
        return _known(row, request)
    return _refusal(row, request, rules)


def _known(row: Any, request: Request) -> Verdict:
    assert request.repeatable is not None
    try:
        return retries.judged(request.repeatable, row._asdict())
    except RepeatedDifferently as refusal:
        return refusal


def _moved(request: Request) -> Moved:
    return Moved(request.id, request.caller.key_id, 0, Word.QUEUED)


def _told(request: Request) -> dict[str, Any]:
    traced = {"request_id": request.request_id, "traceparent": request.traceparent}
    own_id = request.repeatable.own_id if request.repeatable else None
    return {"prediction": request.id, "own_id": own_id, "model": request.model.slug, **traced}


def check_model(caller: Caller, slug: str) -> None:
    """Raises `ModelNotAllowed` if the list of models of the key or its tenant lacks this one."""
    for whose, allowed in (("key", caller.models), ("key's tenant", caller.tenant_models)):
        if allowed is not None and slug not in allowed:
            may = f"it may use {', '.join(sorted(allowed))}" if allowed else "it may use none"
            raise ModelNotAllowed(f"The {whose} may not use the model {slug}; {may}.")


def check_tenant(connection: Connection, caller: Caller) -> None:
    """Raises `TenantSuspended` if its tenant is."""
    if connection.scalar(select(Tenant.suspended_at).where(Tenant.id == caller.tenant_id)) is not None:
        raise _suspended()


def _suspended() -> TenantSuspended:
    return TenantSuspended("The tenant of this key is suspended; it may not create predictions now.")


def _parameters(request: Request, rules: Rules) -> dict[str, Any]:
    repeatable = request.repeatable
    return {
        **(repeatable.parameters() | {"lock": repeatable.name} if repeatable else {}),
        "own_id": repeatable.own_id if repeatable else None,
        "own_fingerprint": repeatable.fingerprint if repeatable and repeatable.own_id else None,
        "fair_owner": request.caller.key_id if rules.fair_between == "key" else str(request.caller.tenant_id),
        "priority": int(request.low_priority),
        "id": request.id,
        "key_id": request.caller.key_id,
        "max_queued": rules.max_queued,
        "model": request.model.slug,
        "version": request.model.version,
        "pixel_steps": request.plan.pixel_steps(request.model),
        "pixel_step_microseconds": request.model.pixel_step_microseconds,
        "needs_fetch": request.plan.needs_fetch,
        "retention_seconds": request.retention_seconds,
        "cancel_after_seconds": request.cancel_after_seconds,
        "request_id": request.request_id,
        "traceparent": request.traceparent,
        "input": json.dumps(dict(request.shown_input)),
        "plan": json.dumps(request.plan.to_json()),
        "locked": False,
    }


def _refusal(row: Any, request: Request, rules: Rules) -> FluxfarmError:
    """Which limit of whom it was."""
    refusal = "ended" if row is None else row.refusal
    if refusal == "in flight":
        return retries.in_flight()
    if refusal == "ended":
        return Unauthenticated("The API key was revoked or has expired.")
    if refusal == "suspended":
        return _suspended()
    error: LimitReached
    if refusal == "active of key":
        message = f"The key has {row.max_active} active predictions, the most allowed; wait for one to end."
        error = ConcurrencyLimited(message, retry_after=1)
    elif refusal == "active of tenant":
        message = f"The tenant has {row.tenant_max_active} active predictions over all its keys, the most allowed."
        error = ConcurrencyLimited(message, retry_after=1)
    elif refusal == "rate of key":
        message = f"The key may create {row.creates_per_minute} predictions a minute."
        error = RateLimited(message, retry_after=_reset(row.key_reset))
    elif refusal == "rate of tenant":
        message = f"The tenant may create {row.tenant_creates_per_minute} predictions a minute over all its keys."
        error = RateLimited(message, retry_after=_reset(row.tenant_reset))
    else:
        waiting = f"The tenant has {rules.max_queued} predictions of {request.model.slug} waiting, the most allowed."
        error = QueueFull(waiting, retry_after=10)
    error.limits = _state(row, admitted=0)
    return error


def _state(row: Any, *, admitted: int) -> LimitState:
    return LimitState(
        rate_limit=row.creates_per_minute,
        rate_remaining=max(0, row.creates_per_minute - row.of_key - admitted),
        rate_reset_seconds=_reset(row.key_reset),
        active_limit=row.max_active,
        active_remaining=max(0, row.max_active - row.active - admitted),
    )


def _reset(found: float | None) -> float:
    return WINDOW_SECONDS if found is None else max(0.0, found)
