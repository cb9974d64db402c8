"""What ended leaves the queue's indexes, so that a claim is as cheap beside a long history as beside none."""

import re
import uuid
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from sqlalchemy import TextClause, text

from fluxfarm import lifecycle, retries, sent_pictures, sweeps, upkeep
from fluxfarm.catalog import Model
from fluxfarm.database import Database
from fluxfarm.keys import Caller
from fluxfarm.settings import Settings
from tests.farm import create

NewCaller = Callable[..., Caller]

ENTRIES = "SELECT reltuples::int FROM pg_class WHERE relname = %s"
OF_THE_QUEUE = ("predictions_queue", "predictions_queued_tenant", "predictions_queued_age")
SETTINGS = "SELECT array_to_string(reloptions, ',') FROM pg_class WHERE relname = %s"


def end_one(database: Database, model: Model) -> None:
    with database.session_scope() as session:
        held = lifecycle.claim(
            session, model=model.slug, version=model.version, worker_id=uuid.uuid4(), lease_seconds=30
        )
        assert held
        lifecycle.fail(session, held, code="x", message="x", device_microseconds=1)


def test_what_ended_is_in_no_index_of_the_queue(
    database: Database, settings: Settings, caller: Caller, flux_dev: Model
) -> None:
    for _ in range(60):
        create(database, caller, flux_dev)
    for _ in range(50):
        end_one(database, flux_dev)
    with psycopg.connect(str(settings.database_url), autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE predictions, leases")
        entries = {name: connection.execute(ENTRIES, [name]).fetchone() for name in (*OF_THE_QUEUE, "leases")}
    assert entries == {**dict.fromkeys(OF_THE_QUEUE, (10,)), "leases": (0,)}


MANY = (
    """INSERT INTO predictions (
        id, tenant_id, key_id, model, version, start_tag, cost, retention_seconds, request_id, fair_owner,
        cancel_at, expires_at
    ) SELECT gen_random_uuid(), :tenant_id, :key_id, 'm', '1', n, 1, 1, '', '', now() + interval '1 d',
        now() + interval '1 d' FROM generate_series(1, 5000) AS n""",
    """INSERT INTO remembered (tenant_id, kind, name, prediction_id)
    SELECT :tenant_id, 'create', n::text, gen_random_uuid() FROM generate_series(1, 5000) AS n""",
    """INSERT INTO sent_pictures (object_key, prediction_id)
    SELECT n::text, gen_random_uuid() FROM generate_series(1, 5000) AS n""",
    "ANALYZE predictions, remembered, sent_pictures",
)


def explained(database: Database, caller: Caller, statement: TextClause, **parameters: object) -> str:
    """How it would be run where much waits and nothing is due."""
    with database.engine.connect() as connection:
        for each in MANY:
            connection.execute(text(each), {"tenant_id": caller.tenant_id, "key_id": caller.key_id})
        return "\n".join(connection.scalars(text(f"EXPLAIN {statement.text}"), parameters))


END = {
    "status": "failed",
    "error_code": "x",
    "error_message": "x",
    "notices": [],
    "withheld": None,
    "made_with": None,
}


@pytest.mark.parametrize(
    ("statement", "parameters", "index", "condition"),
    [
        (retries.FORGET_OLD, {}, "remembered_at", "at <"),
        (sweeps.END_PAST_DEADLINE, END, "predictions_deadline", "cancel_at <="),
        (sweeps.MARK_PAST_DEADLINE, {}, "predictions_deadline", "cancel_at <="),
        (sweeps.END_OVERDUE, {**END, "seconds": 60}, "predictions_queued_age", "created_at <"),
        (upkeep.EXPIRED, {}, "predictions_expiry", "expires_at <="),
        (sent_pictures.SETTLED, {"seconds": 60}, "sent_pictures_noted_at", "noted_at <"),
    ],
)
def test_what_is_due_is_found_by_an_index(
    database: Database,
    caller: Caller,
    statement: TextClause,
    parameters: dict[str, object],
    index: str,
    condition: str,
) -> None:
    """Else each round of maintenance looked at all that is not due as well."""
    plan = explained(database, caller, statement, batch=100, **parameters)
    assert re.search(rf"{index}\b.*\n\s+Index Cond: \(+(\w+\.)?{condition}", plan), plan


def test_what_is_withdrawn_is_found_without_a_walk_through_the_queue(database: Database, caller: Caller) -> None:
    with database.engine.connect() as connection:
        for each in MANY:
            connection.execute(text(each), {"tenant_id": caller.tenant_id, "key_id": caller.key_id})
        plans = connection.scalars(
            text(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {sweeps.WITHDRAWN}"), {"models": ["m"], "batch": 100}
        ).one()
    walked = sum(
        each["Actual Rows"] * each["Actual Loops"] + each.get("Rows Removed by Filter", 0)
        for each in scans(plans[0]["Plan"])
    )
    assert walked <= 2, plans


def scans(node: dict[str, Any]) -> list[dict[str, Any]]:
    """Those of the table itself, in a plan."""
    own = [node] if node.get("Relation Name") == "predictions" else []
    return own + [each for below in node.get("Plans", ()) for each in scans(below)]


def test_a_claim_goes_by_the_queue(database: Database, caller: Caller) -> None:
    asked = {"model": "m", "version": "1", "worker_id": uuid.uuid4(), "lease_seconds": 30, "may_fetch": False}
    plan = explained(database, caller, lifecycle.CLAIM, **asked)
    assert re.search(r"LockRows.*\n\s+->  Index Scan using predictions_queue on predictions p", plan), plan


def test_a_renewal_touches_no_index(database: Database, caller: Caller, flux_dev: Model) -> None:
    """The lease's time and progress are in none, so its row is updated within its page."""
    with database.session_scope() as session:
        indexed = session.execute(
            text("SELECT indexdef FROM pg_indexes WHERE tablename = 'leases' AND schemaname = 'public'")
        ).scalars()
        assert all(name not in index for index in indexed for name in ("expires_at", "stage", "step", "picture"))


@pytest.mark.parametrize("table", ["predictions", "leases", "api_keys", "tenants", "fair_tags"])
def test_hot_tables_are_vacuumed_by_dead_rows_not_by_their_history(settings: Settings, table: str) -> None:
    with psycopg.connect(str(settings.database_url)) as connection:
        found = connection.execute(SETTINGS, [table]).fetchone()
    assert found
    assert "autovacuum_vacuum_scale_factor=0" in found[0]
    assert "fillfactor=" in found[0]
