"""Workers that die, hang or fail: their predictions end once, or with a code that says why."""

import signal

import pytest

from tests.crash.conftest import Farm
from tests.processes import wait_until


def test_a_worker_killed_in_mid_render_costs_its_prediction_nothing_but_time(farm: Farm) -> None:
    slug = farm.new_model()
    first = farm.ready_worker(slug)
    prediction = farm.create(slug, "slow killed", num_outputs=2)
    farm.open_gate("killed")
    wait_until(lambda: len(farm.stored(prediction)) == 1)
    first.signal(signal.SIGKILL)
    second = farm.processes.worker(slug)
    farm.open_gate("killed", first=1)
    row = farm.wait_for(prediction, "succeeded")
    assert (row.attempt, row.lost) == (2, 1)
    farm.assert_ended_once(prediction, pictures=2)
    assert len(farm.stored(prediction)) == 3, "what the dead worker stored stays until the prediction expires"
    second.end()


@pytest.mark.parametrize("manner", ["hangs-once", "hangs-with-gil-once"])
def test_a_worker_that_hangs_is_ended_and_its_prediction_is_taken_over(farm: Farm, manner: str) -> None:
    slug = farm.new_model()
    with farm.processes.kept_running(slug) as workers:
        prediction = farm.create(slug, f"{manner} {manner}")
        row = farm.wait_for(prediction, "succeeded")
        assert workers[0].ended() == 1
        assert workers[0].said("Timeout")
    assert (row.attempt, row.lost) == (2, 1)
    farm.assert_ended_once(prediction)


@pytest.mark.parametrize(("manner", "status"), [("kills", -signal.SIGKILL), ("exits", 3)])
def test_a_prediction_that_ends_every_worker_fails_after_three(farm: Farm, manner: str, status: int) -> None:
    slug = farm.new_model()
    with farm.processes.kept_running(slug) as workers:
        prediction = farm.create(slug, f"{manner} {manner}")
        for attempt in (1, 2, 3):
            farm.wait_for_event(manner, "begin", attempt)
            assert workers[attempt - 1].ended() == status
            farm.expire_lease(prediction)
        row = farm.wait_for(prediction, "failed")
    assert (row.attempt, row.lost, row.error_code) == (3, 2, "worker_lost")
    assert farm.events(manner).count("begin") == 3


@pytest.mark.parametrize("manner", ["raises", "faulty"])
def test_two_faults_in_a_row_end_the_worker_and_three_the_prediction(farm: Farm, manner: str) -> None:
    slug = farm.new_model()
    with farm.processes.kept_running(slug) as workers:
        prediction = farm.create(slug, f"{manner} {manner}")
        row = farm.wait_for(prediction, "failed")
        assert workers[0].ended() == 70
        assert workers[0].said("the device, the weights or the safety checkers fail")
        assert (row.attempt, row.error_code) == (3, "worker_lost")
        assert farm.events(manner).count("begin") == 3
        # The third was the new worker's first; one that it can render shows that it is well.
        farm.wait_for(farm.create(slug, "fast"), "succeeded")
        assert len(workers) == 2


def test_a_worker_whose_weights_are_broken_says_so_and_ends(farm: Farm) -> None:
    worker = farm.processes.worker("broken")
    assert worker.ended() == 1
    assert worker.lines()[-1]["reason"] == "The weights are broken."


def test_a_zombie_cannot_write(farm: Farm) -> None:
    slug = farm.new_model()
    zombie = farm.ready_worker(slug, step_limit_seconds="60")  # else the watchdog may end it when it wakes
    prediction = farm.create(slug, "slow zombie", num_outputs=2)
    farm.open_gate("zombie")
    wait_until(lambda: len(farm.stored(prediction)) == 1)
    zombie.signal(signal.SIGSTOP)
    farm.expire_lease(prediction)
    other = farm.ready_worker(slug)
    farm.open_gate("zombie", first=1)
    ended = farm.wait_for(prediction, "succeeded")
    zombie.signal(signal.SIGCONT)
    wait_until(lambda: farm.stored(prediction) == farm.outputs(prediction))
    zombie.signal(signal.SIGTERM)
    assert zombie.ended() == 0
    assert farm.row(prediction) == ended
    assert ended.attempt == 2
    farm.assert_ended_once(prediction, pictures=2)
    other.end()


def test_a_zombie_stops_at_its_next_step(farm: Farm) -> None:
    slug = farm.new_model()
    zombie = farm.ready_worker(slug, step_limit_seconds="60")  # else the watchdog may end it when it wakes
    prediction = farm.create(slug, "slow undead", num_outputs=2)
    farm.open_gate("undead")
    wait_until(lambda: len(farm.stored(prediction)) == 1)
    zombie.signal(signal.SIGSTOP)
    farm.expire_lease(prediction)
    other = farm.ready_worker(slug)
    wait_until(lambda: len(farm.stored(prediction)) == 2)
    zombie.signal(signal.SIGCONT)
    # It learns of its loss from a renewal, and takes its picture away again.
    wait_until(lambda: len(farm.stored(prediction)) == 1)
    farm.open_gate("undead", first=1)
    farm.wait_for(prediction, "succeeded")
    farm.assert_ended_once(prediction, pictures=2)
    assert farm.events("undead").count("done") == 1
    zombie.end()
    other.end()


def test_a_worker_is_forgotten_when_it_stops(farm: Farm) -> None:
    slug = farm.new_model()
    worker = farm.ready_worker(slug)
    assert slug in farm.live_workers()
    worker.signal(signal.SIGTERM)
    assert worker.ended() == 0
    assert slug not in farm.live_workers()
