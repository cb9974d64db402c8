"""`python -m benchmarks.pinned`: what a claim costs while a transaction elsewhere keeps dead rows from being removed.

Processes claim, complete and create for a minute, by fluxfarm's own functions, beside a million predictions that ended
and ten thousand that wait; then for another minute while somebody's snapshot is held. Every commit waits for the disk.
"""

import argparse
import multiprocessing
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg

from benchmarks import noop
from benchmarks.rows import ENDLESS, LEASE_SECONDS, Cost, fill, new_caller, request
from benchmarks.servers import Servers
from fluxfarm import admission, lifecycle
from fluxfarm.admission import Rules
from fluxfarm.catalog import load_catalog
from fluxfarm.database import Database
from fluxfarm.lifecycle import Claimed
from fluxfarm.outcomes import Safety, StoredOutput
from fluxfarm.settings import Settings

HISTORY = 1_000_000
QUEUED = 10_000
WORKERS = 4
DEAD = """
SELECT pg_relation_size('predictions_queue') / 1024 AS kb, (
    SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'predictions'
) AS dead
"""


class Worker:
    """Claims, completes and creates, so that as many wait after as before."""

    def __init__(self, settings: Settings) -> None:
        self._model = load_catalog(settings).model(noop.SLUG)
        self._database = Database(settings.require_database_url(), pool_size=1)
        self._id = uuid.uuid4()
        self._caller = new_caller(self._database, f"worker-{self._id}")

    def turns(self, seconds: float) -> list[float]:
        """Milliseconds of each claim, its commit included."""
        taken, until = [], time.monotonic() + seconds
        while time.monotonic() < until:
            began = time.perf_counter()
            held = self._claim()
            taken.append((time.perf_counter() - began) * 1000)
            with self._database.session_scope() as session:
                lifecycle.complete(session, held, [_output(held)], device_microseconds=1000)
            with self._database.session_scope() as session:
                admission.admit(session, request(self._caller, self._model), Rules(max_queued=ENDLESS))
        return taken

    def _claim(self) -> Claimed:
        with self._database.statement_scope() as statements:
            held = lifecycle.claim(
                statements,
                model=self._model.slug,
                version=self._model.version,
                worker_id=self._id,
                lease_seconds=LEASE_SECONDS,
            )
        assert held is not None
        return held


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pinned", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each part (%(default)s)")
    parser.add_argument("--directory", type=Path, help="where the server keeps its files meanwhile")
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="fluxfarm-pinned-", dir=asked.directory) as directory,
        Servers(Path(directory), tuning={"max_wal_size": "4GB"}) as servers,
    ):
        well = measure(servers.new_database("pinned"), asked.seconds)
    sys.exit(0 if well else 1)


def measure(settings: Settings, seconds: float) -> bool:
    """Print both minutes; whether the aims hold."""
    database = Database(settings.require_database_url(), pool_size=1)
    fill(settings, database, load_catalog(settings).model(noop.SLUG), QUEUED, history=HISTORY)
    database.close()
    url = settings.require_database_url().replace("+psycopg", "")
    with ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("spawn")) as workers:
        free = _claims(workers, settings, seconds)
        print(f"claims, {WORKERS} workers: {free[0]} ms, {free[1]:.0f}/s; {_dead(url)}", flush=True)
        with _snapshot(url):
            held = _claims(workers, settings, seconds)
            print(f"while a snapshot is held: {held[0]} ms, {held[1]:.0f}/s; {_dead(url)}", flush=True)
    print(f"p50 with a snapshot held, to p50 without: {held[0].p50 / free[0].p50:.2f} x")
    return free[0].p99 <= 25 and held[0].p50 <= 3 * free[0].p50


def _claims(workers: ProcessPoolExecutor, settings: Settings, seconds: float) -> tuple[Cost, float]:
    parts = list(workers.map(_turns, [settings] * WORKERS, [seconds] * WORKERS))
    return Cost.of([each for part in parts for each in part]), sum(map(len, parts)) / seconds


def _turns(settings: Settings, seconds: float) -> list[float]:
    return Worker(settings).turns(seconds)


@contextmanager
def _snapshot(url: str) -> Iterator[None]:
    """Somebody reads for a long time: nothing that dies meanwhile can be removed."""
    with psycopg.connect(url) as connection:
        connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SELECT count(*) FROM tenants")
        yield


def _dead(url: str) -> str:
    with psycopg.connect(url) as connection:
        kb, dead = connection.execute(DEAD).fetchone() or (0, 0)
    return f"queue index {kb} kB, dead rows {dead}"


def _output(held: Claimed) -> StoredOutput:
    return StoredOutput(
        position=0,
        object_key=f"{held.id}/0.webp",
        media_type="image/webp",
        bytes=1,
        sha256="0" * 64,
        width=16,
        height=16,
        render_width=16,
        render_height=16,
        crop=None,
        seed=0,
        steps=1,
        device_microseconds=1000,
        safety=Safety.UNCHECKED,
        safety_score=None,
    )


if __name__ == "__main__":
    main()
