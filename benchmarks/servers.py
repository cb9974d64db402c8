"""The two services as real processes over one private PostgreSQL and one private Valkey."""

import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psycopg
from alembic import command

from benchmarks import noop
from fluxfarm import keys, tenants
from fluxfarm.cli.migrate import alembic_config
from fluxfarm.database import Database
from fluxfarm.local.guardian import Guardian
from fluxfarm.local.postgres import PrivatePostgres
from fluxfarm.local.server import free_port, signal_group
from fluxfarm.local.spawn import spawn
from fluxfarm.local.valkey import PrivateValkey
from fluxfarm.queue import redis_client
from fluxfarm.settings import PREFIX, Settings

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_SECONDS = 30.0
ENDLESS = 100_000_000
"""A limit that is checked and never met."""
API_PROCESSES = 2

GUNICORN = ("gunicorn", "-c", "python:api.gunicorn_conf")
BARE_WORKER = (
    *("celery", "--app", "benchmarks.bare.tasks", "--quiet", "worker", "--queues=bare", "--pool=solo"),
    *("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=warning"),
)


@dataclass(frozen=True, slots=True)
class Service:
    """One of the two, as a client sees it."""

    name: str
    port: int
    headers: tuple[str, ...]


class Servers:
    """As a context manager it starts both servers and ends whatever was started; `tuning` is PostgreSQL's."""

    def __init__(self, directory: Path, *, tuning: Mapping[str, str] | None = None) -> None:
        self.directory = directory
        self._postgres = PrivatePostgres(directory, tuning=tuning)
        self._valkey = PrivateValkey(directory)
        self._guardian = Guardian()
        self.processes: dict[str, int] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for each in (self._guardian, self._postgres, self._valkey):
                stack.enter_context(each)
            self._stack = stack.pop_all()
        (self.directory / "catalogue.toml").write_text(noop.CATALOGUE)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def settings(self) -> Settings:
        return Settings(
            database_url=self._postgres.url,
            redis_url=self._valkey.url,
            data_dir=self.directory / "data",
            catalog=self.directory / "catalogue.toml",
            models=(noop.SLUG,),
            api_workers=API_PROCESSES,
            max_queued=ENDLESS,
            enlarge_stand_ins=False,
        )

    def new_database(self, name: str) -> Settings:
        """The settings with a database of its own, migrated and empty."""
        with self.sql() as connection:
            connection.execute(f"CREATE DATABASE {name}")
        url = self._postgres.url.rpartition("/")[0] + f"/{name}"
        settings = dataclasses.replace(self.settings(), database_url=url)
        command.upgrade(alembic_config(settings.require_database_url()), "head")
        return settings

    @contextmanager
    def sql(self) -> Iterator[psycopg.Connection]:
        with psycopg.connect(self._postgres.url, autocommit=True) as connection:
            yield connection

    def synchronous_commit(self, value: str) -> None:
        with self.sql() as connection:
            connection.execute(f"ALTER SYSTEM SET synchronous_commit = {value}")
            connection.execute("SELECT pg_reload_conf()")

    def empty_redis(self) -> None:
        client = redis_client(self.settings())
        client.flushall()
        client.close()

    def start(self, name: str, *words: str, settings: Settings) -> Path:
        """`python -m words…` for as long as the servers run; its log."""
        log = self.directory / f"{name}.log"
        with log.open("ab") as output:
            child = spawn(
                [sys.executable, "-m", *words],
                environment=_environment(settings),
                stop_signal=signal.SIGTERM,
                guardian=self._guardian,
                output=output,
            )
        self.processes[name] = child.pid
        self._stack.callback(self._end, child)
        return log

    def _end(self, child: subprocess.Popen[bytes]) -> None:
        signal_group(child.pid, signal.SIGTERM)
        try:
            child.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            signal_group(child.pid, signal.SIGKILL)
            child.wait()
        self._guardian.forget(child.pid)


def start_fluxfarm(servers: Servers) -> Service:
    """The API and the maintenance process, and a key whose limits are checked and never met."""
    settings = servers.settings()
    command.upgrade(alembic_config(settings.require_database_url()), "head")
    port = free_port()
    servers.start("fluxfarm-api", *GUNICORN, "api.wsgi:app", "--bind", f"127.0.0.1:{port}", settings=settings)
    servers.start("fluxfarm-maintenance", "worker.maintenance", settings=settings)
    _wait_for_port(port)
    return Service("fluxfarm", port, (f"X-API-Key: {_new_key(settings)}",))


def start_fluxfarm_worker(servers: Servers) -> None:
    log = servers.start("fluxfarm-worker", "worker", "--model", noop.SLUG, settings=servers.settings())
    wait_until(lambda: "worker ready" in log.read_text())


def start_bare(servers: Servers) -> Service:
    port = free_port()
    words = (*GUNICORN, "benchmarks.bare.service:app", "--bind", f"127.0.0.1:{port}")
    servers.start("bare-api", *words, settings=_bare_settings(servers))
    _wait_for_port(port)
    return Service("bare", port, ())


def start_bare_worker(servers: Servers) -> None:
    servers.start("bare-worker", *BARE_WORKER, settings=_bare_settings(servers))


def wait_until(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not check():
        if time.monotonic() > deadline:
            raise TimeoutError("a process did not get ready; its log tells why")
        time.sleep(0.02)


def _bare_settings(servers: Servers) -> Settings:
    """Redis under another number, so that neither meets the other's keys."""
    settings = servers.settings()
    return dataclasses.replace(settings, redis_url=settings.require_redis_url().removesuffix("/0") + "/1")


def _new_key(settings: Settings) -> str:
    limits = {"creates_per_minute": ENDLESS, "reads_per_minute": ENDLESS, "max_active": ENDLESS}
    database = Database(settings.require_database_url(), pool_size=1)
    with database.session_scope() as session:
        tenants.ensure(session, "bench", by="test")
        issued = keys.issue(session, tenant="bench", settings=limits, by="benchmark")
    database.close()
    return issued.key


def _environment(settings: Settings) -> Mapping[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith((PREFIX, "PG"))}
    told = {
        "DATABASE_URL": settings.require_database_url(),
        "REDIS_URL": settings.require_redis_url(),
        "DATA_DIR": str(settings.data_dir),
        "CATALOG": str(settings.catalog or ""),
        "WEIGHTS": ",".join(f"{model}={weights}" for model, weights in settings.weights),
        "MODELS": ",".join(settings.models),
        "API_WORKERS": str(settings.api_workers),
        "MAX_QUEUED": str(settings.max_queued),
        "MAX_WAITS": str(settings.max_waits),
        "ENLARGE_STAND_INS": str(settings.enlarge_stand_ins),
    }
    return {**kept, **{PREFIX + name: value for name, value in told.items()}, "PYTHONPATH": str(ROOT)}


def _wait_for_port(port: int) -> None:
    def open_() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_until(open_)
