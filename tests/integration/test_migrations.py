"""The way up, the way down, and that the tables in code are those that migrations make."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, make_url, text

from fluxfarm import schema
from fluxfarm.cli.migrate import alembic_config
from fluxfarm.database import Database
from fluxfarm.local.postgres import PrivatePostgres
from fluxfarm.tables import Table
from tests.processes import Processes, wait_until

LOCK = 7_206_911_370_241_009
"""As in `migrations/env.py`, which cannot be imported."""


@pytest.fixture
def empty(postgres: PrivatePostgres) -> Iterator[str]:
    """The URL of a database of its own, with nothing in it."""
    name = f"migrations_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    url = make_url(postgres.url).set(drivername="postgresql+psycopg", database=name)
    yield url.render_as_string(hide_password=False)
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def current(url: str) -> str | None:
    database = Database(url)
    try:
        with database.session_scope() as session:
            return schema.current(session)
    finally:
        database.close()


def shape(url: str) -> set[tuple[str, str]]:
    """Every relation and constraint, by name and definition."""
    engine = create_engine(url)
    with engine.connect() as connection:
        columns = connection.execute(
            text(
                "SELECT table_name || '.' || column_name, data_type || is_nullable || coalesce(column_default, '')"
                " FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'alembic_version'"
            )
        ).all()
        indexes = connection.execute(
            text("SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND indexname !~ 'alembic'")
        ).all()
        constraints = connection.execute(
            text(
                "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
                " WHERE connamespace = 'public'::regnamespace AND conname !~ 'alembic'"
            )
        ).all()
        options = connection.execute(
            text(
                "SELECT relname, array_to_string(reloptions, ',') FROM pg_class"
                " WHERE relnamespace = 'public'::regnamespace AND reloptions IS NOT NULL"
            )
        ).all()
    engine.dispose()
    return {(row[0], row[1]) for rows in (columns, indexes, constraints, options) for row in rows}


def test_every_step_goes_up_and_down_and_up_again(empty: str) -> None:
    config = alembic_config(empty)
    assert current(empty) is None
    command.upgrade(config, "head")
    assert current(empty) == schema.head()
    made = shape(empty)
    command.downgrade(config, "base")
    assert current(empty) is None
    assert shape(empty) == set()
    for _ in ScriptDirectory.from_config(config).walk_revisions():
        command.upgrade(config, "+1")
        command.downgrade(config, "-1")
        command.upgrade(config, "+1")
    assert current(empty) == schema.head()
    assert shape(empty) == made


def test_the_tables_in_code_are_those_that_migrations_make(empty: str) -> None:
    command.upgrade(alembic_config(empty), "head")
    engine = create_engine(empty)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, Table.metadata) == []
    migrated = shape(empty)
    command.downgrade(alembic_config(empty), "base")
    Table.metadata.create_all(engine)
    engine.dispose()
    assert shape(empty) == migrated


def test_the_head_file_names_the_newest_migration(empty: str) -> None:
    assert ScriptDirectory.from_config(alembic_config(empty)).get_heads() == [schema.head()]


def test_a_running_farm_is_not_blocked_by_an_index_that_is_built(empty: str, tmp_path: Path) -> None:
    """A transaction that wrote is open meanwhile, so that the index cannot be done: others may write all the same."""
    config = alembic_config(empty)
    command.upgrade(config, "0006")
    plain = empty.replace("+psycopg", "")
    building = "SELECT count(*) FROM pg_stat_activity WHERE query ILIKE 'CREATE INDEX%' AND wait_event_type = 'Lock'"
    blocking = "SELECT count(*) FROM pg_locks WHERE relation = 'predictions'::regclass AND mode = 'ShareLock'"
    write = "UPDATE predictions SET held = false"
    with Processes(tmp_path, {"FLUXFARM_DATABASE_URL": empty}) as processes:
        with psycopg.connect(plain) as writer, psycopg.connect(plain, autocommit=True) as another:
            writer.execute(write.encode())
            migrating = processes.start("fluxfarm.cli", "migrate")
            wait_until(lambda: (another.execute(building).fetchone() or [0])[0])
            assert another.execute(blocking).fetchone() == (0,)
            another.execute(write.encode())
        assert migrating.ended() == 0, migrating.log.read_text()
    assert current(empty) == schema.head()


def test_two_upgrades_at_once_do_no_harm(empty: str, tmp_path: Path) -> None:
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    engine = create_engine(empty, isolation_level="AUTOCOMMIT")
    with Processes(tmp_path, {"FLUXFARM_DATABASE_URL": empty}) as processes, engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": LOCK})
        both = [processes.start("fluxfarm.cli", "migrate") for _ in range(2)]
        wait_until(lambda: connection.execute(waiting).scalar_one() == 2)
        assert current(empty) is None
        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": LOCK})
        assert [process.ended() for process in both] == [0, 0], [process.log.read_text() for process in both]
    engine.dispose()
    assert current(empty) == schema.head()


FIRST_RELEASE = """
INSERT INTO tenants (id, name, weight) VALUES ('11111111-1111-4111-8111-111111111111', 'studio', 2);
INSERT INTO api_keys (id, tenant_id, name, secret_sha256, scopes, active)
VALUES ('key', '11111111-1111-4111-8111-111111111111', 'app', sha256('secret'), '{predict}', 1);
INSERT INTO predictions (id, tenant_id, key_id, model, version, start_tag, cost, retention_seconds, request_id)
VALUES ('22222222-2222-4222-8222-222222222222', '11111111-1111-4111-8111-111111111111', 'key', 'flux-dev', '1', 500,
    1000, 86400, 'r');
INSERT INTO prediction_inputs (prediction_id, input, plan)
VALUES ('22222222-2222-4222-8222-222222222222', '{"prompt": "x"}', '{}');
INSERT INTO fair_tags (tenant_id, model, last_finish) VALUES ('11111111-1111-4111-8111-111111111111', 'flux-dev', 1000);
"""


def test_what_the_first_release_wrote_lives_through_every_upgrade_and_back(empty: str) -> None:
    config = alembic_config(empty)
    command.upgrade(config, "0001")
    with psycopg.connect(empty.replace("+psycopg", "")) as connection:
        connection.execute(FIRST_RELEASE.encode())
    command.upgrade(config, "head")
    kept = "SELECT p.status, p.priority, p.held, p.fair_owner, f.last_finish FROM predictions p, fair_tags f"
    with psycopg.connect(empty.replace("+psycopg", "")) as connection:
        owner = "11111111-1111-4111-8111-111111111111"
        assert connection.execute(kept).fetchall() == [("queued", 0, False, owner, 1000)]
        connection.execute(
            b"INSERT INTO fair_tags (owner, model, priority, last_finish) VALUES ('key', 'flux-dev', 1, 5)"
        )
    command.downgrade(config, "0001")
    with psycopg.connect(empty.replace("+psycopg", "")) as connection:
        assert connection.execute("SELECT tenant_id::text, last_finish FROM fair_tags").fetchall() == [(owner, 1000)]
        assert connection.execute("SELECT start_tag FROM predictions").fetchall() == [(500,)]
