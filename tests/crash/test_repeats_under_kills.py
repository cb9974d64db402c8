"""Creates that are sent again and again while the API is killed: one prediction each."""

import pytest
from sqlalchemy import text

from benchmarks.chaos.retries import Orders, send
from benchmarks.chaos.slots import Slot, Supervisor
from fluxfarm import keys
from fluxfarm.local.server import free_port
from tests.crash.conftest import Farm

CREATES = 60


@pytest.mark.timeout(600)
def test_creates_sent_three_times_while_the_api_is_killed_are_made_once(farm: Farm) -> None:
    slug, port = farm.new_model(), free_port()
    with farm.database.session_scope() as session:
        limits = {"creates_per_minute": 1_000_000, "max_active": 1_000_000}
        issued = keys.issue(session, tenant="crash", settings=limits, by="test")
    words = (
        "gunicorn",
        "-c",
        "python:api.gunicorn_conf",
        "api.wsgi:app",
        "--log-level",
        "info",
        "--bind",
        f"127.0.0.1:{port}",
    )
    api = Slot("api", words, {}, farm.processes, "Listening at")
    api.start()
    try:
        with Supervisor(lambda: [api]):
            api.wait_ready()
            told = send(Orders(port, issued.key, slug, CREATES, every=40), api.kill)
    finally:
        api.down()
    with farm.database.session_scope() as session:
        made = session.scalars(text("SELECT id::text FROM predictions WHERE model = :slug"), {"slug": slug}).all()
    assert told.kills == 4
    assert told.answers["200"] == 3 * CREATES
    assert told.answers["broken"] > 0
    assert told.doubled == 0
    assert len(told.ids) == len(made) == CREATES
    assert {each for ids in told.ids.values() for each in ids} == set(made)
