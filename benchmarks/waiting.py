"""`python -m benchmarks.waiting`: what one API process costs that holds many long polls, and how soon they hear.

Beside it the same clients without them: each asks once a second, as clients of such services do. The statements that
the process makes while nothing happens are counted by PostgreSQL. `--waiters` makes it smaller.
"""

import argparse
import dataclasses
import http.client
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from alembic import command

from benchmarks import machine, noop
from benchmarks.rows import ENDLESS, request
from benchmarks.servers import GUNICORN, ROOT, Servers, wait_until
from benchmarks.waiters import Measured, Order
from fluxfarm import admission, keys, lifecycle, tenants
from fluxfarm.admission import Rules
from fluxfarm.announce import Announcer
from fluxfarm.catalog import load_catalog
from fluxfarm.cli.migrate import alembic_config
from fluxfarm.database import Database
from fluxfarm.keys import Caller
from fluxfarm.local.server import free_port
from fluxfarm.queue import redis_client
from fluxfarm.settings import Settings

WAIT_SECONDS = 60
AT_WORK = """
SELECT count(*) FROM pg_stat_activity
WHERE application_name = 'fluxfarm api' AND state_change > clock_timestamp() - interval '1 second'
"""
STATEMENTS = "SELECT sum(xact_commit + xact_rollback) FROM pg_stat_database WHERE datname = 'waiting'"
COUNTED_WITHIN_SECONDS = 12.0
"""So long a connection that idles may keep to itself what it did last: ten seconds, and then some."""
PING_PAUSE_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Plan:
    waiters: int
    quiet_seconds: float
    singles: int
    """Predictions that end one after the other."""
    burst: int
    """Predictions that end at the same instant."""
    compared_seconds: float
    """For so long polls are compared, while a tenth of the predictions end, at an even pace."""


class Farm:
    """One API process over servers of its own, and a key that is never refused."""

    def __init__(self, servers: Servers, plan: Plan) -> None:
        made = dataclasses.replace(servers.settings(), api_workers=1, max_waits=ENDLESS)
        self.settings = _with_database(servers, made, "waiting")
        self.port = free_port()
        words = (*GUNICORN, "api.wsgi:app", "--bind", f"127.0.0.1:{self.port}")
        servers.start("waiting-api", *words, settings=self.settings)
        wait_until(self._answers)
        (self.process,) = machine.children(servers.processes["waiting-api"])
        self._announcer = Announcer(redis_client(self.settings))
        self._database = Database(self.settings.require_database_url(), pool_size=1, tell=self._announcer.tell)
        self._caller, self.key = self._new_caller()
        self._admin = self.settings.require_database_url().replace("+psycopg", "").rpartition("/")[0] + "/postgres"
        self.predictions = [self._create() for _ in range(2 * plan.waiters)]
        self._ask("ANALYZE", self.settings.require_database_url().replace("+psycopg", ""))

    def end(self, predictions: Sequence[str]) -> float:
        """End these, in one transaction; when it had committed."""
        with self._database.session_scope() as session:
            for each in predictions:
                lifecycle.cancel(session, uuid.UUID(each), self._caller.tenant_id)
        return time.monotonic()

    def settle(self) -> None:
        """Until it has looked at all that it was asked for."""
        wait_until(lambda: bool(self._ask(AT_WORK, self._admin)))
        wait_until(lambda: not self._ask(AT_WORK, self._admin))

    def statements(self) -> int:
        """How many PostgreSQL has counted."""
        time.sleep(COUNTED_WITHIN_SECONDS)
        return self._ask(STATEMENTS, self._admin)

    def _ask(self, statement: LiteralString, url: str) -> int:
        with psycopg.connect(url, autocommit=True) as connection:
            found = connection.execute(statement)
            return int(found.fetchall()[0][0]) if found.description else 0

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def ping(self) -> bytes:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request("GET", "/healthz")
            return connection.getresponse().read()

    def close(self) -> None:
        self._database.close()

    def _answers(self) -> bool:
        try:
            return bool(self.ping())
        except OSError:
            return False

    def _new_caller(self) -> tuple[Caller, str]:
        limits = {"creates_per_minute": ENDLESS, "reads_per_minute": ENDLESS, "max_active": ENDLESS}
        with self._database.session_scope() as session:
            tenants.ensure(session, "waiting", by="benchmark")
            issued = keys.issue(session, tenant="waiting", settings={"name": "benchmark", **limits}, by="benchmark")
        with self._database.session_scope() as session:
            return keys.authenticate(session, issued.key), issued.key

    def _create(self) -> str:
        asked = request(self._caller, load_catalog(self.settings).model(noop.SLUG))
        with self._database.session_scope() as session:
            admission.admit(session, asked, Rules(max_queued=ENDLESS))
        return str(asked.id)


def _with_database(servers: Servers, settings: Settings, name: str) -> Settings:
    with servers.sql() as connection:
        # What it does is counted as statements of that database, too.
        connection.execute("ALTER SYSTEM SET autovacuum = off")
        connection.execute("SELECT pg_reload_conf()")
    url = servers.new_database(name).require_database_url()
    made = dataclasses.replace(settings, database_url=url.replace("+psycopg", ""))
    command.upgrade(alembic_config(made.require_database_url()), "head")
    return made


@contextmanager
def waiters(farm: Farm, predictions: Sequence[str], *, wait: int, pause: float = 0.0) -> Iterator[Measured]:
    """Clients for as long as the block runs; what they measured is there after it."""
    order = Order(farm.port, (f"X-API-Key: {farm.key}",), tuple(predictions), wait, pause)
    child = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.waiters"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(json.dumps(asdict(order)) + "\n")
    child.stdin.flush()
    assert child.stdout.readline() == "ready\n", "the clients could not connect"
    found = Measured()
    yield found
    child.stdin.write("stop\n")
    child.stdin.flush()
    told = json.loads(child.stdout.readline())
    child.wait()
    found.requests, found.errors, found.ended = told["requests"], told["errors"], told["ended"]


def measure(farm: Farm, plan: Plan) -> dict[str, Any]:
    held, polled = farm.predictions[: plan.waiters], farm.predictions[plan.waiters :]
    before = machine.rss_mb(farm.process)
    quiet, rest = held[: plan.singles + plan.burst], held[plan.singles + plan.burst :]
    with waiters(farm, held, wait=WAIT_SECONDS) as heard:
        found = {"rss_before_mb": before, **_quietness(farm, plan)}
        ended = _singles(farm, quiet[: plan.singles])
        together = farm.end(quiet[plan.singles :])
        time.sleep(5)
    late = [(heard.ended[each] - at) * 1000 for each, at in ended.items() if each in heard.ended]
    last = [(heard.ended[each] - together) * 1000 for each in quiet[plan.singles :] if each in heard.ended]
    found |= {"wake_p50_ms": _cut(late, 50), "wake_p99_ms": _cut(late, 99), "burst_last_ms": round(max(last), 1)}
    found |= {"heard": len(late) + len(last), "of": len(quiet), "errors": heard.errors}
    costs = {
        "long_polls": _cost(farm, plan, rest, wait=WAIT_SECONDS),
        "polls_each_second": _cost(farm, plan, polled[: len(rest)], wait=0, pause=1.0),
    }
    for name in ("requests", "cpu_seconds"):
        polls, long = costs["polls_each_second"][name], costs["long_polls"][name]
        found[f"{name}_ratio"] = round(polls / max(long, 0.001), 1)
    return {**found, **costs}


def _quietness(farm: Farm, plan: Plan) -> dict[str, Any]:
    """What the process costs while nothing happens."""
    farm.settle()
    statements, cpu, began = farm.statements(), farm.cpu_seconds(), time.monotonic()
    pings = []
    while time.monotonic() < began + plan.quiet_seconds:
        asked = time.perf_counter()
        farm.ping()
        pings.append((time.perf_counter() - asked) * 1000)
        time.sleep(PING_PAUSE_SECONDS)
    cpu = (farm.cpu_seconds() - cpu) / (time.monotonic() - began)
    made = farm.statements() - statements
    return {
        "rss_mb": machine.rss_mb(farm.process),
        "statements_per_second": round(made / (time.monotonic() - began), 2),
        "cpu_percent": round(100 * cpu, 1),
        "ping_p50_ms": _cut(pings, 50),
        "ping_p99_ms": _cut(pings, 99),
    }


def _singles(farm: Farm, predictions: Sequence[str]) -> dict[str, float]:
    ended = {}
    for each in predictions:
        ended[each] = farm.end([each])
        time.sleep(PING_PAUSE_SECONDS)
    return ended


def _cost(farm: Farm, plan: Plan, predictions: Sequence[str], *, wait: int, pause: float = 0.0) -> dict[str, float]:
    """Requests and CPU-seconds per prediction that ended while all were waited for."""
    ending = predictions[: max(1, len(predictions) // 10)]
    with waiters(farm, predictions, wait=wait, pause=pause) as heard:
        if wait:
            farm.settle()
        cpu = farm.cpu_seconds()
        ended = threading.Thread(target=_end_evenly, args=(farm, ending, plan.compared_seconds))
        ended.start()
        ended.join()
        time.sleep(2)
        cpu = farm.cpu_seconds() - cpu
    heard_of = max(1, len(heard.ended))
    return {
        "requests": round(heard.requests / heard_of, 2),
        "cpu_seconds": round(cpu / heard_of, 5),
        "ended": len(heard.ended),
        "errors": heard.errors,
    }


def _end_evenly(farm: Farm, predictions: Sequence[str], seconds: float) -> None:
    began = time.monotonic()
    for place, each in enumerate(predictions):
        time.sleep(max(0.0, began + place * seconds / len(predictions) - time.monotonic()))
        farm.end([each])


def _cut(values: list[float], percent: int) -> float:
    return round(statistics.quantiles(values, n=100)[percent - 1], 2)


AIMS = {
    "rss_mb": 150,
    "statements_per_second": 1,
    "ping_p99_ms": 10,
    "wake_p99_ms": 50,
    "burst_last_ms": 1000,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.waiting", description=__doc__)
    parser.add_argument("--waiters", type=int, default=2000, help="held long polls (%(default)s)")
    parser.add_argument("--quiet-seconds", type=float, default=20.0, help="during which nothing happens (%(default)s)")
    parser.add_argument("--seconds", type=float, default=60.0, help="during which polls are compared (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was measured")
    parser.add_argument("--directory", type=Path, help="where the servers keep their files meanwhile")
    asked = parser.parse_args()
    few = asked.waiters // 10
    plan = Plan(asked.waiters, asked.quiet_seconds, min(200, few), min(200, few), asked.seconds)
    files = 2 * asked.waiters + 1000
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, max(files, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
    with tempfile.TemporaryDirectory(prefix="fluxfarm-waiting-", dir=asked.directory) as directory:
        described = machine.describe(Path(directory))
        with Servers(Path(directory)) as servers:
            farm = Farm(servers, plan)
            found = {"machine": described, "plan": asdict(plan), **measure(farm, plan)}
            farm.close()
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=2) + "\n")
    for name, value in found.items():
        if name not in ("machine", "plan"):
            aim = f"   aim: at most {AIMS[name]}" if name in AIMS else ""
            print(f"{name:24} {value}{aim}")


if __name__ == "__main__":
    main()
