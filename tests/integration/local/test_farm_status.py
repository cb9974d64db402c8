"""What `fluxfarm status` is told: machines, workers that fell silent, queues and their speed."""

import uuid
from collections.abc import Callable

import pytest
from sqlalchemy import text

from fluxfarm import farm_status, upkeep
from fluxfarm.catalog import Model
from fluxfarm.database import Database
from fluxfarm.keys import Caller
from fluxfarm.upkeep import WorkerIdentity
from tests.farm import create

OUTPUT = text("""
INSERT INTO outputs (prediction_id, position, object_key, media_type, bytes, sha256, width, height, render_width,
    render_height, seed, steps, device_microseconds, safety)
SELECT id, n, 'key', 'image/png', 1, 'x', 1000, 1000, 1000, 1000, 1, 10, 5000000, 'unchecked'
FROM predictions, generate_series(0, 1) n
""")
DONE = text("""
UPDATE predictions SET status = 'succeeded', attempt = 1, completed_at = clock_timestamp() - :age * interval '1 min'
WHERE id = :id
""")


def test_machines_are_listed_with_those_that_fell_silent(database: Database) -> None:
    with database.session_scope() as session:
        for host, device in (("two", "cpu"), ("one", "cuda:1"), ("one", "cuda:0")):
            upkeep.sign_of_life(session, WorkerIdentity(uuid.uuid4(), "flux-dev", "1", host, 7, device))
        session.execute(text("UPDATE workers SET seen_at = seen_at - interval '40 s' WHERE host = 'two'"))
        found = farm_status.workers(session)
    assert [(each.host, each.device, each.live) for each in found] == [
        ("one", "cuda:0", True),
        ("one", "cuda:1", True),
        ("two", "cpu", False),
    ]
    assert 40 <= found[2].silent_seconds < 45


def test_a_queue_shows_what_waits_and_how_fast_it_goes(
    database: Database, new_caller: Callable[..., Caller], flux_dev: Model
) -> None:
    caller = new_caller()
    done = [create(database, caller, flux_dev) for _ in range(3)]
    with database.session_scope() as session:
        session.execute(OUTPUT)
        for prediction, age in zip(done, (1, 9, 11), strict=True):
            session.execute(DONE, {"id": prediction, "age": age})
        upkeep.measure(session, flux_dev)
    for _ in range(2):
        create(database, caller, flux_dev)
    with database.session_scope() as session:
        (queue,) = farm_status.queues(session)
    assert (queue.model, queue.queued, queue.processing) == ("flux-dev", 2, 0)
    assert queue.pictures_per_minute == 0.4
    assert queue.at_least is False
    # In each of ten steps, a million pixels and the words.
    assert queue.microseconds_per_megapixel_step == pytest.approx(5e6 / 10 * 1e6 / (1e6 + flux_dev.word_pixels))


def test_a_model_with_a_worker_and_no_past_is_shown_too(database: Database) -> None:
    with database.session_scope() as session:
        upkeep.sign_of_life(session, WorkerIdentity(uuid.uuid4(), "new", "1", "one", 7, "cpu"))
        (queue,) = farm_status.queues(session)
    assert (queue.model, queue.queued, queue.microseconds_per_megapixel_step) == ("new", 0, None)
