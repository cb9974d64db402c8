"""What is remembered of calls that may come again: for a day, per tenant.

Per tenant, not per API key: who rotates a key must not pay twice for a retry that goes out with the new one.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from fluxfarm import own_ids
from fluxfarm.database import Statements, driver_sql
from fluxfarm.errors import InFlight, RepeatedDifferently

BATCH = 1000
REMEMBERED_HOURS = 24

# What was deleted comes first, and stands for nothing that may be asked for again. A key, and a client's own id, is
# remembered for a day, even if the row goes sooner; an id of any age stands for its row while that is there.
KNOWN = f"""
    SELECT id, fingerprint FROM (
        SELECT 1 AS place, r.prediction_id AS id, cast(NULL AS bytea) AS fingerprint FROM remembered r
        WHERE r.tenant_id = :tenant_id AND r.kind = 'delete' AND r.name = cast(cast(:own_id AS uuid) AS text)
          AND r.at > clock_timestamp() - interval '{REMEMBERED_HOURS} h'
        UNION ALL
        SELECT 2, r.prediction_id, r.fingerprint FROM remembered r
        WHERE r.tenant_id = :tenant_id AND r.kind = :repeated_by AND r.name = :repeated_name
          AND r.at > clock_timestamp() - interval '{REMEMBERED_HOURS} h'
        UNION ALL
        SELECT CASE p.id WHEN :own_row_id THEN 3 ELSE 4 END, coalesce(p.own_id, p.id), i.fingerprint
        FROM predictions p LEFT JOIN prediction_inputs i ON i.prediction_id = p.id
        WHERE p.id IN (:own_id, :own_row_id) AND p.tenant_id = :tenant_id
    ) AS found ORDER BY place LIMIT 1
"""
LOOK = driver_sql(text(KNOWN))

# One that was there is a day old, or it would have been found.
REMEMBER = """
    INSERT INTO remembered AS r (tenant_id, kind, name, prediction_id, fingerprint)
    SELECT tenant_id, :repeated_by, :repeated_name, coalesce(cast(:own_id AS uuid), id), :fingerprint FROM created
    ON CONFLICT (tenant_id, kind, name) DO UPDATE
    SET prediction_id = excluded.prediction_id, fingerprint = excluded.fingerprint, at = clock_timestamp()
"""

# Whoever gets this lock sees, from its next statement on, what all that had it before have done. It goes with the
# transaction, and nobody waits for it.
TRY_ALONE = text("""
SELECT set_config('fluxfarm.alone', pg_try_advisory_xact_lock(hashtextextended(:lock, 0))::text, true)
""")
ALONE = "coalesce(current_setting('fluxfarm.alone', true), '') = 'true'"

FORGET_OLD = text(f"""
DELETE FROM remembered WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM remembered WHERE at < statement_timestamp() - interval '{REMEMBERED_HOURS} h'
    ORDER BY at LIMIT :batch
    FOR UPDATE SKIP LOCKED
))
""")
FORGET_TENANT = text("""
DELETE FROM remembered WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM remembered WHERE tenant_id = :tenant_id LIMIT :batch FOR UPDATE
))
""")


@dataclass(frozen=True, slots=True)
class Repeatable:
    """By what a create is known again, an Idempotency-Key or its client's own id, and what it asked."""

    tenant_id: uuid.UUID
    fingerprint: bytes
    key: str | None = None
    own_id: uuid.UUID | None = None

    @property
    def row_id(self) -> uuid.UUID | None:
        """The id that its row has to have, if its client named it."""
        return own_ids.row_id(self.tenant_id, self.own_id) if self.own_id else None

    @property
    def name(self) -> str:
        """What no two creates of a tenant may be admitted by."""
        return f"{self.tenant_id} {self.own_id or self.key!r}"

    def parameters(self) -> dict[str, Any]:
        return {
            "tenant_id": self.tenant_id,
            "repeated_by": "create" if self.own_id is None else "put",
            "repeated_name": self.key if self.own_id is None else str(self.own_id),
            "own_id": self.own_id,
            "own_row_id": self.row_id,
            "fingerprint": self.fingerprint,
        }


@dataclass(frozen=True, slots=True)
class Replayed:
    """A create that had been admitted before; `id` is what its client calls it."""

    id: uuid.UUID


def replay(statements: Statements, asked: Repeatable) -> Replayed | None:
    """What came of this create when it was sent before; None if it was not, or was refused.

    Raises:
        RepeatedDifferently: it asked for something else then.

    """
    (row,) = statements.each(LOOK, [asked.parameters()])
    return None if row is None else judged(asked, row._asdict())


def judged(asked: Repeatable, found: Mapping[str, Any]) -> Replayed:
    """As `replay`, of a row that was found."""
    if found["fingerprint"] != asked.fingerprint:
        if asked.own_id:
            told = "another prediction of yours, or for one that was deleted within the last day; use a new one"
            raise RepeatedDifferently(f"The id stands for {told}.")
        raise RepeatedDifferently("The Idempotency-Key was sent before with another body; use a new one.")
    return Replayed(found["id"])


def in_flight() -> InFlight:
    """What a create is told while another by the same key or id is not over."""
    return InFlight("The first create with this key or id is still under way; try again.", retry_after=1)


def forget_old(session: Session) -> int:
    """Forget up to a batch of what was sent a day ago; returns how many."""
    return _deleted(session.execute(FORGET_OLD, {"batch": BATCH}))


def forget_tenant(session: Session, tenant_id: uuid.UUID) -> int:
    """Forget up to a batch of what a tenant sent; returns how many."""
    return _deleted(session.execute(FORGET_TENANT, {"tenant_id": tenant_id, "batch": BATCH}))


def _deleted(result: Any) -> int:
    return int(result.rowcount)
