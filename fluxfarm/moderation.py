"""The log of what was checked and found: append-only, without prompts or pictures, kept for a time of its own."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import ColumnElement, func, insert, select, text
from sqlalchemy.orm import Session

from fluxfarm.outcomes import Safety
from fluxfarm.tables import Moderation, Tenant

BATCH = 5000

# The database lets nobody else delete.
MAY_FORGET = text("SELECT set_config('fluxfarm.forgetting', 'on', true)")
FORGET_OLD = text("""
DELETE FROM moderation WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM moderation WHERE at < statement_timestamp() - :days * interval '1 day' ORDER BY at LIMIT :batch
))
""")


class Checked(StrEnum):
    """What was looked at."""

    PROMPT = "prompt"
    INPUT = "input"
    OUTPUT = "output"


@dataclass(frozen=True, slots=True)
class Subject:
    """Of whom and of what a decision was made, and by whose policy."""

    tenant_id: uuid.UUID
    key_id: str
    model: str
    request_id: str
    policy: str
    set_by: str
    prediction_id: uuid.UUID | None = None
    """None where a create was refused."""
    attempt: int | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What one checker said of one thing, or that nobody was to look; and what became of the thing."""

    stage: Checked
    what: str
    """The field of the input, or the place of the output from 0."""
    verdict: Safety
    withheld: bool
    checker: str | None = None
    label: str | None = None
    score: float | None = None
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the log, as an operator sees it."""

    id: int
    at: datetime
    tenant: str
    key_id: str
    model: str
    prediction_id: uuid.UUID | None
    attempt: int | None
    request_id: str
    stage: str
    what: str
    verdict: str
    withheld: bool
    checker: str | None
    label: str | None
    score: float | None
    threshold: float | None
    policy: str
    set_by: str


@dataclass(frozen=True, slots=True)
class Count:
    """How often a stage came to a verdict."""

    model: str
    stage: str
    verdict: str
    withheld: bool
    number: int


def record(session: Session, subject: Subject, decisions: Sequence[Decision]) -> None:
    """Add what was decided; it stands if and only if the transaction's other writes do."""
    if decisions:
        of_all = asdict(subject)
        session.execute(insert(Moderation), [{**of_all, **asdict(decision)} for decision in decisions])


def recent(session: Session, wanted: Mapping[str, object], *, limit: int) -> list[Entry]:
    """The latest entries, newest first, of which each field in `wanted` has the value there."""
    own = Entry.__dataclass_fields__.keys() - {"tenant"}
    name = func.coalesce(Tenant.name, "gone").label("tenant")
    query = select(Moderation, name).outerjoin(Tenant, Tenant.id == Moderation.tenant_id).where(*_are(wanted))
    rows = session.execute(query.order_by(Moderation.id.desc()).limit(limit))
    return [Entry(tenant=tenant, **{field: getattr(row, field) for field in own}) for row, tenant in rows]


def counts(session: Session, wanted: Mapping[str, object], *, hours: float) -> list[Count]:
    """Decisions of the last hours, narrowed as for `recent`, counted."""
    kinds = (Moderation.model, Moderation.stage, Moderation.verdict, Moderation.withheld)
    since = func.statement_timestamp() - func.make_interval(0, 0, 0, 0, 0, 0, hours * 3600)
    query = select(*kinds, func.count().label("number")).outerjoin(Tenant, Tenant.id == Moderation.tenant_id)
    of_those = query.where(Moderation.at > since, *_are(wanted)).group_by(*kinds).order_by(*kinds)
    return [Count(*row) for row in session.execute(of_those)]


def _are(wanted: Mapping[str, object]) -> Iterator[ColumnElement[bool]]:
    for field, value in wanted.items():
        yield (Tenant.name if field == "tenant" else getattr(Moderation, field)) == value


def forget_old(session: Session, *, days: int) -> int:
    """Delete entries older than so many days, a batch at a time; returns how many went."""
    session.execute(MAY_FORGET)
    return session.execute(FORGET_OLD, {"days": days, "batch": BATCH}).rowcount  # type: ignore[attr-defined,no-any-return]
