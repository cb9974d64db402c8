"""Real servers for the tests: one private PostgreSQL and one private Valkey per test process, emptied between tests."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace

import psycopg
import pytest
from alembic import command
from sqlalchemy import text

from fluxfarm import keys, tenants
from fluxfarm.catalog import Model, load_catalog
from fluxfarm.cli.migrate import alembic_config
from fluxfarm.database import Database
from fluxfarm.keys import Caller
from fluxfarm.local.postgres import PrivatePostgres
from fluxfarm.local.valkey import PrivateValkey
from fluxfarm.queue import redis_client
from fluxfarm.settings import Settings

for name in [name for name in os.environ if name.startswith("FLUXFARM_")]:
    del os.environ[name]

TABLES = (
    "outputs, prediction_results, prediction_inputs, leases, predictions, fair_tags, model_queues, workers, "
    "api_keys, tenants, audit, moderation"
)


TOGETHER = ("contract", "crash")
"""Folders whose tests share processes, and so run in one test process each."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folder = item.path.parent.name
        if folder in TOGETHER:
            item.add_marker(pytest.mark.xdist_group(folder))


def apart(settings: Settings, postgres: PrivatePostgres, name: str, redis_number: int) -> Settings:
    """The settings with an empty, migrated database of that name and a Redis database of its own.

    For tests with processes that live longer than one test: those look after everything they find.
    """
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    url = f"{postgres.url.rpartition('/')[0]}/{name}"
    redis_url = f"{settings.require_redis_url().rpartition('/')[0]}/{redis_number}"
    chosen = replace(settings, database_url=url, redis_url=redis_url)
    command.upgrade(alembic_config(chosen.require_database_url()), "head")
    return chosen


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivatePostgres]:
    """A PostgreSQL whose data need not survive; its database `fluxfarm` is migrated once."""
    tuning = {"fsync": "off", "full_page_writes": "off"}
    with PrivatePostgres(tmp_path_factory.mktemp("postgres"), tuning=tuning) as server:
        command.upgrade(alembic_config(server.url.replace("postgresql://", "postgresql+psycopg://")), "head")
        yield server


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateValkey]:
    with PrivateValkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="session")
def settings(postgres: PrivatePostgres, valkey: PrivateValkey, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(
        database_url=postgres.url,
        redis_url=valkey.url,
        data_dir=tmp_path_factory.mktemp("data"),
        weights=(("flux-dev", "flux-tiny"),),
        enlarge_stand_ins=False,
        lease_seconds=3.0,
        sweep_seconds=0.2,
        idle_look_seconds=0.2,
    )


@pytest.fixture(scope="session")
def shared_database(settings: Settings) -> Iterator[Database]:
    database = Database(settings.require_database_url(), pool_size=50)
    yield database
    database.close()


@pytest.fixture
def database(shared_database: Database, settings: Settings) -> Database:
    """The migrated database, empty."""
    with psycopg.connect(str(settings.database_url), autocommit=True) as connection:
        connection.execute(f"TRUNCATE {TABLES} CASCADE")
    return shared_database


@pytest.fixture
def clean_redis(settings: Settings) -> None:
    client = redis_client(settings)
    client.flushall()
    client.close()


@pytest.fixture
def flux_dev(settings: Settings) -> Model:
    return load_catalog(settings).model("flux-dev")


@pytest.fixture
def new_caller(database: Database) -> Callable[..., Caller]:
    """Make a tenant's key; without a name, of a tenant of its own."""

    def make(tenant: str | None = None, *, weight: float = 1.0, **limits: int) -> Caller:
        with database.session_scope() as session:
            name = tenant or f"tenant-{uuid.uuid4()}"
            tenants.ensure(session, name, by="test")
            session.execute(text("UPDATE tenants SET weight = :w WHERE name = :n"), {"w": weight, "n": name})
            issued = keys.issue(session, tenant=name, settings=limits, by="test")
        with database.session_scope() as session:
            return keys.authenticate(session, issued.key)

    return make


@pytest.fixture
def caller(new_caller: Callable[..., Caller]) -> Caller:
    return new_caller(creates_per_minute=1_000_000, max_active=1_000_000)
