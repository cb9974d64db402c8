"""All reads: one prediction, its place in the queue, its pictures for a file link, the state of the farm."""

import dataclasses
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from fluxfarm.outcomes import Progress, Result, StoredOutput
from fluxfarm.plans import Plan
from fluxfarm.status import Stage, Status
from fluxfarm.tables import Lease, Output, Prediction, PredictionInput, PredictionResult

POSITION_BOUND = 1000
"""Places in the queue are counted up to here; further back, the position is a lower bound."""

LIVE_WORKER_SECONDS = 15

AHEAD = text("""
SELECT count(*) AS n, coalesce(sum(cost), 0)::float AS cost FROM (
    SELECT q.cost FROM predictions q
    WHERE q.model = :model AND q.version = :version AND q.status = 'queued' AND NOT q.held
      AND (q.priority, q.start_tag, q.seq) < (:priority, :start_tag, :seq)
    ORDER BY q.priority, q.start_tag, q.seq
    LIMIT :bound
) AS ahead
""")

RUNNING = text("""
SELECT coalesce(sum(p.cost), 0)::float / 2 AS cost
FROM leases l JOIN predictions p ON p.id = l.prediction_id WHERE p.model = :model
""")

LIVE_WORKERS = text("""
SELECT model, count(*) AS n FROM workers
WHERE seen_at > clock_timestamp() - :seconds * interval '1 s' GROUP BY model
""")

WORKERS = text("""
SELECT model, version, host, pid, device, seen_at,
    extract(epoch FROM clock_timestamp() - started_at)::float AS up_seconds
FROM workers WHERE seen_at > clock_timestamp() - :seconds * interval '1 s'
ORDER BY model, host, pid
""")

QUEUES = text("""
SELECT model, count(*) FILTER (WHERE status = 'queued') AS queued,
    count(*) FILTER (WHERE status = 'processing') AS processing
FROM predictions WHERE status IN ('queued', 'processing') GROUP BY model
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


def prediction(session: Session, prediction_id: uuid.UUID, tenant_id: uuid.UUID) -> PredictionView | None:
    """A tenant's prediction that has not expired; None for unknown and foreign ids alike."""
    now = func.clock_timestamp()
    row = session.execute(
        select(Prediction, PredictionInput, PredictionResult, Lease, now.label("now"))
        .join(PredictionInput, PredictionInput.prediction_id == Prediction.id)
        .outerjoin(PredictionResult, PredictionResult.prediction_id == Prediction.id)
        .outerjoin(Lease, Lease.prediction_id == Prediction.id)
        .where(Prediction.id == prediction_id, Prediction.tenant_id == tenant_id)
        .where(Prediction.expires_at.is_(None) | (Prediction.expires_at > now))
    ).one_or_none()
    if row is None:
        return None
    found, asked, result, lease, now_at = row
    status = Status(found.status)
    return PredictionView(
        id=found.id,
        tenant_id=found.tenant_id,
        model=found.model,
        version=found.version,
        status=status,
        canceling=found.cancel_requested and status is Status.PROCESSING,
        revision=found.revision,
        created_at=found.created_at,
        started_at=found.started_at,
        completed_at=found.completed_at,
        expires_at=found.expires_at,
        now=now_at,
        cost_seconds=found.cost / 1e6,
        input=asked.input,
        plan=Plan.from_json(asked.plan),
        place=_place(session, found) if status is Status.QUEUED else None,
        progress=_progress(lease) if lease else None,
        result=_result(result) if result else None,
        outputs=_outputs(session, found.id) if status is Status.SUCCEEDED else (),
    )


def _progress(lease: Lease) -> Progress:
    return Progress(Stage(lease.stage), lease.picture, lease.step, lease.steps, lease.picture_seconds)


def _result(row: PredictionResult) -> Result:
    return Result(row.error_code, row.error_message, row.device_microseconds, tuple(row.notices))


def _outputs(session: Session, prediction_id: uuid.UUID) -> list[StoredOutput]:
    rows = session.scalars(select(Output).where(Output.prediction_id == prediction_id).order_by(Output.position))
    return [_stored(row) for row in rows]


def _stored(row: Output) -> StoredOutput:
    return StoredOutput(**{field.name: getattr(row, field.name) for field in dataclasses.fields(StoredOutput)})


def _place(session: Session, found: Prediction) -> Place:
    names = ("model", "version", "priority", "start_tag", "seq")
    where = {name: getattr(found, name) for name in names}
    ahead = session.execute(AHEAD, {**where, "bound": POSITION_BOUND}).one()
    running = session.execute(RUNNING, {"model": found.model}).scalar_one()
    workers = max(1, live_workers(session).get(found.model, 0))
    eta = (ahead.cost + running) / workers + found.cost
    return Place(position=ahead.n + 1, eta_seconds=eta / 1e6)


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


def workers(session: Session) -> list[dict[str, Any]]:
    """Each live worker: model, version, host, pid, device, seconds up."""
    return [dict(row) for row in session.execute(WORKERS, {"seconds": LIVE_WORKER_SECONDS}).mappings()]


def queues(session: Session) -> dict[str, tuple[int, int]]:
    """Queued and processing predictions of each model that has any."""
    return {row.model: (row.queued, row.processing) for row in session.execute(QUEUES)}


def slot_drift(session: Session) -> list[dict[str, Any]]:
    """Keys whose `active` is not the number of their active predictions; always empty, or law 3 is broken."""
    return [dict(row) for row in session.execute(SLOT_DRIFT).mappings()]
