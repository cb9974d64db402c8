"""What the maintenance loop does to the database beside ending predictions: presence, rates, floors and retention.

Nothing here commits, and nothing is harmed if two processes do it at once.
"""

import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

from fluxfarm.catalog import Model
from fluxfarm.line import LIVE_WORKER_SECONDS

BATCH = 100
RATE_SAMPLE = 50

REGISTER = text("""
INSERT INTO workers (id, model, version, host, pid, device, loading)
VALUES (:id, :model, :version, :host, :pid, :device, :loading)
ON CONFLICT (id) DO UPDATE SET seen_at = clock_timestamp(), device = excluded.device, loading = excluded.loading
""")

FORGET_DEAD = text("DELETE FROM workers WHERE seen_at < clock_timestamp() - :seconds * interval '1 s'")

# Never more tokens than live workers: a token starts a drain that goes on while there is work.
TOKENS_WANTED = text("""
SELECT w.model, least(w.n, (
    SELECT count(*) FROM (
        SELECT FROM predictions p WHERE p.model = w.model AND p.status = 'queued' AND NOT p.held LIMIT w.n
    ) AS queued
)) AS n
FROM (
    SELECT model, count(*) AS n FROM workers
    WHERE seen_at > clock_timestamp() - :seconds * interval '1 s' AND NOT loading GROUP BY model
) AS w
""")

# The newest are picked before the version is looked at, so that a change of weights does not make it walk all history.
MEASURE = text("""
INSERT INTO model_queues (model, pixel_step_microseconds, virtual_floor)
SELECT recent.model, sum(o.device_microseconds)::float / sum(
    (
        o.render_width * o.render_height::float + :word_pixels
        + CASE WHEN :changed_pixels > 0 THEN :changed_pixels * (i.plan ->> 'megapixels')::float ELSE 0 END
    )
    * o.steps
    * CASE WHEN i.plan ->> 'negative_prompt' IS NOT NULL AND (i.plan -> 'true_cfg_scale')::float > 1 THEN 2 ELSE 1 END
), 0
FROM (VALUES (0), (1)) AS each (priority), LATERAL (
    SELECT p.id, p.model, p.version FROM predictions p
    WHERE p.model = :model AND p.priority = each.priority AND p.attempt > 0 AND p.status <> 'queued'
    ORDER BY p.start_tag DESC LIMIT :sample
) AS recent JOIN prediction_inputs i ON i.prediction_id = recent.id JOIN outputs o ON o.prediction_id = recent.id
WHERE recent.version = :version
GROUP BY recent.model
HAVING sum(o.steps) > 0
ON CONFLICT (model) DO UPDATE SET pixel_step_microseconds = excluded.pixel_step_microseconds
""")

# One that its owner deleted stays, hidden, for the minute in which creates are told from rows.
EXPIRED = text("""
SELECT p.id, p.tenant_id, p.untidy, ARRAY(SELECT value FROM jsonb_each_text(i.plan -> 'picture_keys')) AS input_keys,
    coalesce(array_agg(o.object_key) FILTER (WHERE o.object_key IS NOT NULL), '{}') AS output_keys
FROM (
    SELECT id, tenant_id, attempt > 1 OR status <> 'succeeded' AS untidy
    FROM predictions
    WHERE expires_at <= statement_timestamp() AND created_at <= statement_timestamp() - interval '60 s'
    ORDER BY expires_at LIMIT :batch
) AS p
LEFT JOIN prediction_inputs i ON i.prediction_id = p.id LEFT JOIN outputs o ON o.prediction_id = p.id
GROUP BY p.id, p.tenant_id, p.untidy, i.plan
""")

# Virtual time must not go back when the rows that define it go.
RAISE_FLOORS = """
INSERT INTO model_queues AS q (model, virtual_floor, low_virtual_floor)
SELECT model,
    coalesce(max(start_tag) FILTER (WHERE priority = 0), 0),
    coalesce(max(start_tag) FILTER (WHERE priority = 1), 0)
FROM gone WHERE attempt > 0 GROUP BY model ORDER BY model
ON CONFLICT (model) DO UPDATE SET
    virtual_floor = greatest(q.virtual_floor, excluded.virtual_floor),
    low_virtual_floor = greatest(q.low_virtual_floor, excluded.low_virtual_floor)
"""

FORGET = text(
    """
WITH gone AS (
    DELETE FROM predictions WHERE id = ANY(:ids) AND expires_at <= clock_timestamp()
    RETURNING model, priority, start_tag, attempt
)
"""
    + RAISE_FLOORS
)

# Slots go back with the rows that took them: who is interrupted here leaves a tenant that may be resumed.
ERASE_SOME = text(
    """
WITH gone AS (
    DELETE FROM predictions
    WHERE id IN (SELECT id FROM predictions WHERE tenant_id = :tenant_id ORDER BY id LIMIT :batch)
    RETURNING model, priority, start_tag, attempt, key_id, status
), of_key AS (
    SELECT key_id, count(*) AS n FROM gone WHERE status IN ('queued', 'processing') GROUP BY key_id
), keys AS (
    UPDATE api_keys k SET active = k.active - of_key.n FROM of_key WHERE k.id = of_key.key_id
    RETURNING k.tenant_id, of_key.n
), slots AS (
    UPDATE tenants t SET active = t.active - s.n
    FROM (SELECT tenant_id, sum(n) AS n FROM keys GROUP BY tenant_id) s WHERE t.id = s.tenant_id
), floors AS (
"""
    + RAISE_FLOORS
    + ") SELECT count(*) FROM gone"
)


@dataclass(frozen=True, slots=True)
class WorkerIdentity:
    """One worker process, for as long as it lives."""

    id: uuid.UUID
    model: str
    version: str
    host: str
    pid: int
    device: str
    """Unknown, and empty, while it loads."""
    loading: bool = False


@dataclass(frozen=True, slots=True)
class Expired:
    """A prediction past its retention, and every object that its rows name."""

    id: uuid.UUID
    tenant_id: uuid.UUID
    object_keys: tuple[str, ...]
    untidy: bool
    """Attempts that were lost or stopped may have left more."""


def sign_of_life(session: Session, worker: WorkerIdentity) -> None:
    """Say that this worker lives; the first time, that it is there."""
    session.execute(REGISTER, asdict(worker))


def sign_off(session: Session, worker_id: uuid.UUID) -> None:
    session.execute(text("DELETE FROM workers WHERE id = :id"), {"id": worker_id})


def forget_dead_workers(session: Session) -> None:
    session.execute(FORGET_DEAD, {"seconds": 4 * LIVE_WORKER_SECONDS})


def tokens_wanted(session: Session) -> dict[str, int]:
    """For each model with live workers, how many of them have work waiting."""
    rows = session.execute(TOKENS_WANTED, {"seconds": LIVE_WORKER_SECONDS})
    return {row.model: row.n for row in rows if row.n}


def measure(session: Session, model: Model) -> None:
    """Note what one pixel-step of the model has lately cost its device."""
    which = {"model": model.slug, "version": model.version, "sample": RATE_SAMPLE}
    parameters = {**which, "changed_pixels": model.changed_pixels, "word_pixels": model.word_pixels}
    session.execute(MEASURE, parameters)


def expired(session: Session) -> list[Expired]:
    """Up to a batch of predictions whose pictures may be kept no longer."""
    rows = session.execute(EXPIRED, {"batch": BATCH})
    return [Expired(row.id, row.tenant_id, (*row.output_keys, *row.input_keys), row.untidy) for row in rows]


def forget(session: Session, ids: Sequence[uuid.UUID]) -> None:
    """Delete the rows of predictions whose objects are gone."""
    session.execute(FORGET, {"ids": list(ids)})


def erase_some(session: Session, tenant_id: uuid.UUID, *, batch: int) -> int:
    """Delete up to a batch of a tenant's predictions with all that belongs to them; returns how many."""
    return int(session.execute(ERASE_SOME, {"tenant_id": tenant_id, "batch": batch}).scalar_one())
