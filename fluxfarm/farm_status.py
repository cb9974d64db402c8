"""The farm at one moment, for an operator: its machines and their workers, and each model's queue and speed."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

from fluxfarm.line import LIVE_WORKER_SECONDS

RATE_MINUTES = 10
SAMPLE = 2000
"""Predictions of a model that are looked at for its rate, the latest ones; a busier farm's rate is a lower bound."""

WORKERS = text("""
SELECT model, version, host, pid, device, loading,
    extract(epoch FROM clock_timestamp() - started_at)::float AS up_seconds,
    extract(epoch FROM clock_timestamp() - seen_at)::float AS silent_seconds
FROM workers ORDER BY host, device, model, pid
""")

QUEUES = text("""
WITH waiting AS (
    SELECT model, sum(queued)::bigint AS queued, sum(processing)::bigint AS processing FROM (
        SELECT model, 1 AS queued, 0 AS processing FROM predictions WHERE status = 'queued'
        UNION ALL
        SELECT p.model, 0, 1 FROM leases l JOIN predictions p ON p.id = l.prediction_id WHERE p.status = 'processing'
    ) AS active GROUP BY model
)
SELECT model, coalesce(w.queued, 0) AS queued, coalesce(w.processing, 0) AS processing,
    q.pixel_step_microseconds, recent.pictures, recent.looked_at
FROM model_queues q
FULL JOIN waiting w USING (model)
FULL JOIN (SELECT DISTINCT model FROM workers) AS served USING (model)
CROSS JOIN LATERAL (
    SELECT count(o.position) AS pictures, count(DISTINCT p.id) AS looked_at
    FROM (
        SELECT id, completed_at FROM predictions claimed
        WHERE claimed.model = coalesce(q.model, w.model, served.model) AND attempt > 0 AND status <> 'queued'
        ORDER BY start_tag DESC LIMIT :sample
    ) AS p JOIN outputs o ON o.prediction_id = p.id
    WHERE p.completed_at > clock_timestamp() - :minutes * interval '1 min'
) AS recent
ORDER BY model
""")


@dataclass(frozen=True, slots=True)
class WorkerLine:
    """One worker process that was heard of within the last minute."""

    host: str
    device: str
    loading: bool
    model: str
    version: str
    pid: int
    up_seconds: float
    silent_seconds: float

    @property
    def live(self) -> bool:
        return self.silent_seconds < LIVE_WORKER_SECONDS


@dataclass(frozen=True, slots=True)
class QueueLine:
    """What waits for a model, and how fast its workers are."""

    model: str
    queued: int
    processing: int
    microseconds_per_megapixel_step: float | None
    """Measured; None before the first prediction."""
    pictures_per_minute: float
    """Over the last ten minutes."""
    at_least: bool
    """More was drawn in that time than was counted."""


def workers(session: Session) -> Sequence[WorkerLine]:
    """All workers, machine by machine; also those that have just fallen silent."""
    return [WorkerLine(**row) for row in session.execute(WORKERS).mappings()]


def queues(session: Session) -> Sequence[QueueLine]:
    """Every model that has workers, work or a past."""
    rows = session.execute(QUEUES, {"sample": SAMPLE, "minutes": RATE_MINUTES})
    return [
        QueueLine(
            model=row.model,
            queued=row.queued,
            processing=row.processing,
            microseconds_per_megapixel_step=row.pixel_step_microseconds and row.pixel_step_microseconds * 1e6,
            pictures_per_minute=row.pictures / RATE_MINUTES,
            at_least=row.looked_at >= SAMPLE,
        )
        for row in rows
    ]
