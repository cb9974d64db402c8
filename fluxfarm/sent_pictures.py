"""Pictures that came inside requests: noted before they are stored, so that none stays of which no prediction tells.

A create may die between storing its picture and its commit; then this is all that remembers the picture. Likewise if
the same create came twice at once, with its client's own id, and the other was admitted.
"""

import uuid
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

BATCH = 100
GRACE_SECONDS = 3600
"""No create takes nearly as long; after it, a picture has its prediction or never will."""

NOTE = text("INSERT INTO sent_pictures (object_key, prediction_id) VALUES (:object_key, :prediction_id)")
SETTLED = text("""
SELECT object_key, EXISTS (
    SELECT FROM prediction_inputs i, jsonb_each_text(i.plan -> 'picture_keys') AS picture
    WHERE i.prediction_id = s.prediction_id AND picture.value = s.object_key
) AS kept
FROM sent_pictures s WHERE noted_at < statement_timestamp() - :seconds * interval '1 s' ORDER BY noted_at LIMIT :batch
""")
FORGET = text("DELETE FROM sent_pictures WHERE object_key = ANY(:keys)")


@dataclass(frozen=True, slots=True)
class Settled:
    """What has become of some pictures."""

    kept: list[str]
    """Their predictions delete them."""
    orphaned: list[str]


def note(session: Session, object_key: str, prediction: uuid.UUID) -> None:
    """Remember an object that is about to be stored for a prediction that is not there yet."""
    session.execute(NOTE, {"object_key": object_key, "prediction_id": prediction})


def settled(session: Session) -> Settled:
    """A batch of pictures whose creates are over, the oldest first."""
    rows = session.execute(SETTLED, {"seconds": GRACE_SECONDS, "batch": BATCH}).all()
    return Settled([row.object_key for row in rows if row.kept], [row.object_key for row in rows if not row.kept])


def forget(session: Session, object_keys: list[str]) -> None:
    """Those are looked after elsewhere, or gone."""
    session.execute(FORGET, {"keys": object_keys})
