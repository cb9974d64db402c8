"""No transaction is held over rendering, storage or HTTP: while one of them takes long, the database sees none."""

import base64
import dataclasses
import io
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from sqlalchemy import text

from benchmarks.chaos.proxy import Link, Net, Weather
from fluxfarm import keys
from fluxfarm.database import Database
from tests.api import Client, Description, serving
from tests.crash.conftest import Farm
from tests.processes import wait_until
from tests.servers import rclone_s3

LOOKS = 12
PAUSE_SECONDS = 0.05

# The test's own maintenance loop and look-ups bear a plain name.
OPEN = text("""
SELECT pid, xact_start FROM pg_stat_activity
WHERE datname = current_database() AND application_name IN ('fluxfarm api', 'fluxfarm worker', 'fluxfarm lease')
  AND xact_start IS NOT NULL
""")


def transactions_held(database: Database) -> set[tuple[object, object]]:
    """Those that were open at each of several looks."""
    held: set[tuple[object, object]] | None = None
    for _ in range(LOOKS):
        with database.session_scope() as session:
            seen = {(row.pid, row.xact_start) for row in session.execute(OPEN)}
        held = seen if held is None else held & seen
        time.sleep(PAUSE_SECONDS)
    return held or set()


def test_none_is_held_over_a_render(farm: Farm) -> None:
    slug = farm.new_model()
    worker = farm.ready_worker(slug)
    prediction = farm.create(slug, "slow long-render")
    farm.wait_for_event("long-render", "picture 0")
    assert transactions_held(farm.database) == set()
    farm.open_gate("long-render")
    farm.wait_for(prediction, "succeeded")
    worker.end()


def test_none_is_held_over_a_fetch(farm: Farm) -> None:
    slug = farm.new_model()
    worker = farm.ready_worker(slug, fetch_allow="127.0.0.0/8", fetch_limit_seconds="60")
    with farm.silent_server() as url:
        prediction = farm.create(slug, "fast", image=url)
        farm.wait_for(prediction, "processing")
        assert transactions_held(farm.database) == set()
        assert farm.cancel(prediction)
        farm.wait_for(prediction, "cancelled")
    worker.end()


@pytest.fixture
def mute_store(tmp_path: Path) -> Iterator[tuple[Link, dict[str, str]]]:
    """The link to an S3 server, and the settings of who is to reach it by that link."""
    with rclone_s3(tmp_path) as server, Net() as net:
        link = net.link("store", int(server.endpoint.rpartition(":")[2]))
        given = {name.removeprefix("FLUXFARM_").lower(): value for name, value in server.environment().items()}
        yield link, {**given, "s3_endpoint_url": f"http://127.0.0.1:{link.port}"}
        link.clear()


def test_none_is_held_over_the_store(farm: Farm, mute_store: tuple[Link, dict[str, str]]) -> None:
    slug = farm.new_model()
    link, given = mute_store
    worker = farm.ready_worker(slug, **given, store_limit_seconds="60")
    link.change(Weather(mute=True))
    prediction = farm.create(slug, "fast")
    wait_until(lambda: link.suffered.held_bytes)
    assert transactions_held(farm.database) == set()
    link.clear()
    farm.wait_for(prediction, "succeeded")
    worker.end()


def test_the_api_holds_none_over_the_store(farm: Farm, mute_store: tuple[Link, dict[str, str]], tmp_path: Path) -> None:
    link, given = mute_store
    settings = dataclasses.replace(farm.settings, **given, api_workers=1)
    with farm.database.session_scope() as session:
        key = keys.issue(session, tenant="crash", settings={}, by="test").key
    picture = io.BytesIO()
    Image.new("RGB", (64, 64)).save(picture, "PNG")
    sent = "data:image/png;base64," + base64.b64encode(picture.getvalue()).decode()
    with serving(settings, tmp_path) as api, Client(api.url, Description.of(api.url), key) as client:
        link.change(Weather(mute=True))
        created: list[str] = []
        slug = farm.new_model()
        asking = threading.Thread(target=lambda: created.append(client.create(slug, image=sent)))
        asking.start()
        wait_until(lambda: link.suffered.held_bytes)
        assert transactions_held(farm.database) == set()
        link.clear()
        asking.join()
        assert farm.cancel(uuid.UUID(created[0]))
