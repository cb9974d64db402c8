"""Several models on one device, and several workers of which one has no weights."""

import json

from tests.crash.conftest import Farm
from tests.processes import wait_until


def test_models_of_one_process_take_turns(farm: Farm) -> None:
    one, other = farm.new_model(), farm.new_model()
    worker = farm.processes.start("worker", "--model", one, "--model", other)
    wait_until(lambda: sum("worker ready" in line["event"] for line in worker.lines()) == 2)
    blocker = farm.create(one, "slow turns")
    farm.wait_for_event("turns", "picture 0")
    behind = [farm.create(one, "fast") for _ in range(3)]
    late = farm.create(other, "fast")
    farm.open_gate("turns")
    rows = [farm.wait_for(each, "succeeded") for each in (blocker, *behind, late)]
    assert rows[-1].started_at < rows[2].started_at
    assert len({row.model for row in rows}) == 2
    worker.end()


def drawn_by(farm: Farm, name: str) -> set[int]:
    """The processes that drew what was asked for under that name."""
    events = [json.loads(line) for line in (farm.villains / "events").read_text().splitlines()]
    return {each["pid"] for each in events if each["name"] == name}


def test_workers_of_two_models_draw_each_their_own(farm: Farm) -> None:
    one, other = farm.new_model(), farm.new_model()
    workers = {slug: farm.ready_worker(slug) for slug in (one, other)}
    farm.processes.worker("broken")
    asked = [farm.create(slug, f"fast of {slug}") for _ in range(4) for slug in workers]
    for slug in workers:
        farm.tokens.put(slug, copies=4)
    for prediction in asked:
        farm.wait_for(prediction, "succeeded")
    assert {slug: drawn_by(farm, f"of {slug}") for slug in workers} == {
        slug: {worker.child.pid} for slug, worker in workers.items()
    }
    for worker in workers.values():
        worker.end()


def test_a_worker_without_weights_harms_no_other(farm: Farm) -> None:
    well = farm.new_model()
    worker = farm.ready_worker(well)
    starved = farm.processes.worker("broken")
    wait_until(lambda: starved.child.poll() is not None)
    waiting = farm.create("broken", "fast")
    farm.wait_for(farm.create(well, "fast"), "succeeded")
    assert farm.row(waiting).status == "queued"
    assert starved.said("the worker cannot start")
    assert worker.child.poll() is None
    assert farm.cancel(waiting)
    worker.end()
