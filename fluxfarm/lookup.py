"""All reads: one prediction, its place in the queue, its pictures for a file link, the state of the farm."""

import dataclasses
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select, text
from sqlalchemy.orm import Session

from fluxfarm.database import Statements, driver_sql
from fluxfarm.outcomes import Progress, Result, StoredOutput
from fluxfarm.plans import Plan
from fluxfarm.status import Stage, Status
from fluxfarm.tables import Output, Prediction, PredictionInput

POSITION_BOUND = 1000
"""Places in the queue are counted up to here; further back, the position is a lower bound."""

LIVE_WORKER_SECONDS = 15

OUTPUT_FIELDS = tuple(field.name for field in dataclasses.fields(StoredOutput))

# One statement, since a round trip costs more than all that it asks. What is ahead of it is looked at only while it
# waits; its pictures only once it has some.
ONE = text("""
SELECT
    p.id, p.tenant_id, p.model, p.version, p.status, p.cancel_requested, p.revision, p.cost,
    p.created_at, p.started_at, p.completed_at, p.expires_at, clock_timestamp() AS now,
    i.input, i.plan,
    r.prediction_id IS NOT NULL AS ended, r.error_code, r.error_message, r.device_microseconds, r.notices,
    l.stage, l.picture, l.step, l.steps, l.picture_seconds,
    ahead.n AS ahead, ahead.cost AS ahead_cost, running.cost AS running_cost, live.n AS workers, o.outputs
FROM predictions p
JOIN prediction_inputs i ON i.prediction_id = p.id
LEFT JOIN prediction_results r ON r.prediction_id = p.id
LEFT JOIN leases l ON l.prediction_id = p.id
CROSS JOIN LATERAL (
    SELECT count(*) AS n, coalesce(sum(cost), 0)::float AS cost FROM (
        SELECT q.cost FROM predictions q
        WHERE p.status = 'queued' AND q.model = p.model AND q.version = p.version AND q.status = 'queued' AND NOT q.held
          AND (q.priority, q.start_tag, q.seq) < (p.priority, p.start_tag, p.seq)
        ORDER BY q.priority, q.start_tag, q.seq
        LIMIT :bound
    ) AS q
) AS ahead
CROSS JOIN LATERAL (
    SELECT coalesce(sum(q.cost), 0)::float / 2 AS cost
    FROM leases h JOIN predictions q ON q.id = h.prediction_id WHERE p.status = 'queued' AND q.model = p.model
) AS running
CROSS JOIN LATERAL (
    SELECT count(*) AS n FROM workers w
    WHERE p.status = 'queued' AND w.model = p.model AND w.seen_at > clock_timestamp() - :seconds * interval '1 s'
) AS live
CROSS JOIN LATERAL (
    SELECT json_agg(o ORDER BY o.position) AS outputs FROM outputs o
    WHERE p.status = 'succeeded' AND o.prediction_id = p.id
) AS o
WHERE p.id = :id AND p.tenant_id = :tenant_id AND (p.expires_at IS NULL OR p.expires_at > clock_timestamp())
""")

REVISIONS = driver_sql(
    text("""
SELECT id, tenant_id, revision FROM predictions
WHERE id = ANY(:ids) AND (expires_at IS NULL OR expires_at > clock_timestamp())
""")
)

LIVE_WORKERS = text("""
SELECT model, count(*) AS n FROM workers
WHERE seen_at > clock_timestamp() - :seconds * interval '1 s' GROUP BY model
""")

# What waits is in an index, what is processed has a lease: neither walks through what has ended.
QUEUES = text("""
SELECT model, sum(queued)::bigint AS queued, sum(processing)::bigint AS processing FROM (
    SELECT model, 1 AS queued, 0 AS processing FROM predictions WHERE status = 'queued'
    UNION ALL
    SELECT p.model, 0, 1 FROM leases l JOIN predictions p ON p.id = l.prediction_id WHERE p.status = 'processing'
) AS active GROUP BY model
""")

SLOT_DRIFT = text("""
SELECT k.id, k.active, count(p.id) AS counted
FROM api_keys k LEFT JOIN predictions p ON p.key_id = k.id AND p.status IN ('queued', 'processing')
GROUP BY k.id HAVING k.active <> count(p.id)
""")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a queued prediction stands: how many go before it, and when its pictures may be expected."""

    position: int
    eta_seconds: float


@dataclass(frozen=True, slots=True)
class PredictionView:
    """One prediction as of one moment, by the database's clock."""

    id: uuid.UUID
    tenant_id: uuid.UUID
    model: str
    version: str
    status: Status
    canceling: bool
    revision: int
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    expires_at: datetime | None
    now: datetime
    cost_seconds: float
    input: Mapping[str, Any]
    plan: Plan
    place: Place | None
    progress: Progress | None
    result: Result | None
    outputs: Sequence[StoredOutput]


def prediction(
    connection: Session | Connection, prediction_id: uuid.UUID, tenant_id: uuid.UUID
) -> PredictionView | None:
    """A tenant's prediction that has not expired; None for unknown and foreign ids alike."""
    which = {"id": prediction_id, "tenant_id": tenant_id, "bound": POSITION_BOUND, "seconds": LIVE_WORKER_SECONDS}
    row = connection.execute(ONE, which).one_or_none()
    if row is None:
        return None
    status = Status(row.status)
    return PredictionView(
        id=row.id,
        tenant_id=row.tenant_id,
        model=row.model,
        version=row.version,
        status=status,
        canceling=row.cancel_requested and status is Status.PROCESSING,
        revision=row.revision,
        created_at=row.created_at,
        started_at=row.started_at,
        completed_at=row.completed_at,
        expires_at=row.expires_at,
        now=row.now,
        cost_seconds=row.cost / 1e6,
        input=row.input,
        plan=Plan.from_json(row.plan),
        place=_place(row) if status is Status.QUEUED else None,
        progress=_progress(row) if row.stage else None,
        result=_result(row) if row.ended else None,
        outputs=[_output(each) for each in row.outputs or ()],
    )


def revisions(statements: Statements, asked: Sequence[tuple[uuid.UUID, uuid.UUID]]) -> list[int | None]:
    """How often each prediction has moved, asked for with its tenant; None as `prediction` says it."""
    rows = statements.all(REVISIONS, {"ids": [prediction_id for prediction_id, _ in asked]})
    found = {(each_id, tenant_id): revision for each_id, tenant_id, revision in rows}
    return [found.get(each) for each in asked]


def _output(found: Mapping[str, Any]) -> StoredOutput:
    return StoredOutput(**{name: found[name] for name in OUTPUT_FIELDS})


def _stored(row: Output) -> StoredOutput:
    return StoredOutput(**{name: getattr(row, name) for name in OUTPUT_FIELDS})


def _progress(row: Any) -> Progress:
    return Progress(Stage(row.stage), row.picture, row.step, row.steps, row.picture_seconds)


def _result(row: Any) -> Result:
    return Result(row.error_code, row.error_message, row.device_microseconds, tuple(row.notices))


def _place(row: Any) -> Place:
    eta = (row.ahead_cost + row.running_cost) / max(1, row.workers) + row.cost
    return Place(position=row.ahead + 1, eta_seconds=eta / 1e6)


def output(session: Session, prediction_id: uuid.UUID, position: int) -> tuple[str, StoredOutput] | None:
    """The model and one picture of a prediction that has not expired; for signed links, which name no tenant."""
    row = session.execute(
        select(Prediction.model, Output)
        .join(Prediction, Prediction.id == Output.prediction_id)
        .where(Output.prediction_id == prediction_id, Output.position == position)
        .where(Prediction.expires_at > func.clock_timestamp())
    ).one_or_none()
    return (row[0], _stored(row[1])) if row else None


def object_keys(session: Session, prediction_id: uuid.UUID) -> set[str]:
    """The object keys of the pictures that are recorded for a prediction."""
    return set(session.scalars(select(Output.object_key).where(Output.prediction_id == prediction_id)))


def input_key(session: Session, prediction_id: uuid.UUID) -> str | None:
    """The object key of a prediction's own input picture, if it was sent as data."""
    found = session.scalar(
        select(PredictionInput.plan)
        .join(Prediction, Prediction.id == PredictionInput.prediction_id)
        .where(PredictionInput.prediction_id == prediction_id)
        .where(Prediction.expires_at.is_(None) | (Prediction.expires_at > func.clock_timestamp()))
    )
    return found["image_key"] if found else None


def live_workers(session: Session) -> dict[str, int]:
    """How many workers of each model have shown a sign of life lately."""
    rows = session.execute(LIVE_WORKERS, {"seconds": LIVE_WORKER_SECONDS})
    return {row.model: row.n for row in rows}


def queues(session: Session) -> dict[str, tuple[int, int]]:
    """Queued and processing predictions of each model that has any."""
    return {row.model: (row.queued, row.processing) for row in session.execute(QUEUES)}


def slot_drift(session: Session) -> list[dict[str, Any]]:
    """Keys whose `active` is not the number of their active predictions; always empty, or law 3 is broken."""
    return [dict(row) for row in session.execute(SLOT_DRIFT).mappings()]
