"""What ended leaves the queue's indexes, so that a claim is as cheap beside a long history as beside none."""

import uuid
from collections.abc import Callable

import psycopg
import pytest
from sqlalchemy import text

from fluxfarm import lifecycle
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
