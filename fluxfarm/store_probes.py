"""Proof that two machines have one store: who wants to join writes an object and asks here whether the farm sees it.

The maintenance process looks, notes what it found, and writes an object back that the asker must find in turn.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

READ = "read"
MISSING = "missing"
DIFFERENT = "different"

LIFE_SECONDS = 60

ASK = text("INSERT INTO store_probes (id, sha256) VALUES (:id, :sha256)")
# Also those that were looked for in vain: on a network file system a new file may take a moment to be seen.
OPEN = text("SELECT id, sha256 FROM store_probes WHERE seen IS DISTINCT FROM 'read' ORDER BY asked_at LIMIT 10")
NOTE = text("UPDATE store_probes SET seen = :seen WHERE id = :id")
SEEN = text("SELECT seen FROM store_probes WHERE id = :id")
OVER = text("""
SELECT id FROM store_probes WHERE asked_at < clock_timestamp() - :seconds * interval '1 s' ORDER BY asked_at LIMIT 10
""")
FORGET = text("DELETE FROM store_probes WHERE id = ANY(:ids)")


@dataclass(frozen=True, slots=True)
class StoreProbe:
    id: uuid.UUID
    sha256: str


def asked_key(probe_id: uuid.UUID) -> str:
    """The object that the asker writes."""
    return f"probes/{probe_id}-asked.txt"


def answer_key(probe_id: uuid.UUID) -> str:
    """The object that the maintenance process writes once it has read the other."""
    return f"probes/{probe_id}-answer.txt"


def ask(session: Session, probe: StoreProbe) -> None:
    session.execute(ASK, {"id": probe.id, "sha256": probe.sha256})


def open_probes(session: Session) -> list[StoreProbe]:
    """Probes that were not found so far."""
    return [StoreProbe(row.id, row.sha256) for row in session.execute(OPEN)]


def note(session: Session, probe_id: uuid.UUID, seen: str) -> None:
    """Say what was found: `READ`, `MISSING`, `DIFFERENT`, or why the store could not be read."""
    session.execute(NOTE, {"id": probe_id, "seen": seen})


def seen(session: Session, probe_id: uuid.UUID) -> str | None:
    """What was found; None as long as nobody has looked."""
    return session.execute(SEEN, {"id": probe_id}).scalar_one_or_none()


def over(session: Session) -> list[uuid.UUID]:
    """Probes that nobody waits for any more."""
    return list(session.scalars(OVER, {"seconds": LIFE_SECONDS}))


def forget(session: Session, ids: Sequence[uuid.UUID]) -> None:
    session.execute(FORGET, {"ids": list(ids)})
