"""All reads: one prediction, its place in the queue, its pictures for a file link, the state of the farm."""

import dataclasses
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select, text
from sqlalchemy.orm import Session

from fluxfarm import own_ids
from fluxfarm.database import Statements, driver_sql
from fluxfarm.line import LIVE_WORKER_SECONDS, Place, Rank
from fluxfarm.outcomes import Progress, Result, StoredOutput, Withheld
from fluxfarm.own_ids import Named
from fluxfarm.plans import Plan
from fluxfarm.status import TERMINAL, Stage, Status
from fluxfarm.tables import ModelQueue, Output, Prediction, PredictionInput

MOST_ACTIVE = 1000

OUTPUT_FIELDS = tuple(field.name for field in dataclasses.fields(StoredOutput))

# One statement, since a round trip costs more than all that it asks. What is ahead of it is looked at only while it
# waits; its pictures only once it has some.
ONE = text("""
SELECT
    p.id, p.tenant_id, p.model, p.version, p.status, p.cancel_requested, p.revision, p.attempt, p.cost,
    p.created_at, p.started_at, p.completed_at, p.expires_at, p.own_id, p.cancel_at, clock_timestamp() AS now,
    i.input, i.plan,
    r.prediction_id IS NOT NULL AS ended, r.error_code, r.error_message, r.device_microseconds, r.notices, r.withheld,
    r.made_with,
    l.stage, l.picture, l.step, l.steps, l.picture_seconds, l.worker_id, l.expires_at AS lease_until,
    p.priority, p.start_tag, p.seq, p.held, o.outputs
FROM predictions p
JOIN prediction_inputs i ON i.prediction_id = p.id
LEFT JOIN prediction_results r ON r.prediction_id = p.id
LEFT JOIN leases l ON l.prediction_id = p.id
CROSS JOIN LATERAL (
    SELECT json_agg(o ORDER BY o.position) AS outputs FROM outputs o
    WHERE p.status = 'succeeded' AND o.prediction_id = p.id
) AS o
WHERE p.id = ANY(:ids) AND p.tenant_id = :tenant_id AND (p.expires_at IS NULL OR p.expires_at > clock_timestamp())
ORDER BY array_position(cast(:ids AS uuid[]), p.id) LIMIT 1
""")

REVISIONS = driver_sql(
    text("""
SELECT id, tenant_id, revision FROM predictions
WHERE id = ANY(:ids) AND (expires_at IS NULL OR expires_at > clock_timestamp())
""")
)

STANDINGS = driver_sql(
    text("""
SELECT p.id, p.tenant_id, p.model, p.version, p.priority, p.start_tag, p.seq, p.held, p.status, p.revision,
    p.attempt, l.stage, l.picture, l.step
FROM predictions p LEFT JOIN leases l ON l.prediction_id = p.id
WHERE p.id = ANY(:ids) AND (p.expires_at IS NULL OR p.expires_at > clock_timestamp())
""")
)

LIVE_WORKERS = text("""
SELECT model, count(*) AS n FROM workers
WHERE seen_at > clock_timestamp() - :seconds * interval '1 s' AND NOT loading GROUP BY model
""")

# What waits is in an index, what is processed has a lease: neither walks through what has ended.
QUEUES = text("""
SELECT model, sum(queued)::bigint AS queued, sum(processing)::bigint AS processing FROM (
    SELECT model, 1 AS queued, 0 AS processing FROM predictions WHERE status = 'queued'
    UNION ALL
    SELECT p.model, 0, 1 FROM leases l JOIN predictions p ON p.id = l.prediction_id WHERE p.status = 'processing'
) AS active GROUP BY model
""")

# Neither walks through what has ended.
ACTIVE_OF_KEY = text("""
SELECT id, status FROM predictions WHERE tenant_id = :tenant_id AND key_id = :key_id AND status = 'queued'
UNION ALL
SELECT p.id, p.status FROM leases l JOIN predictions p ON p.id = l.prediction_id
WHERE p.key_id = :key_id AND p.status = 'processing'
LIMIT :most
""")

SLOT_DRIFT = text("""
SELECT k.id, k.active, count(p.id) AS counted
FROM api_keys k LEFT JOIN predictions p ON p.key_id = k.id AND p.status IN ('queued', 'processing')
GROUP BY k.id HAVING k.active <> count(p.id)
""")


@dataclass(frozen=True, slots=True)
class Waits:
    """In which queue a prediction waits, and by what it is ordered there; see `fluxfarm.line`."""

    model: str
    version: str
    rank: Rank
    held: bool
    """Its tenant is suspended: it stands in no line until that is over."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a prediction is, for finding out whether it has moved."""

    status: Status
    revision: int
    attempt: int
    stage: str | None
    picture: int | None
    step: int | None
    waits: Waits | None
    position: int | None = None
    """Its place in the queue, for whoever has looked at that."""

    @property
    def ended(self) -> bool:
        return self.status in TERMINAL


@dataclass(frozen=True, slots=True)
class PredictionView(Named):
    """One prediction as of one moment, by the database's clock."""

    tenant_id: uuid.UUID
    model: str
    version: str
    status: Status
    canceling: bool
    revision: int
    attempt: int
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    expires_at: datetime | None
    cancel_at: datetime | None
    now: datetime
    cost_seconds: float
    input: Mapping[str, Any]
    plan: Plan
    waits: Waits | None
    progress: Progress | None
    worker_id: uuid.UUID | None
    lease_until: datetime | None
    result: Result | None
    outputs: Sequence[StoredOutput]
    place: Place | None = None
    """Where it waits, for whoever has looked at the queue."""

    @property
    def standing(self) -> Standing:
        at, position = self.progress, self.place.position if self.place else None
        stage, picture, step = (at.stage.value, at.picture, at.step) if at else (None, None, None)
        return Standing(self.status, self.revision, self.attempt, stage, picture, step, self.waits, position)


def prediction(
    connection: Session | Connection, prediction_id: uuid.UUID, tenant_id: uuid.UUID
) -> PredictionView | None:
    """A tenant's prediction that has not expired, by our id or its own; None for unknown and foreign ids alike."""
    which = {"ids": own_ids.candidates(tenant_id, prediction_id), "tenant_id": tenant_id}
    row = connection.execute(ONE, which).one_or_none()
    if row is None:
        return None
    status = Status(row.status)
    return PredictionView(
        id=row.id,
        own_id=row.own_id,
        tenant_id=row.tenant_id,
        model=row.model,
        version=row.version,
        status=status,
        canceling=row.cancel_requested and status is Status.PROCESSING,
        revision=row.revision,
        attempt=row.attempt,
        created_at=row.created_at,
        started_at=row.started_at,
        completed_at=row.completed_at,
        expires_at=row.expires_at,
        cancel_at=row.cancel_at,
        now=row.now,
        cost_seconds=row.cost / 1e6,
        input=row.input,
        plan=Plan.from_json(row.plan),
        waits=_waits(row) if status is Status.QUEUED else None,
        progress=_progress(row) if row.stage else None,
        worker_id=row.worker_id,
        lease_until=row.lease_until,
        result=_result(row) if row.ended else None,
        outputs=[stored_output(each) for each in row.outputs or ()],
    )


def revisions(statements: Statements, asked: Sequence[tuple[uuid.UUID, uuid.UUID]]) -> list[int | None]:
    """How often each prediction has moved, asked for with its tenant; None as `prediction` says it."""
    meant = [own_ids.candidates(tenant_id, prediction_id) for prediction_id, tenant_id in asked]
    rows = statements.all(REVISIONS, {"ids": [each for candidates in meant for each in candidates]})
    found = {(each_id, tenant_id): revision for each_id, tenant_id, revision in rows}
    return [
        next((found[each, tenant_id] for each in candidates if (each, tenant_id) in found), None)
        for candidates, (_, tenant_id) in zip(meant, asked, strict=True)
    ]


def standings(
    statements: Statements, asked: Collection[tuple[uuid.UUID, uuid.UUID]]
) -> dict[tuple[uuid.UUID, uuid.UUID], Standing]:
    """Where each prediction stands, asked for with its tenant; what `prediction` would not find is left out."""
    meant = {each: own_ids.candidates(each[1], each[0]) for each in asked}
    rows = statements.all(STANDINGS, {"ids": [row for rows in meant.values() for row in rows]})
    found = {}
    for each_id, tenant_id, model, version, *rank, held, status, revision, attempt, stage, picture, step in rows:
        waits = Waits(model, version, Rank(*rank), held) if status == Status.QUEUED else None
        found[each_id, tenant_id] = Standing(Status(status), revision, attempt, stage, picture, step, waits)
    rows_of = {each: [row for row in rows if (row, each[1]) in found] for each, rows in meant.items()}
    return {each: found[rows[0], each[1]] for each, rows in rows_of.items() if rows}


def active(session: Session, tenant_id: uuid.UUID, key_id: str) -> dict[uuid.UUID, Status]:
    """A key's predictions that have not ended, up to a bound, and their status."""
    rows = session.execute(ACTIVE_OF_KEY, {"tenant_id": tenant_id, "key_id": key_id, "most": MOST_ACTIVE})
    return {row.id: Status(row.status) for row in rows}


def whose(session: Session, row_id: uuid.UUID) -> tuple[uuid.UUID, uuid.UUID] | None:
    """The tenant of a prediction, and what that calls it; for signed links, which name the row and no tenant."""
    named = func.coalesce(Prediction.own_id, Prediction.id)
    row = session.execute(select(Prediction.tenant_id, named).where(Prediction.id == row_id)).one_or_none()
    return (row[0], row[1]) if row else None


def stored_output(found: Mapping[str, Any]) -> StoredOutput:
    """A picture from its row as JSON."""
    return StoredOutput(**{name: found[name] for name in OUTPUT_FIELDS})


def _stored(row: Output) -> StoredOutput:
    return StoredOutput(**{name: getattr(row, name) for name in OUTPUT_FIELDS})


def _progress(row: Any) -> Progress:
    return Progress(Stage(row.stage), row.picture, row.step, row.steps, row.picture_seconds)


def _result(row: Any) -> Result:
    withheld = tuple(Withheld(**each) for each in row.withheld)
    told = tuple(row.notices), withheld, row.made_with
    return Result(row.error_code, row.error_message, row.device_microseconds, *told)


def _waits(row: Any) -> Waits:
    return Waits(row.model, row.version, Rank(row.priority, row.start_tag, row.seq), row.held)


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


def input_key(session: Session, prediction_id: uuid.UUID, field: str) -> str | None:
    """The object key of the picture that was sent as data in this field of an input; None unless it may be read."""
    found = session.execute(
        select(PredictionInput.plan, Prediction.status)
        .join(Prediction, Prediction.id == PredictionInput.prediction_id)
        .where(PredictionInput.prediction_id == prediction_id)
        .where(Prediction.expires_at.is_(None) | (Prediction.expires_at > func.clock_timestamp()))
    ).one_or_none()
    if found is None:
        return None
    plan = Plan.from_json(found.plan)
    return plan.picture_keys.get(field) if plan.shows(field, Status(found.status)) else None


def measured_rate(connection: Session | Connection, model: str) -> float | None:
    """Device-microseconds that a pixel-step of the model has lately taken; None where none was measured."""
    return connection.scalar(select(ModelQueue.pixel_step_microseconds).where(ModelQueue.model == model))


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
