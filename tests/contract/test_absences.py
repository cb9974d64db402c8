"""What the API does without Redis, without PostgreSQL, and what it does not need at all."""

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from fluxfarm.database import Database
from fluxfarm.settings import Settings
from tests.api import ROOT, Client, Description, environment, serving
from tests.contract.conftest import NewClient
from tests.contract.played import PlayedWorker, picture
from tests.servers import free_port

UNKNOWN = "/v1/prediction/00000000-0000-0000-0000-000000000000"


@pytest.fixture(scope="module")
def without_redis(farm: Settings, logs: Path) -> Iterator[str]:
    settings = dataclasses.replace(farm, redis_url=f"redis://127.0.0.1:{free_port()}/0", api_workers=1)
    with serving(settings, logs) as api:
        yield api.url


@pytest.fixture(scope="module")
def without_postgres(farm: Settings, logs: Path) -> Iterator[str]:
    url = f"postgresql://fluxfarm:secret@127.0.0.1:{free_port()}/fluxfarm"
    with serving(dataclasses.replace(farm, database_url=url, api_workers=1), logs) as api:
        yield api.url


def test_ready_and_alive(stranger: Client, database: Database) -> None:
    assert stranger.get("/healthz").json() == {"status": "ok"}
    answer = stranger.get("/readyz").json()
    assert answer["parts"] == {"postgres": "ok", "schema": "ok", "redis": "ok"}
    assert answer["status"] == ("ok" if answer["workers"] else "degraded")


def test_ready_with_a_worker(stranger: Client, worker: None) -> None:
    answer = stranger.get("/readyz").json()
    assert (answer["status"], answer["workers"]) == ("ok", {"flux-dev": 1})


def test_a_schema_that_is_behind_is_noticed(stranger: Client, database: Database) -> None:
    with database.session_scope() as session:
        head = session.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
        session.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    try:
        response = stranger.get("/readyz")
    finally:
        with database.session_scope() as session:
            session.execute(text("UPDATE alembic_version SET version_num = :head"), {"head": head})
    assert response.status_code == 503
    assert "fluxfarm migrate" in response.json()["parts"]["schema"]


def test_without_redis_predictions_are_taken_and_told_of(
    without_redis: str, client: Client, database: Database, farm: Settings
) -> None:
    with Client(without_redis, client.described, client.key) as alone:
        ready = alone.get("/readyz")
        assert (ready.status_code, ready.json()["status"], ready.json()["parts"]["redis"]) == (200, "degraded", "away")
        started = time.monotonic()
        prediction = alone.create("unserved")
        assert time.monotonic() - started < 2
        assert alone.look(prediction)["status"] == "starting"
        played = PlayedWorker(database, farm)
        played.succeed(played.claim(), picture())
        assert alone.get(alone.look(prediction)["output"]).content == picture()


def test_without_redis_limits_still_hold(without_redis: str, new_client: NewClient, described: Description) -> None:
    client = new_client(creates_per_minute=2, reads_per_minute=3)
    with Client(without_redis, described, client.key) as alone:
        assert [alone.try_create("unserved").status_code for _ in range(3)] == [200, 200, 429]
        assert [alone.get(UNKNOWN).status_code for _ in range(4)] == [404, 404, 404, 429]


def test_without_postgres_it_says_so(without_postgres: str, described: Description) -> None:
    key = "flx_000000000000_0000000000000000000000000000000000000000000_0uE9Kt"
    with Client(without_postgres, described, _checked(key)) as alone:
        for response in (alone.try_create("unserved"), alone.get(UNKNOWN), alone.ask("POST", UNKNOWN + "/cancel")):
            assert (response.status_code, response.json()["code"]) == (503, "unavailable")
            assert int(response.headers["Retry-After"]) >= 1
        ready = alone.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (503, "unavailable")
        assert ready.json()["parts"] == {"postgres": "away", "schema": "unknown", "redis": "ok"}
        assert alone.get("/healthz").status_code == 200
        assert alone.get("/v1/models").status_code == 200
        assert alone.get("/docs").status_code == 200


def _checked(key: str) -> str:
    """The key with the checksum that a key of ours has."""
    body = key.rpartition("_")[0]
    code = "import sys; from fluxfarm.credentials import _check; print(_check(sys.argv[1]))"
    return f"{body}_{subprocess.check_output([sys.executable, '-c', code, body], cwd=ROOT, text=True).strip()}"


def test_the_api_loads_neither_torch_nor_boto3(farm: Settings) -> None:
    code = (
        "from gevent import monkey; monkey.patch_all()\n"
        "import json, os, sys\n"
        "from api.app import create_app\n"
        "from fluxfarm.settings import Settings\n"
        "create_app(Settings.from_environment(os.environ)).test_client().get('/docs')\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    told = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, env=environment(farm), text=True)
    loaded = {name.partition(".")[0] for name in json.loads(told)}
    assert "flask" in loaded
    assert not loaded & {"torch", "diffusers", "transformers", "numpy", "boto3", "botocore", "worker"}
