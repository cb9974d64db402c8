"""SIGTERM: what a stopping worker holds is finished or handed back, and it ends in time."""

import dataclasses
import signal
import time
import uuid
from collections.abc import Callable

import pytest

from fluxfarm.queue import TokenQueue
from tests.crash.conftest import Farm
from tests.farm import tokens_waiting
from tests.processes import Process, wait_until

STOP_SECONDS = 1.5
"""As the farm's settings have it."""
SLACK_SECONDS = 10.0


def stop(worker: Process) -> float:
    """Ask it to end; how long that took."""
    asked = time.monotonic()
    worker.signal(signal.SIGTERM)
    assert worker.ended() == 0, worker.log.read_text()
    return time.monotonic() - asked


Begin = Callable[[Farm, str, str], tuple[Process, uuid.UUID]]


def begun_by_token(farm: Farm, slug: str, name: str) -> tuple[Process, uuid.UUID]:
    """A worker whose main thread renders."""
    worker = farm.ready_worker(slug, idle_look_seconds="600")
    prediction = farm.create(slug, f"slow {name}")
    assert farm.tokens.put(slug)
    farm.wait_for_event(name, "picture 0")
    return worker, prediction


def begun_by_idle_look(farm: Farm, slug: str, name: str) -> tuple[Process, uuid.UUID]:
    """A worker whose idle thread renders, while a token's task waits for the device."""
    # A database of its own in Redis: the maintenance loop puts no token there.
    redis_url = farm.settings.require_redis_url().rpartition("/")[0] + "/5"
    worker = farm.ready_worker(slug, redis_url=redis_url)
    prediction = farm.create(slug, f"slow {name}")
    farm.wait_for_event(name, "picture 0")
    settings = dataclasses.replace(farm.settings, redis_url=redis_url)
    assert TokenQueue(settings).put(slug)
    wait_until(lambda: tokens_waiting(settings, slug) == 0)
    return worker, prediction


@pytest.mark.parametrize("begun", [begun_by_token, begun_by_idle_look])
def test_a_render_that_ends_soon_is_finished(farm: Farm, begun: Begin) -> None:
    name = f"finished-{begun.__name__}"
    worker, prediction = begun(farm, farm.new_model(), name)
    worker.signal(signal.SIGTERM)
    farm.open_gate(name)
    assert worker.ended() == 0
    row = farm.row(prediction)
    assert (row.status, row.attempt, row.lost) == ("succeeded", 1, 0)
    farm.assert_ended_once(prediction)


@pytest.mark.parametrize("begun", [begun_by_token, begun_by_idle_look])
def test_a_render_that_goes_on_is_handed_back_in_time(farm: Farm, begun: Begin) -> None:
    name = f"handed-{begun.__name__}"
    worker, prediction = begun(farm, farm.new_model(), name)
    assert STOP_SECONDS < stop(worker) < STOP_SECONDS + SLACK_SECONDS
    row = farm.row(prediction)
    assert (row.status, row.attempt, row.lost) == ("queued", 1, 0)
    assert farm.stored(prediction) == set()
    farm.cancel(prediction)


def test_an_idle_worker_stops_at_once(farm: Farm) -> None:
    assert stop(farm.ready_worker(farm.new_model())) < SLACK_SECONDS


def test_a_fetch_under_way_is_handed_back(farm: Farm) -> None:
    slug = farm.new_model()
    worker = farm.ready_worker(slug, fetch_allow="127.0.0.0/8")
    with farm.silent_server() as url:
        prediction = farm.create(slug, "fast", image=url)
        farm.wait_for(prediction, "processing")
        assert stop(worker) < SLACK_SECONDS
    row = farm.row(prediction)
    assert (row.status, row.lost, row.needs_fetch) == ("queued", 0, True)
    farm.cancel(prediction)


def test_maintenance_stops_at_once(farm: Farm) -> None:
    process = farm.processes.start("worker.maintenance", sweep_seconds="60")
    process.wait_for("maintenance begins")
    assert stop(process) < SLACK_SECONDS
