"""The farm for chaos: private servers, an S3 server, the API, workers and maintenance, each link through a proxy."""

import dataclasses
import json
import os
import signal
import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import redis
import requests
from alembic import command

from benchmarks.chaos import swarm
from benchmarks.chaos.proxy import Link, Net
from benchmarks.chaos.slots import Slot, Supervisor
from benchmarks.chaos.swarm import Orders
from benchmarks.chaos.witness import Witness
from fluxfarm import keys, tenants
from fluxfarm.cli.migrate import alembic_config
from fluxfarm.database import Database
from fluxfarm.local.postgres import PrivatePostgres
from fluxfarm.local.server import free_port
from fluxfarm.local.valkey import PrivateValkey
from fluxfarm.queue import queue_name, redis_client
from fluxfarm.settings import Settings
from tests.processes import ROOT, Process, Processes, catalogue, wait_until
from tests.servers import S3Server, rclone_s3

MODEL = "villain"
PATIENCE_SECONDS = 20.0
SERIOUS = ("warning", "error", "critical")
CLOCK = Path(__file__).parent / "clock"
ENDLESS = 1_000_000_000
NARROW = 10
"""Most active predictions of the one key that has a limit to keep."""
CONNECTIONS = 80
"""Most connections that PostgreSQL takes: few enough to be taken up."""
API = ("gunicorn", "-c", "python:api.gunicorn_conf", "api.wsgi:app", "--log-level", "info", "--bind")


@dataclass(frozen=True, slots=True)
class Size:
    """How large a farm, and how soon it loses patience; every bound scales with the lease."""

    workers: int = 3
    api_workers: int = 2
    lease_seconds: float = 3.0
    durable: bool = True
    """Whether PostgreSQL waits for the disk."""

    @property
    def step_limit_seconds(self) -> float:
        """Longer than a pause that outlives a lease, so that who wakes from it is a zombie and not a corpse."""
        return 2 * self.lease_seconds


class Farm:
    """As a context manager it runs for as long as the block does; `clients` is the link that clients come by."""

    postgres: PrivatePostgres
    valkey: PrivateValkey
    store: S3Server
    witness: Witness
    api: Slot
    maintenance: Slot
    workers: list[Slot]
    clients: Link
    keys: tuple[str, ...]

    def __init__(self, directory: Path, size: Size) -> None:
        self.directory = directory
        self.size = size
        self.net = Net()
        self.extra: list[Slot] = []
        self._names = 0
        self._log_lock = threading.Lock()
        self.client_log = directory / "clients.jsonl"

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._start_servers(stack)
            self._prepare_database()
            self._start_slots()
            stack.enter_context(Supervisor(lambda: self.slots))
            for slot in self.slots:
                slot.wait_ready()
            self.clients = self.net.link("clients>api", self.api_port)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def slots(self) -> list[Slot]:
        return [self.api, self.maintenance, *self.workers, *self.extra]

    @property
    def objects(self) -> Path:
        """Where the S3 server keeps what it is given."""
        return self.directory / "s3" / self.store.bucket

    @property
    def redis(self) -> redis.Redis:
        """A client past all proxies, for one or two questions."""
        return redis_client(dataclasses.replace(self.settings))

    @property
    def settings(self) -> Settings:
        return Settings(database_url=self.postgres.url, redis_url=self.valkey.url)

    @property
    def queue(self) -> str:
        return queue_name(MODEL)

    def events(self) -> list[dict[str, Any]]:
        """What the villains did."""
        file = self.directory / "events"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def start_swarm(self, *, seed: int, enough: int = 0, clients: int = 8) -> Process:
        orders = Orders(
            port=self.clients.port,
            model=MODEL,
            keys=self.keys,
            log=str(self.client_log),
            seed=seed,
            enough=enough,
            clients=clients,
        )
        swarm.write_orders(self.directory / "orders.json", orders)
        return self.processes.start("benchmarks.chaos.swarm", str(self.directory / "orders.json"))

    def new_name(self) -> str:
        self._names += 1
        return f"fault-{self._names}"

    def tell(self, event: str, **fields: Any) -> None:
        """Note what a fault asked of the API, in the clients' log."""
        line = json.dumps({"at": time.time(), "event": event, **fields}) + "\n"
        with self._log_lock, self.client_log.open("a") as log:
            log.write(line)

    def create(self, manner: str) -> tuple[str, uuid.UUID]:
        """Have a prediction made through the API; the name in its prompt, and its id."""
        name = self.new_name()
        self.tell("create", name=name)
        with requests.post(
            f"http://127.0.0.1:{self.clients.port}/v1/prediction",
            json=self.body(manner, name),
            headers={"X-API-Key": self.keys[0]},
            timeout=PATIENCE_SECONDS,
        ) as answer:
            if answer.status_code != 200:
                retry_after = answer.headers.get("Retry-After")
                self.tell("refused", name=name, status=answer.status_code, retry_after=retry_after)
                raise RuntimeError(f"a create was refused: {answer.text}")
            created = uuid.UUID(answer.json()["predictionID"])
        self.tell("created", name=name, id=str(created), status=200)
        return name, created

    def body(self, manner: str, name: str) -> dict[str, Any]:
        return {"model": MODEL, "input": {"prompt": f"{manner} {name}", "num_inference_steps": 2}}

    def send_create_and_leave(self, name: str) -> None:
        """A client that is gone before it could be answered."""
        body = json.dumps(self.body("works", name)).encode()
        head = (
            f"POST /v1/prediction HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {self.keys[0]}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self.tell("create", name=name)
        with socket.create_connection(("127.0.0.1", self.api_port), timeout=5) as connection:
            connection.sendall(head.encode() + body)
        self.tell("unknown", name=name, error="left")

    def has_row(self, name: str) -> bool:
        statement = "SELECT 1 FROM prediction_inputs WHERE input ->> 'prompt' LIKE %s"
        return bool(self.witness.ask(statement, [f"% {name}"]))

    def ready(self) -> bool:
        """Whether the API says that it can take predictions."""
        try:
            with requests.get(f"http://127.0.0.1:{self.api_port}/readyz", timeout=3) as answer:
                return answer.status_code == 200
        except requests.RequestException:
            return False

    def predictions_named(self, names: set[str]) -> list[uuid.UUID]:
        statement = "SELECT prediction_id FROM prediction_inputs WHERE split_part(input ->> 'prompt', ' ', 2) = ANY(%s)"
        return [row.prediction_id for row in self.witness.ask(statement, [sorted(names)])]

    def said_by_workers(self, event: str) -> int:
        """How often those that there are said so."""
        return sum(line["event"] == event for slot in self.workers for line in slot.process.lines())

    def said(self) -> dict[str, int]:
        """Warnings and worse in the logs of all processes, and how often."""
        lines = [line for slot in self.slots for process in slot.all for line in process.lines()]
        found = Counter(f"{line['level']}: {line['event']}" for line in lines if line.get("level") in SERIOUS)
        return dict(found.most_common())

    def wrong_clock(self, seconds: float) -> dict[str, str]:
        """Variables with which a process has a clock that is wrong by so much."""
        return {"PYTHONPATH": f"{CLOCK}{os.pathsep}{ROOT}", "CHAOS_CLOCK": str(seconds)}

    def restart_api_processes(self) -> None:
        """Have gunicorn replace its workers by new ones."""
        old = self.api.children
        for pid in old:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: len(set(self.api.children) - set(old)) >= self.size.api_workers)
        wait_until(self.alive)

    def alive(self) -> bool:
        try:
            with requests.get(f"http://127.0.0.1:{self.api_port}/healthz", timeout=3) as answer:
                return answer.status_code == 200
        except requests.RequestException:
            return False

    def another_worker(self, name: str, environment: Mapping[str, str] | None = None) -> Slot:
        """A worker beside the others that nobody looks after."""
        slot = self._worker(name)
        slot.environment = environment or {}
        self.extra.append(slot)
        slot.start()
        slot.wanted = False
        return slot

    def another_maintenance(self) -> Slot:
        slot = self._slot("maintenance", ("worker.maintenance",), "maintenance begins")
        self.extra.append(slot)
        slot.start()
        return slot

    def _start_servers(self, stack: ExitStack) -> None:
        tuning = {"max_connections": str(CONNECTIONS)}
        if not self.size.durable:
            tuning |= {"fsync": "off", "full_page_writes": "off"}
        stack.enter_context(self.net)
        self.postgres = stack.enter_context(PrivatePostgres(self.directory / "postgres", tuning=tuning))
        self.valkey = stack.enter_context(PrivateValkey(self.directory / "valkey"))
        self.store = stack.enter_context(rclone_s3(self.directory / "s3"))
        self.witness = Witness(self.postgres.url)
        stack.callback(self.witness.close)
        self.processes = stack.enter_context(Processes(self.directory, self._environment()))

    def _environment(self) -> dict[str, str]:
        lease = self.size.lease_seconds
        settings = {
            "data_dir": self.directory / "data",
            "catalog": catalogue(self.directory / "catalog.toml", [MODEL]),
            "models": MODEL,
            "enlarge_stand_ins": "false",
            "api_workers": self.size.api_workers,
            "max_queued": ENDLESS,
            "lease_seconds": lease,
            "sweep_seconds": lease / 15,
            "idle_look_seconds": lease / 15,
            "step_limit_seconds": self.size.step_limit_seconds,
            "store_limit_seconds": lease,
            "stop_seconds": lease / 2,
        }
        told = {f"FLUXFARM_{name.upper()}": str(value) for name, value in settings.items()}
        return {**told, **self.store.environment(), "VILLAINS": str(self.directory), "OMP_NUM_THREADS": "1"}

    def _prepare_database(self) -> None:
        url = self.settings.require_database_url()
        command.upgrade(alembic_config(url), "head")
        self.witness.install()
        database = Database(url, pool_size=1)
        with database.session_scope() as session:
            self.keys = tuple(
                self._new_key(session, f"tenant-{n}", max_active=NARROW if n == 0 else ENDLESS) for n in range(4)
            )
        database.close()
        # Faults ask with a key that has no limit in their way.
        self.keys = (*self.keys[1:], self.keys[0])

    def _new_key(self, session: Any, tenant: str, *, max_active: int) -> str:
        limits = {"creates_per_minute": ENDLESS, "reads_per_minute": ENDLESS, "max_active": max_active}
        tenants.ensure(session, tenant, by="test")
        return keys.issue(session, tenant=tenant, settings=limits, by="test").key

    def _start_slots(self) -> None:
        self.api_port = free_port()
        self.api = self._slot("api", (*API, f"127.0.0.1:{self.api_port}"), "Listening at")
        self.maintenance = self._slot("maintenance", ("worker.maintenance",), "maintenance begins")
        self.workers = [self._worker(f"worker-{n}") for n in range(1, self.size.workers + 1)]
        for slot in self.slots:
            slot.start()

    def _worker(self, name: str) -> Slot:
        return self._slot(name, ("worker", "--model", MODEL), "worker ready")

    def _slot(self, name: str, words: tuple[str, ...], ready: str) -> Slot:
        links = {part: self._link(name, part) for part in ("postgres", "redis", "store")}
        settings = {
            "database_url": _through(self.postgres.url, links["postgres"]),
            "redis_url": _through(self.valkey.url, links["redis"]),
            "s3_endpoint_url": _through(self.store.endpoint, links["store"]),
        }
        return Slot(name, words, settings, self.processes, ready)

    def _link(self, name: str, part: str) -> Link:
        """Who bears the same name shares the link."""
        ports = {"postgres": self.postgres.port, "redis": self.valkey.port, "store": self._store_port}
        known = self.net.links.get(f"{name}>{part}")
        return known or self.net.link(f"{name}>{part}", ports[part])

    @property
    def _store_port(self) -> int:
        return urlsplit(self.store.endpoint).port or 0


def _through(url: str, link: Link) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.replace(f":{parts.port}", f":{link.port}")).geturl()
