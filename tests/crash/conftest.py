"""A farm of villains: real workers over the private servers, and a maintenance loop that sweeps often.

Nothing is emptied between these tests, since workers live on; each test has models of its own.
"""

import dataclasses
import io
import json
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import text

from fluxfarm import admission, keys, lifecycle, lookup, tenants
from fluxfarm.admission import Rules
from fluxfarm.catalog import Catalog, load_catalog
from fluxfarm.database import Database
from fluxfarm.errors import Busy
from fluxfarm.keys import Caller
from fluxfarm.local.postgres import PrivatePostgres
from fluxfarm.queue import TokenQueue
from fluxfarm.settings import Settings
from fluxfarm.storage import LocalStore, input_key, open_store, prediction_prefix
from tests.conftest import apart
from tests.farm import create, request
from tests.processes import Process, Processes, catalogue, wait_until
from worker.maintenance import Maintenance, Stopping, loop

SLUGS = [f"villain-{n}" for n in range(40)]


@dataclass
class Farm:
    settings: Settings
    database: Database
    catalog: Catalog
    caller: Caller
    tokens: TokenQueue
    store: LocalStore
    processes: Processes
    villains: Path
    unused: list[str]

    def new_model(self) -> str:
        """A model that no other test uses."""
        return self.unused.pop()

    def create(self, slug: str, prompt: str, **sent: Any) -> uuid.UUID:
        """Admit a prediction, without a token."""
        return create(self.database, self.caller, self.catalog.model(slug), prompt=prompt, **sent)

    def create_with_picture(self, slug: str, prompt: str, store: LocalStore) -> uuid.UUID:
        """Admit a prediction whose picture was sent as data and lies in `store`."""
        picture = io.BytesIO()
        Image.new("RGB", (64, 64)).save(picture, "PNG")
        key = input_key(self.caller.tenant_id, uuid.uuid4(), "png")
        store.put(key, picture.getvalue(), "image/png")
        asked = request(self.caller, self.catalog.model(slug), prompt=prompt)
        plan = dataclasses.replace(asked.plan, picture_keys={"image": key})
        with self.database.session_scope() as session:
            admission.admit(session, dataclasses.replace(asked, plan=plan), Rules(max_queued=1_000_000))
        return asked.id

    def ready_worker(self, slug: str, **settings: str) -> Process:
        worker = self.processes.worker(slug, **settings)
        worker.wait_for("worker ready")
        return worker

    def row(self, prediction: uuid.UUID) -> Any:
        with self.database.session_scope() as session:
            return session.execute(
                text("SELECT p.*, r.error_code FROM predictions p LEFT JOIN prediction_results r"
                     " ON r.prediction_id = p.id WHERE p.id = :id"), {"id": prediction}
            ).one()  # fmt: skip

    def wait_for(self, prediction: uuid.UUID, status: str) -> Any:
        """The row, once it has that status."""
        wait_until(lambda: self.row(prediction).status == status, what=lambda: str(self.row(prediction)))
        return self.row(prediction)

    def outputs(self, prediction: uuid.UUID) -> set[str]:
        with self.database.session_scope() as session:
            return lookup.object_keys(session, prediction)

    def stored(self, prediction: uuid.UUID) -> set[str]:
        """What lies in the store for a prediction, recorded or not."""
        return set(self.store.keys(prediction_prefix(self.caller.tenant_id, prediction)))

    def live_workers(self) -> dict[str, int]:
        with self.database.session_scope() as session:
            return lookup.live_workers(session)

    def cancel(self, prediction: uuid.UUID) -> bool:
        with self.database.session_scope() as session:
            return lifecycle.cancel(session, prediction, self.caller.tenant_id)

    def expire_lease(self, prediction: uuid.UUID) -> None:
        """Let time pass for a lease that nobody renews, once who was stopped amid a renewal is cut off."""

        def expired() -> bool:
            with suppress(Busy), self.database.session_scope() as session:
                session.execute(
                    text("UPDATE leases SET expires_at = clock_timestamp() - interval '1 s' WHERE prediction_id = :id"),
                    {"id": prediction},
                )
                return True
            return False

        wait_until(expired)

    def lease_expiry(self, prediction: uuid.UUID) -> float:
        """When its lease would run out, by the database's clock; 0 without one."""
        with self.database.session_scope() as session:
            found = session.execute(
                text("SELECT extract(epoch FROM expires_at)::float FROM leases WHERE prediction_id = :id"),
                {"id": prediction},
            ).scalar_one_or_none()
        return found or 0.0

    @contextmanager
    def silent_server(self) -> Iterator[str]:
        """The URL of a picture on a server that takes connections and never answers."""
        with socket.create_server(("127.0.0.1", 0)) as silent:
            yield f"http://127.0.0.1:{silent.getsockname()[1]}/picture.png"

    def open_gate(self, name: str, pictures: int = 1, *, first: int = 0) -> None:
        for index in range(first, first + pictures):
            (self.villains / f"{name}-{index}").touch()

    def events(self, name: str) -> list[str]:
        file = self.villains / "events"
        lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        return [line["event"] for line in lines if line["name"] == name]

    def wait_for_event(self, name: str, event: str, times: int = 1) -> None:
        wait_until(lambda: self.events(name).count(event) >= times, what=lambda: str(self.events(name)))

    def assert_ended_once(self, prediction: uuid.UUID, pictures: int = 1) -> None:
        """One set of outputs, every one of them stored by the attempt that the row names, and no slot left taken."""
        row, outputs = self.row(prediction), self.outputs(prediction)
        assert row.status == "succeeded"
        assert len(outputs) == pictures
        assert all(f"/{row.attempt}-{row.claim_id}/" in key for key in outputs)
        assert outputs <= self.stored(prediction)
        with self.database.session_scope() as session:
            assert lookup.slot_drift(session) == []


@pytest.fixture(scope="session")
def settings(settings: Settings, postgres: PrivatePostgres) -> Settings:
    return apart(settings, postgres, "crash", 4)


@pytest.fixture(scope="session")
def shared_database(settings: Settings) -> Iterator[Database]:
    database = Database(settings.require_database_url(), pool_size=50)
    yield database
    database.close()


@pytest.fixture(scope="session")
def farm(settings: Settings, shared_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    directory = tmp_path_factory.mktemp("crash")
    settings = dataclasses.replace(
        settings,
        data_dir=directory / "data",
        catalog=catalogue(directory / "catalog.toml", [*SLUGS, "broken"], broken=["broken"]),
        models=(*SLUGS, "broken", "flux-dev"),
        lease_seconds=2.0,
        step_limit_seconds=1.0,
        stop_seconds=1.5,
    )
    environment = {
        "VILLAINS": str(directory),
        "FLUXFARM_DATABASE_URL": str(settings.database_url),
        "FLUXFARM_REDIS_URL": settings.require_redis_url(),
        "FLUXFARM_DATA_DIR": str(settings.data_dir),
        "FLUXFARM_CATALOG": str(settings.catalog),
        "FLUXFARM_MODELS": ",".join(settings.models),
        "FLUXFARM_WEIGHTS": "flux-dev=flux-tiny",
        "FLUXFARM_ENLARGE_STAND_INS": "false",
        "FLUXFARM_LEASE_SECONDS": "2",
        "FLUXFARM_IDLE_LOOK_SECONDS": "0.2",
        "FLUXFARM_STEP_LIMIT_SECONDS": "1",
        "FLUXFARM_STOP_SECONDS": "1.5",
    }
    store = open_store(settings)
    assert isinstance(store, LocalStore)
    with Processes(directory, environment) as processes:
        caller = new_caller(shared_database, "crash")
        catalog, tokens = load_catalog(settings), TokenQueue(settings)
        farm = Farm(settings, shared_database, catalog, caller, tokens, store, processes, directory, SLUGS[:])
        maintenance = Maintenance(
            database=shared_database, tokens=tokens, store=store, catalog=catalog, settings=settings
        )
        stopping = Stopping()
        sweeper = threading.Thread(
            target=loop, args=(maintenance,), kwargs={"pause_seconds": 0.05, "stopping": stopping}
        )
        sweeper.start()
        try:
            yield farm
        finally:
            stopping.asked = True
            sweeper.join()


@pytest.fixture(scope="session")
def shared(farm: Farm) -> tuple[str, Process]:
    """A model and a worker for tests that leave it well."""
    slug = farm.new_model()
    return slug, farm.ready_worker(slug)


def new_caller(database: Database, tenant: str) -> Caller:
    with database.session_scope() as session:
        tenants.ensure(session, tenant, by="test")
        limits = {"creates_per_minute": 1_000_000, "max_active": 1_000_000}
        issued = keys.issue(session, tenant=tenant, settings=limits, by="test")
    with database.session_scope() as session:
        return keys.authenticate(session, issued.key)
