"""A tenant's wish that a finished prediction be gone, now: first nobody sees it, then its objects go, then its rows.

What is left is a hidden row: its key's creates of the last minute are told from rows, and virtual time from their tags,
so it goes with what is expired, by the same way. Whatever breaks off is done again, by a repetition or by the
maintenance loop.
"""

import uuid
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

from fluxfarm import own_ids
from fluxfarm.errors import NotFinished, NotFound

LOCK = text("""
SELECT id, status, EXISTS (SELECT FROM prediction_inputs i WHERE i.prediction_id = p.id) AS detailed
FROM predictions p WHERE id = ANY(:ids) AND tenant_id = :tenant_id
ORDER BY array_position(cast(:ids AS uuid[]), id) LIMIT 1 FOR UPDATE
""")
HIDE = text("""
UPDATE predictions p SET expires_at = least(p.expires_at, clock_timestamp()), revision = p.revision + 1
FROM (
    SELECT ARRAY(SELECT value FROM jsonb_each_text(i.plan -> 'picture_keys')) AS input_keys,
        ARRAY(SELECT object_key FROM outputs WHERE prediction_id = :id) AS keys
    FROM (VALUES (1)) AS one LEFT JOIN prediction_inputs i ON i.prediction_id = :id
) AS stored
WHERE p.id = :id
RETURNING coalesce(p.own_id, p.id) AS shown_id, stored.input_keys, stored.keys,
    p.attempt > 1 OR p.status <> 'succeeded' AS untidy
""")
REMEMBER = text("""
INSERT INTO remembered AS r (tenant_id, kind, name, prediction_id)
VALUES (:tenant_id, 'delete', cast(:shown_id AS uuid)::text, :shown_id)
ON CONFLICT (tenant_id, kind, name) DO UPDATE SET at = clock_timestamp()
""")
REMEMBERED = text("SELECT FROM remembered WHERE tenant_id = :tenant_id AND kind = 'delete' AND name = :name")

DETAILS = (
    text("DELETE FROM outputs WHERE prediction_id = :id"),
    text("DELETE FROM prediction_results WHERE prediction_id = :id"),
    text("DELETE FROM prediction_inputs WHERE prediction_id = :id"),
)


@dataclass(frozen=True, slots=True)
class Hidden:
    """A prediction that nobody sees any more, and every object that its rows name."""

    id: uuid.UUID
    tenant_id: uuid.UUID
    object_keys: tuple[str, ...]
    untidy: bool
    """Attempts that were lost or stopped may have left more."""


def hide(session: Session, prediction_id: uuid.UUID, tenant_id: uuid.UUID) -> Hidden | None:
    """Make a tenant's finished prediction unknown; None if that is done, objects and all.

    Raises:
        NotFinished: it has not ended.
        NotFound: there is none, and none was forgotten within the last day.

    """
    meant = {"ids": own_ids.candidates(tenant_id, prediction_id), "tenant_id": tenant_id}
    row = session.execute(LOCK, meant).one_or_none()
    if row is None or not row.detailed:
        forgotten = session.execute(REMEMBERED, {"tenant_id": tenant_id, "name": str(prediction_id)}).one_or_none()
        if forgotten is None:
            raise NotFound("There is no such prediction.")
        return None
    if row.status in ("queued", "processing"):
        raise NotFinished("The prediction has not ended; cancel it first, and delete it once it is cancelled.")
    hidden = session.execute(HIDE, {"id": row.id}).one()
    session.execute(REMEMBER, {"tenant_id": tenant_id, "shown_id": hidden.shown_id})
    return Hidden(row.id, tenant_id, (*hidden.keys, *hidden.input_keys), hidden.untidy)


def clear(session: Session, hidden: Hidden) -> None:
    """Delete what is known of a prediction whose objects are gone; its row goes once its minute is over."""
    which = {"ids": [hidden.id], "tenant_id": hidden.tenant_id}
    if session.execute(LOCK, which).one_or_none() is not None:
        for statement in DETAILS:
            session.execute(statement, {"id": hidden.id})
