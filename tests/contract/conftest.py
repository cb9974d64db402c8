"""One API, one worker and one maintenance process for all contract tests of a session."""

import dataclasses
import ipaddress
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

from fluxfarm import keys, lookup, tenants
from fluxfarm.announce import Announcer
from fluxfarm.database import Database
from fluxfarm.keys import DEFAULT_SCOPES, IssuedKey
from fluxfarm.local.postgres import PrivatePostgres
from fluxfarm.queue import redis_client
from fluxfarm.settings import Settings
from tests.api import Api, Client, Description, running, serving, until
from tests.conftest import TABLES, apart
from tests.contract.played import Telling

PROXY = "127.0.0.9"
"""The one address whose X-Forwarded-* headers are believed."""

MAX_QUEUED = 12

UNSERVED = """
[models.unserved]
title = "FLUX.1 [dev] without a worker"
description = "What is asked of it stays in the queue"
release = "1.0"
pipeline = "worker.pipelines.flux"
weights = "flux-tiny"
licence = "none"
licence_url = "https://example.com/licence"
steps = { minimum = 1, maximum = 50, default = 28 }
guidance = { minimum = 0, maximum = 10, default = 4.5 }
max_sequence_length = 512
pixel_step_microseconds = 15
"""

NewClient = Callable[..., Client]


@pytest.fixture(scope="session")
def settings(settings: Settings, postgres: PrivatePostgres) -> Settings:
    return apart(settings, postgres, "contract", 2)


@pytest.fixture(scope="session")
def shared_database(settings: Settings) -> Iterator[Database]:
    database = Database(settings.require_database_url(), pool_size=50)
    yield database
    database.close()


@pytest.fixture(scope="session")
def farm(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The settings of the session's processes: a model with a worker, and one that has none."""
    catalog = tmp_path_factory.mktemp("catalog") / "catalog.toml"
    catalog.write_text(UNSERVED)
    return dataclasses.replace(
        settings,
        catalog=catalog,
        models=("flux-dev", "unserved"),
        max_queued=MAX_QUEUED,
        trusted_proxies=(ipaddress.ip_network(PROXY),),
    )


@pytest.fixture
def database(shared_database: Database, settings: Settings) -> Database:
    """The migrated database, emptied while a worker looks into it."""
    with psycopg.connect(str(settings.database_url), autocommit=True) as connection:
        connection.execute("SET lock_timeout = '100ms'")

        def emptied() -> bool:
            try:
                connection.execute(f"TRUNCATE {TABLES} CASCADE")
            except psycopg.errors.LockNotAvailable:
                return False
            return True

        until(emptied, lambda: "somebody keeps the tables locked")
    return shared_database


@pytest.fixture(scope="session")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="session")
def api(farm: Settings, logs: Path, started_worker: None) -> Iterator[Api]:
    """The worker loads meanwhile."""
    with serving(farm, logs) as served:
        yield served


@pytest.fixture(scope="session")
def described(api: Api) -> Description:
    return Description.of(api.url)


@pytest.fixture(scope="session")
def started_worker(farm: Settings, logs: Path) -> Iterator[None]:
    with (
        running("worker", "--model", "flux-dev", settings=farm, log=logs / "worker.log"),
        running("worker.maintenance", settings=farm, log=logs / "maintenance.log"),
    ):
        yield


@pytest.fixture
def worker(started_worker: None, database: Database, logs: Path) -> None:
    """A live worker of flux-dev, which has said so since the tables were emptied."""

    def lives() -> bool:
        with database.session_scope() as session:
            return bool(lookup.live_workers(session))

    until(lives, lambda: (logs / "worker.log").read_text()[-2000:])


@pytest.fixture(autouse=True)
def _fresh_limits(settings: Settings) -> None:
    """Forget what other tests did from this address; the broker's own keys stay."""
    client = redis_client(settings)
    for name in client.scan_iter("fluxfarm:rate:*"):
        client.delete(name)
    client.close()


@pytest.fixture
def new_key(database: Database) -> Callable[..., IssuedKey]:
    """Issue a key; without a tenant's name, of a tenant of its own."""

    def issue(tenant: str | None = None, scopes: tuple[str, ...] = DEFAULT_SCOPES, **limits: int) -> IssuedKey:
        with database.session_scope() as session:
            count = session.execute(text("SELECT count(*) FROM tenants")).scalar_one()
            name = tenant or f"tenant {count}"
            tenants.ensure(session, name, by="test")
            return keys.issue(session, tenant=name, settings={"scopes": list(scopes), **limits}, by="test")

    return issue


@pytest.fixture
def new_client(api: Api, described: Description, new_key: Callable[..., IssuedKey]) -> Iterator[NewClient]:
    """Make a client with a key of its own."""
    made: list[Client] = []

    def make(tenant: str | None = None, scopes: tuple[str, ...] = DEFAULT_SCOPES, **limits: int) -> Client:
        made.append(Client(api.url, described, new_key(tenant, scopes, **limits).key))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(new_client: NewClient) -> Client:
    return new_client(creates_per_minute=1000, reads_per_minute=100_000, max_active=1000)


@pytest.fixture
def stranger(api: Api, described: Description) -> Iterator[Client]:
    """A client without a key."""
    with Client(api.url, described) as unknown:
        yield unknown


@pytest.fixture
def announcer(settings: Settings) -> Iterator[Announcer]:
    with Announcer(redis_client(settings)) as made:
        yield made


@pytest.fixture
def telling(database: Database, farm: Settings, announcer: Announcer) -> Iterator[Telling]:
    """A worker played by the test, of whose doings those who wait hear."""
    told = Database(farm.require_database_url(), pool_size=1, tell=announcer.tell)
    yield Telling(told, farm, announcer)
    told.close()
