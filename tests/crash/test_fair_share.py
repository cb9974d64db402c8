"""Fairness from end to end: a real worker, a tenant with a thousand predictions in the queue, and one with one."""

from sqlalchemy import text

from tests.crash.conftest import Farm, new_caller
from tests.farm import create
from tests.processes import wait_until

QUEUED = 1000
BETWEEN = text("""
SELECT count(*) FROM predictions heavy, predictions light
WHERE light.id = :light AND heavy.model = light.model AND heavy.id <> light.id
  AND heavy.started_at BETWEEN light.created_at AND light.started_at
""")
DONE = text("SELECT count(*) FROM predictions WHERE model = :model AND status = 'succeeded'")


def test_a_light_tenant_waits_for_about_one_job_of_the_worker(farm: Farm) -> None:
    slug = farm.new_model()
    model, light = farm.catalog.model(slug), new_caller(farm.database, "light")
    for _ in range(QUEUED):
        farm.create(slug, "fast")
    worker = farm.ready_worker(slug)

    def done() -> int:
        with farm.database.session_scope() as session:
            return int(session.execute(DONE, {"model": slug}).scalar_one())

    wait_until(lambda: done() > 10)
    prediction = create(farm.database, light, model, prompt="fast")
    farm.wait_for(prediction, "succeeded")
    worker.end()
    with farm.database.session_scope() as session:
        # One that was being claimed as it came, and one that goes before it.
        assert session.execute(BETWEEN, {"light": prediction}).scalar_one() <= 2
    assert done() < QUEUED
