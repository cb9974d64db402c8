"""All writes of a prediction's status: claim, renew, complete, fail, cancel, hand back; by the clock, `sweeps`.

Each is one guarded statement: it names the status it moves from and, for a held prediction, the claim that holds it, so
a worker whose lease is gone cannot write. Ending one gives its key's and tenant's slots back and corrects the tenant's
fair tag in that same statement. Locks are taken in the order predictions, keys, tenants, each by id.
Nothing here commits.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Text, bindparam, insert, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Session

from fluxfarm import own_ids
from fluxfarm.database import Statements, announce_change, driver_sql
from fluxfarm.errors import LeaseLost
from fluxfarm.moves import Moved, Word
from fluxfarm.outcomes import NOTHING, Progress, Remarks, StoredOutput, Withheld
from fluxfarm.plans import Plan
from fluxfarm.status import Status
from fluxfarm.tables import Output

CLAIM = text("""
WITH claimed AS (
    UPDATE predictions
    SET status = 'processing',
        attempt = attempt + 1,
        claim_id = gen_random_uuid(),
        started_at = coalesce(started_at, clock_timestamp()),
        revision = revision + 1
    WHERE id = (
        SELECT p.id FROM predictions p
        WHERE p.model = :model AND p.version = :version AND p.status = 'queued'
          AND NOT p.held AND (:may_fetch OR NOT p.needs_fetch)
          AND (p.cancel_at IS NULL OR p.cancel_at > clock_timestamp())
        ORDER BY p.priority, p.start_tag, p.seq
        LIMIT 1
        FOR NO KEY UPDATE SKIP LOCKED
    )
    RETURNING
        id, tenant_id, key_id, model, version, attempt, claim_id, cancel_requested, request_id, traceparent
), leased AS (
    INSERT INTO leases (prediction_id, claim_id, attempt, worker_id, expires_at, stage)
    SELECT id, claim_id, attempt, :worker_id, clock_timestamp() + :lease_seconds * interval '1 s', 'claimed'
    FROM claimed
)
SELECT c.*, i.plan FROM claimed c JOIN prediction_inputs i ON i.prediction_id = c.id
""")

CLAIM_ALONE = driver_sql(CLAIM)

RENEW = text("""
UPDATE leases l
SET expires_at = clock_timestamp() + :lease_seconds * interval '1 s',
    stage = :stage, picture = :picture, step = :step, steps = :steps, picture_seconds = :picture_seconds
FROM predictions p
WHERE l.prediction_id = :id AND l.claim_id = :claim_id AND l.attempt = :attempt
  AND p.id = l.prediction_id AND p.status = 'processing' AND p.claim_id = l.claim_id
RETURNING p.cancel_requested
""")

# How every end goes on once `ended` has moved the rows: per key, per tenant, per tag, summed first, since
# UPDATE … FROM subtracts only once per target row, and locked by id, for two of these may run at once.
AFTER_END = """
, of_key AS (
    SELECT k.id, k.tenant_id, n.n
    FROM api_keys k JOIN (SELECT key_id, count(*) AS n FROM ended GROUP BY key_id) n ON n.key_id = k.id
    ORDER BY k.id FOR NO KEY UPDATE OF k
), keys AS (
    UPDATE api_keys k SET active = k.active - of_key.n FROM of_key WHERE k.id = of_key.id
    RETURNING k.tenant_id, of_key.n
), of_tenant AS (
    SELECT t.id, t.weight, n.n
    FROM tenants t JOIN (SELECT tenant_id, sum(n) AS n FROM keys GROUP BY tenant_id) n ON n.tenant_id = t.id
    ORDER BY t.id FOR NO KEY UPDATE OF t
), tenants_ AS (
    UPDATE tenants t SET active = t.active - of_tenant.n FROM of_tenant WHERE t.id = of_tenant.id
    RETURNING t.id, t.weight
), corrected AS (
    UPDATE fair_tags f
    SET last_finish = greatest(0, f.last_finish + ceil(s.difference / s.weight)::bigint)
    FROM (
        SELECT e.fair_owner, e.model, e.priority, t.weight, sum(e.actual - e.cost) AS difference
        FROM ended e JOIN tenants_ t ON t.id = e.tenant_id
        GROUP BY e.fair_owner, e.model, e.priority, t.weight
    ) s
    WHERE f.owner = s.fair_owner AND f.model = s.model AND f.priority = s.priority AND s.difference <> 0
), unleased AS (
    DELETE FROM leases l USING ended e WHERE l.prediction_id = e.id
), result AS (
    INSERT INTO prediction_results
        (prediction_id, error_code, error_message, device_microseconds, notices, withheld, made_with)
    SELECT id,
        CASE WHEN status = 'cancelled' AND cancel_at <= clock_timestamp() THEN 'cancel_after' ELSE :error_code END,
        CASE
            WHEN status = 'cancelled' AND cancel_at <= clock_timestamp() THEN 'It had not ended by its Cancel-After.'
            ELSE :error_message
        END, actual, :notices, :withheld, :made_with
    FROM ended
)
SELECT id, key_id, model, request_id, attempt FROM ended
"""

ENDED_COLUMNS = "id, key_id, tenant_id, fair_owner, model, priority, cost, request_id, attempt, status, cancel_at"
ENDING = """
    status = :status,
    completed_at = clock_timestamp(),
    expires_at = clock_timestamp() + retention_seconds * interval '1 s',
    revision = revision + 1
"""
TYPED = (
    bindparam("notices", type_=ARRAY(Text)),
    bindparam("withheld", type_=JSONB),
    bindparam("made_with", type_=JSONB(none_as_null=True)),
)
"""What every end takes."""

END_HELD = text(f"""
WITH ended AS (
    UPDATE predictions SET {ENDING}
    WHERE id = :id AND status = 'processing' AND claim_id = :claim_id AND attempt = :attempt
      AND NOT (cancel_requested AND :status = 'succeeded')
    RETURNING {ENDED_COLUMNS}, cast(:actual AS bigint) AS actual
)
""" + AFTER_END).bindparams(*TYPED)  # fmt: skip

END_QUEUED = text(f"""
WITH ended AS (
    UPDATE predictions SET {ENDING}
    WHERE id = :id AND tenant_id = :tenant_id AND status = 'queued'
    RETURNING {ENDED_COLUMNS}, 0::bigint AS actual
)
""" + AFTER_END).bindparams(*TYPED)  # fmt: skip

LOCK_OWN = text("""
SELECT id FROM predictions WHERE id = ANY(:ids) AND tenant_id = :tenant_id
ORDER BY array_position(cast(:ids AS uuid[]), id) LIMIT 1 FOR NO KEY UPDATE
""")

MARK_CANCEL = text("""
UPDATE predictions
SET cancel_requested = true, revision = revision + (NOT cancel_requested)::int,
    cancel_at = CASE WHEN cancel_requested THEN cancel_at END
WHERE id = :id AND tenant_id = :tenant_id AND status = 'processing'
RETURNING id, key_id, attempt
""")

HAND_BACK = text("""
WITH back AS (
    UPDATE predictions
    SET status = 'queued', claim_id = NULL, revision = revision + 1
    WHERE id = :id AND status = 'processing' AND claim_id = :claim_id AND attempt = :attempt AND NOT cancel_requested
    RETURNING id, model, request_id, attempt
), unleased AS (
    DELETE FROM leases l USING back WHERE l.prediction_id = back.id
)
SELECT * FROM back
""")

LET_GO = text("""
UPDATE leases SET expires_at = clock_timestamp() - interval '1 s'
WHERE prediction_id = :id AND claim_id = :claim_id AND attempt = :attempt
RETURNING prediction_id
""")


@dataclass(frozen=True, slots=True)
class Claimed:
    """A prediction that this worker holds; the claim id and the attempt are its fence."""

    id: uuid.UUID
    tenant_id: uuid.UUID
    key_id: str
    model: str
    version: str
    attempt: int
    claim_id: uuid.UUID
    cancel_requested: bool
    request_id: str
    traceparent: str | None
    plan: Plan

    @property
    def fence(self) -> dict[str, Any]:
        return {"id": self.id, "claim_id": self.claim_id, "attempt": self.attempt}


def claim(
    scope: Session | Statements,
    *,
    model: str,
    version: str,
    worker_id: uuid.UUID,
    lease_seconds: float,
    may_fetch: bool = True,
) -> Claimed | None:
    """Take the fairest queued prediction of a model, with a lease; None if there is none.

    Without `may_fetch`, predictions whose input picture must first be fetched are left alone.
    """
    parameters = {
        "model": model,
        "version": version,
        "worker_id": worker_id,
        "lease_seconds": lease_seconds,
        "may_fetch": may_fetch,
    }
    if isinstance(scope, Statements):
        (row,) = scope.each(CLAIM_ALONE, [parameters])
    else:
        row = scope.execute(CLAIM, parameters).one_or_none()
    if row is None:
        return None
    fields = {**row._asdict(), "plan": Plan.from_json(row.plan)}
    claimed = Claimed(**fields)
    _announce(scope, "prediction claimed", claimed, Word.STARTED)
    return claimed


def renew(session: Session, held: Claimed, progress: Progress, lease_seconds: float) -> bool:
    """Push the lease on and note the progress, and tell that it was; returns whether its owner wishes to cancel.

    Raises:
        LeaseLost: this claim does not hold the prediction any more.

    """
    parameters = {**held.fence, **asdict(progress), "lease_seconds": lease_seconds}
    row = session.execute(RENEW, parameters).one_or_none()
    if row is None:
        raise _lost(held)
    announce_change(session, None, moved(held, Word.NOTED))
    return bool(row.cancel_requested)


def complete(
    session: Session,
    held: Claimed,
    outputs: Sequence[StoredOutput],
    *,
    device_microseconds: int,
    remarks: Remarks = NOTHING,
) -> bool:
    """End it as succeeded, with its pictures.

    One that its owner wishes to cancel is cancelled instead, without them, as was promised; False says so.

    Raises:
        LeaseLost: this claim does not hold the prediction any more.

    """
    end = ending(Status.SUCCEEDED, notices=remarks.notices, withheld=remarks.withheld)
    end["made_with"] = remarks.made_with
    if not _ended_held(session, held, device_microseconds, end):
        cancel_held(session, held, device_microseconds=device_microseconds)
        return False
    session.execute(insert(Output), [{"prediction_id": held.id, **asdict(output)} for output in outputs])
    return True


def fail(
    session: Session,
    held: Claimed,
    *,
    code: str,
    message: str,
    device_microseconds: int,
    withheld: Sequence[Withheld] = (),
) -> None:
    """End it as failed, for its owner to read why; raises `LeaseLost` if the claim is gone."""
    _end_held(session, held, device_microseconds, ending(Status.FAILED, code, message, withheld=withheld))


def cancel_held(session: Session, held: Claimed, *, device_microseconds: int) -> None:
    """End it as its owner wished; raises `LeaseLost` if the claim is gone."""
    _end_held(session, held, device_microseconds, ending(Status.CANCELLED))


def hand_back(session: Session, held: Claimed, *, device_microseconds: int = 0) -> None:
    """Return it to the queue with its old tag; it does not count against the attempts it has.

    One that its owner wishes to cancel is cancelled instead: nobody may come to take it up again.

    Raises:
        LeaseLost: this claim does not hold the prediction any more.

    """
    if session.execute(HAND_BACK, held.fence).one_or_none() is None:
        cancel_held(session, held, device_microseconds=device_microseconds)
    else:
        _announce(session, "prediction handed back", held, Word.QUEUED)


def let_go(session: Session, held: Claimed) -> None:
    """End the lease now, for a fault of the worker's own; the maintenance loop counts it and moves the prediction on.

    Raises:
        LeaseLost: this claim does not hold the prediction any more.

    """
    if session.execute(LET_GO, held.fence).one_or_none() is None:
        raise _lost(held)
    _announce(session, "lease let go", held, None)


def cancel(session: Session, prediction_id: uuid.UUID, tenant_id: uuid.UUID) -> bool:
    """Cancel what waits, mark what runs; False if it had ended already or is not this tenant's."""
    meant = {"ids": own_ids.candidates(tenant_id, prediction_id), "tenant_id": tenant_id}
    # Else it might go from the one to the other between the two statements.
    which = {"id": session.execute(LOCK_OWN, meant).scalar_one_or_none(), "tenant_id": tenant_id}
    row = session.execute(END_QUEUED, {**which, **ending(Status.CANCELLED)}).one_or_none()
    if row is not None:
        announce_change(
            session, "prediction cancelled", moved(row, Word.CANCELLED), prediction=row.id, request_id=row.request_id
        )
        return True
    marked = session.execute(MARK_CANCEL, which).one_or_none()
    if marked is not None:
        announce_change(session, None, moved(marked, Word.CANCELING))
    return marked is not None


def _end_held(session: Session, held: Claimed, device_microseconds: int, end: Mapping[str, Any]) -> None:
    if not _ended_held(session, held, device_microseconds, end):
        raise _lost(held)


def _ended_held(session: Session, held: Claimed, device_microseconds: int, end: Mapping[str, Any]) -> bool:
    row = session.execute(END_HELD, {**held.fence, **end, "actual": device_microseconds}).one_or_none()
    if row is not None:
        _announce(session, f"prediction {end['status']}", held, Word(end["status"]), code=end["error_code"])
    return row is not None


def ending(
    status: Status,
    code: str | None = None,
    message: str | None = None,
    *,
    notices: Sequence[str] = (),
    withheld: Sequence[Withheld] = (),
) -> dict[str, Any]:
    """How an end is to be, as the statements of all ends take it."""
    more = {"notices": list(notices), "withheld": [asdict(each) for each in withheld], "made_with": None}
    return {"status": status.value, "error_code": code, "error_message": message, **more}


def _announce(scope: Session | Statements, event: str, held: Claimed, word: Word | None, **fields: Any) -> None:
    shown = {"prediction": held.id, "model": held.model, "attempt": held.attempt, "request_id": held.request_id}
    moves = () if word is None else (moved(held, word),)
    announce_change(scope, event, *moves, **shown, traceparent=held.traceparent, **fields)


def moved(row: Any, word: Word) -> Moved:
    """What to tell of a row's move: of its `id`, `key_id` and `attempt`."""
    return Moved(row.id, row.key_id, row.attempt, word)


def _lost(held: Claimed) -> LeaseLost:
    return LeaseLost(f"The lease on prediction {held.id} (attempt {held.attempt}) is gone.")
