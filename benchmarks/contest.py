"""The two services under the same loads, in turns, so that the ratios hold even on a busy machine."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks import machine
from benchmarks import servers as started
from benchmarks.client import Load
from benchmarks.noop import SLUG
from benchmarks.servers import ROOT, Servers, Service

INPUT = {"prompt": "nothing at all", "width": 256, "height": 256, "num_inference_steps": 1, "output_format": "jpg"}
CLIENTS = 16
MOST_READ = 96
"""So many different predictions are read in turn."""
WARM_SECONDS = 0.5
IDLE_SECONDS = 3.0
STATISTICS_SECONDS = 11.0
"""PostgreSQL's processes tell what they did at the latest after ten idle seconds."""

EMPTY = (
    "TRUNCATE predictions CASCADE",
    "TRUNCATE fair_tags",
    "UPDATE api_keys SET active = 0",
    "UPDATE tenants SET active = 0",
)
WRITES = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
TRANSACTIONS = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
ACTIVE = "SELECT sum(active)::int FROM tenants"


@dataclass(frozen=True, slots=True)
class Extent:
    """How long and how often is measured."""

    rounds: int
    seconds: float
    jobs: int
    transactions: bool
    """Count those that only read, too; takes two times `STATISTICS_SECONDS`."""


class Contest:
    def __init__(self, servers: Servers, extent: Extent, tell: Callable[[str], None]) -> None:
        self._servers = servers
        self._extent = extent
        self._tell = tell
        self._services = (started.start_bare(servers), started.start_fluxfarm(servers))

    def measure(self) -> dict[str, Any]:
        """Everything, as JSON; rates and times of both, and their ratios."""
        return {**self._without_workers(), **self._with_workers()}

    def _without_workers(self) -> dict[str, Any]:
        """What the web side does alone, with the cores to itself."""
        self._tell("reads of a prediction that waits")
        waiting = self._rates("read", {each.name: self._ids(each, seconds=WARM_SECONDS) for each in self._services})
        self._tell("creates")
        return {"reads_waiting": waiting, "creates": self._rates("create")}

    def _with_workers(self) -> dict[str, Any]:
        self._empty()
        started.start_bare_worker(self._servers)
        started.start_fluxfarm_worker(self._servers)
        self._tell("reads of a prediction that has ended")
        ended = {each.name: self._ended(each) for each in self._services}
        found: dict[str, Any] = {"reads_ended": self._rates("read", ended)}
        self._tell("create to result, one client, durable commits")
        found["result_1_durable"] = self._times(1)
        self._servers.synchronous_commit("off")
        self._tell("create to result, synchronous_commit off")
        found |= {"result_1": self._times(1), "result_16": self._times(CLIENTS)}
        self._servers.synchronous_commit("on")
        self._tell("jobs")
        found["jobs"] = self._jobs()
        self._tell("commits per job")
        return {**found, **self._commits(), "rss_mb": self._memory()}

    def _rates(self, kind: str, targets: dict[str, list[str]] | None = None) -> dict[str, Any]:
        """Calls per second."""

        def rate(service: Service) -> float:
            asked = targets[service.name][:MOST_READ] if targets else []
            load = self._load(service, kind, CLIENTS, seconds=self._extent.seconds, targets=asked)
            measured = ask(load)
            return len(measured["latencies"]) / float(measured["seconds"])

        return _compared(self._in_turns(rate))

    def _jobs(self) -> dict[str, Any]:
        """Jobs per second from the first create to the last result."""

        def rate(service: Service) -> float:
            measured = ask(self._load(service, "burst", CLIENTS, count=self._extent.jobs))
            return len(measured["ids"]) / float(measured["seconds"])

        return _compared(self._in_turns(rate))

    def _times(self, clients: int) -> dict[str, Any]:
        """Milliseconds from sending the create to having read the result."""

        def latencies(service: Service) -> list[float]:
            load = self._load(service, "cycle", clients, seconds=self._extent.seconds)
            return [1000 * each for each in ask(load)["latencies"]]

        rounds = self._in_turns(latencies)
        pooled = {name: [each for one in told for each in one] for name, told in rounds.items()}
        medians = {name: [statistics.median(one) for one in told] for name, told in rounds.items()}
        return {
            **{name: {"p50": _cut(each, 50), "p99": _cut(each, 99), "n": len(each)} for name, each in pooled.items()},
            "ratio": _compared(medians)["ratio"],
        }

    def _commits(self) -> dict[str, Any]:
        """What PostgreSQL has to do for a job that nobody asks after."""
        service = self._services[1]
        with self._servers.sql() as connection:

            def number(statement: str) -> int:
                row = connection.execute(statement).fetchone()
                assert row is not None
                return int(row[0])

            # Signs of life and the like go on beside the jobs.
            idle = STATISTICS_SECONDS if self._extent.transactions else IDLE_SECONDS
            before = number(WRITES)
            time.sleep(idle)
            transactions, writes, began = number(TRANSACTIONS), number(WRITES), time.monotonic()
            jobs = len(self._ids(service, seconds=self._extent.seconds))
            while number(ACTIVE):
                time.sleep(0.1)
            of_others = (writes - before) / idle * (time.monotonic() - began)
            written = number(WRITES) - writes - of_others
            if self._extent.transactions:
                time.sleep(STATISTICS_SECONDS)
            every = number(TRANSACTIONS) - transactions
        return {
            "commits_per_job": round(written / jobs, 2),
            "transactions_per_job": round(every / jobs, 2) if self._extent.transactions else None,
        }

    def _memory(self) -> dict[str, list[float | None]]:
        """Resident megabytes of each kind of process: fluxfarm's, the bare service's."""

        def api(name: str) -> tuple[float, float]:
            pid = self._servers.processes[name]
            return machine.rss_mb(pid), max(machine.rss_mb(each) for each in machine.children(pid))

        of_farm, of_bare = api("fluxfarm-api"), api("bare-api")
        alone = {name: machine.rss_mb(pid) for name, pid in self._servers.processes.items()}
        return {
            "gunicorn's parent": [of_farm[0], of_bare[0]],
            "API": [of_farm[1], of_bare[1]],
            "worker without a model": [alone["fluxfarm-worker"], alone["bare-worker"]],
            "maintenance": [alone["fluxfarm-maintenance"], None],
        }

    def _ended(self, service: Service) -> list[str]:
        return list(ask(self._load(service, "burst", CLIENTS, count=MOST_READ))["ids"])

    def _ids(self, service: Service, *, seconds: float) -> list[str]:
        return list(ask(self._load(service, "create", 1, seconds=seconds))["ids"])

    def _in_turns(self, once: Callable[[Service], Any]) -> dict[str, list[Any]]:
        """What each service gave in each round; they take turns in going first."""
        found: dict[str, list[Any]] = {service.name: [] for service in self._services}
        for turn in range(self._extent.rounds):
            for service in self._services if turn % 2 else reversed(self._services):
                found[service.name].append(once(service))
        return found

    def _empty(self) -> None:
        with self._servers.sql() as connection:
            for statement in EMPTY:
                connection.execute(statement)
        self._servers.empty_redis()

    def _load(self, service: Service, kind: str, clients: int, **more: Any) -> Load:
        body = {"model": SLUG, "input": INPUT}
        return Load(kind, service.port, service.headers, body, connections=clients, **more)


def ask(load: Load) -> dict[str, Any]:
    """Run a load in a process of its own."""
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.client"],
        cwd=ROOT,
        input=json.dumps(asdict(load)),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def _compared(rounds: dict[str, list[float]]) -> dict[str, Any]:
    """The medians, and the median of the ratios within each round."""
    ratios = [ours / theirs for ours, theirs in zip(rounds["fluxfarm"], rounds["bare"], strict=True)]
    medians = {name: round(statistics.median(told), 2) for name, told in rounds.items()}
    return {**medians, "ratio": round(statistics.median(ratios), 3), "rounds": rounds}


def _cut(times: list[float], percent: int) -> float:
    return round(statistics.quantiles(times, n=100)[percent - 1], 2)
