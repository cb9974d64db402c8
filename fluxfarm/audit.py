"""Who changed which tenant or key, when and how: a row for each change, written in the change's own transaction."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from fluxfarm.database import announce_change
from fluxfarm.tables import AuditEntry


@dataclass(frozen=True, slots=True)
class Entry:
    at: datetime
    actor: str
    action: str
    subject: str
    details: dict[str, Any]


def note(session: Session, *, by: str, action: str, subject: str, **details: Any) -> None:
    """Record a change made by `by`; it stands if and only if the change does."""
    session.execute(insert(AuditEntry).values(actor=by, action=action, subject=subject, details=details))
    announce_change(session, action, actor=by, subject=subject)


def recent(session: Session, *, limit: int = 100) -> list[Entry]:
    """The latest changes, newest first."""
    rows = session.scalars(select(AuditEntry).order_by(AuditEntry.id.desc()).limit(limit))
    return [Entry(row.at, row.actor, row.action, row.subject, row.details) for row in rows]
