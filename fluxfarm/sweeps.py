"""The writes of status that the clock asks for: leases that ran out, waits that were too long, deadlines that passed.

As in `lifecycle`, each is one guarded statement, here of up to a batch of rows. Nothing here commits. Where an index
finds what is due, it is told the time of the statement: `clock_timestamp()` may change, so no index is asked for it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from fluxfarm.database import announce_change
from fluxfarm.lifecycle import AFTER_END, ENDED_COLUMNS, ENDING, TYPED, ending, moved
from fluxfarm.moves import Word
from fluxfarm.status import Status

BATCH = 100

EXPIRE = text("""
WITH picked AS (
    SELECT p.id, p.lost + 1 AS lost
    FROM leases l JOIN predictions p ON p.id = l.prediction_id
    WHERE l.expires_at < clock_timestamp() AND p.status = 'processing' AND p.claim_id = l.claim_id
      AND p.lost + 1 < :max_attempts AND NOT p.cancel_requested
    ORDER BY p.id LIMIT :batch
    FOR NO KEY UPDATE OF p, l SKIP LOCKED
), back AS (
    UPDATE predictions p
    SET status = 'queued', claim_id = NULL, lost = picked.lost, revision = revision + 1
    FROM picked WHERE p.id = picked.id
    RETURNING p.id, p.key_id, p.model, p.request_id, p.attempt
), unleased AS (
    DELETE FROM leases l USING back WHERE l.prediction_id = back.id
)
SELECT * FROM back
""")


def _end_many(pick: str, actual: str, *, lock: str = "p") -> Any:
    """An end of up to `:batch` rows that `pick` chooses; `actual` is what each cost the device."""
    return text(f"""
    WITH picked AS (
        {pick} ORDER BY p.id LIMIT :batch FOR NO KEY UPDATE OF {lock} SKIP LOCKED
    ), ended AS (
        UPDATE predictions p SET {ENDING.replace("retention", "p.retention").replace("= revision", "= p.revision")}
        FROM picked WHERE p.id = picked.id
        RETURNING {", ".join("p." + column for column in ENDED_COLUMNS.split(", "))}, {actual} AS actual
    )
    """ + AFTER_END).bindparams(*TYPED)  # fmt: skip


# What a lost attempt cost the device is not known: the estimate stands. The lease is locked too, so that a renewal that
# comes in between is seen.
EXPIRED_LEASES = """
SELECT p.id FROM leases l JOIN predictions p ON p.id = l.prediction_id
WHERE l.expires_at < clock_timestamp() AND p.status = 'processing' AND p.claim_id = l.claim_id
"""
END_LOST = _end_many(
    EXPIRED_LEASES + "AND p.lost + 1 >= :max_attempts AND NOT p.cancel_requested", "p.cost", lock="p, l"
)
END_LOST_CANCELLED = _end_many(EXPIRED_LEASES + "AND p.cancel_requested", "p.cost", lock="p, l")
END_OVERDUE = _end_many(
    "SELECT p.id FROM predictions p WHERE p.status = 'queued'"
    " AND p.created_at < statement_timestamp() - :seconds * interval '1 s'",
    "0::bigint",
)
# The models that wait, each by one probe of the queue's index. What is held is ended once it is free.
WITHDRAWN = """
SELECT p.id FROM predictions p WHERE p.status = 'queued' AND p.id = ANY(ARRAY(
    WITH RECURSIVE waiting AS (
        (SELECT model FROM predictions WHERE status = 'queued' AND NOT held ORDER BY model LIMIT 1)
        UNION ALL
        SELECT (
            SELECT q.model FROM predictions q WHERE q.status = 'queued' AND NOT q.held AND q.model > w.model
            ORDER BY q.model LIMIT 1
        ) FROM waiting w WHERE w.model IS NOT NULL
    )
    SELECT found.id FROM waiting, LATERAL (
        SELECT q.id FROM predictions q
        WHERE q.status = 'queued' AND NOT q.held AND q.model = waiting.model LIMIT :batch
    ) AS found
    WHERE waiting.model <> ALL(:models) LIMIT :batch
))
"""
END_WITHDRAWN = _end_many(WITHDRAWN, "0::bigint")
END_PAST_DEADLINE = _end_many(
    "SELECT p.id FROM predictions p WHERE p.status = 'queued' AND p.cancel_at <= statement_timestamp()", "0::bigint"
)

MARK_PAST_DEADLINE = text("""
UPDATE predictions SET cancel_requested = true, revision = revision + 1
WHERE id = ANY(ARRAY(
    SELECT id FROM predictions
    WHERE status = 'processing' AND cancel_at <= statement_timestamp() AND NOT cancel_requested
    ORDER BY id LIMIT :batch
    FOR NO KEY UPDATE SKIP LOCKED
))
RETURNING id, key_id, request_id, attempt
""")


def expire(session: Session, *, max_attempts: int) -> int:
    """Move up to a batch of predictions whose lease ran out: back to the queue, or to their end; returns how many."""
    limits = {"max_attempts": max_attempts, "batch": BATCH}
    back = session.execute(EXPIRE, limits).all()
    for row in back:
        fields = {"prediction": row.id, "attempt": row.attempt, "request_id": row.request_id}
        announce_change(session, "lease expired", moved(row, Word.QUEUED), **fields)
    message = f"The workers that held it were lost {max_attempts} times."
    lost = _many(session, END_LOST, limits, ending(Status.FAILED, "worker_lost", message))
    return len(back) + lost + _many(session, END_LOST_CANCELLED, {"batch": BATCH}, ending(Status.CANCELLED))


def fail_overdue(session: Session, *, max_queue_seconds: float) -> int:
    """End up to a batch of predictions that waited too long; returns how many."""
    message = f"No worker took it within {max_queue_seconds:g} seconds."
    limits = {"seconds": max_queue_seconds, "batch": BATCH}
    return _many(session, END_OVERDUE, limits, ending(Status.FAILED, "queue_timeout", message))


def fail_withdrawn(session: Session, *, models: Sequence[str]) -> int:
    """End up to a batch of queued predictions whose model is not served any more; returns how many."""
    withdrawn = ending(Status.FAILED, "model_withdrawn", "The model is not served any more.")
    return _many(session, END_WITHDRAWN, {"models": list(models), "batch": BATCH}, withdrawn)


def cancel_past_deadline(session: Session) -> int:
    """Cancel up to a batch of predictions that still wait past the deadline of their owner; returns how many."""
    return _many(session, END_PAST_DEADLINE, {"batch": BATCH}, ending(Status.CANCELLED))


def mark_past_deadline(session: Session) -> int:
    """Note the wish to cancel up to a batch that are rendered past the deadline of their owner; returns how many."""
    rows = session.execute(MARK_PAST_DEADLINE, {"batch": BATCH}).all()
    for row in rows:
        fields = {"prediction": row.id, "attempt": row.attempt, "request_id": row.request_id}
        announce_change(session, "deadline passed", moved(row, Word.CANCELING), **fields)
    return len(rows)


def _many(session: Session, statement: Any, limits: Mapping[str, Any], end: Mapping[str, Any]) -> int:
    rows = session.execute(statement, {**limits, **end}).all()
    for row in rows:
        fields = {"prediction": row.id, "request_id": row.request_id, "code": end["error_code"]}
        announce_change(session, f"prediction {end['status']}", moved(row, Word(end["status"])), **fields)
    return len(rows)
