"""What one healthy worker does while other things go wrong around its predictions."""

import uuid

from fluxfarm.queue import redis_client
from tests.crash.conftest import Farm
from tests.processes import Process, wait_until
from worker import prepare

Shared = tuple[str, Process]


def test_a_prediction_is_rendered_stored_and_ended_once(farm: Farm, shared: Shared) -> None:
    prediction = farm.create(shared[0], "fast", num_outputs=2, seed=7)
    row = farm.wait_for(prediction, "succeeded")
    assert (row.attempt, row.lost) == (1, 0)
    farm.assert_ended_once(prediction, pictures=2)
    assert farm.stored(prediction) == farm.outputs(prediction)


def test_its_first_picture_is_stored_while_the_second_renders(farm: Farm, shared: Shared) -> None:
    prediction = farm.create(shared[0], "slow first", num_outputs=3)
    farm.open_gate("first")
    wait_until(lambda: len(farm.stored(prediction)) == 1)
    farm.wait_for_event("first", "picture 1")
    assert farm.row(prediction).status == "processing"
    farm.open_gate("first", 2, first=1)
    farm.wait_for(prediction, "succeeded")
    farm.assert_ended_once(prediction, pictures=3)


def test_a_cancel_stops_the_render_and_leaves_nothing(farm: Farm, shared: Shared) -> None:
    prediction = farm.create(shared[0], "slow cancelled", num_outputs=2)
    farm.open_gate("cancelled")
    wait_until(lambda: len(farm.stored(prediction)) == 1)
    assert farm.cancel(prediction)
    farm.wait_for(prediction, "cancelled")
    assert farm.outputs(prediction) == set()
    wait_until(lambda: farm.stored(prediction) == set())
    assert "done" not in farm.events("cancelled")


def test_a_cancel_that_the_worker_has_not_heard_of_leaves_nothing_either(farm: Farm, shared: Shared) -> None:
    prediction = farm.create(shared[0], "slow unheard")
    farm.wait_for_event("unheard", "picture 0")
    assert farm.cancel(prediction)
    farm.open_gate("unheard")
    farm.wait_for(prediction, "cancelled")
    assert farm.outputs(prediction) == set()
    wait_until(lambda: farm.stored(prediction) == set())


def test_a_server_that_never_answers_holds_up_nobody_else(farm: Farm) -> None:
    slug = farm.new_model()
    worker = farm.ready_worker(slug, fetch_allow="127.0.0.0/8", fetch_limit_seconds="60")
    with farm.silent_server() as url:
        hanging = [farm.create(slug, "fast fetched", image=url) for _ in range(3)]
        farm.wait_for(hanging[0], "processing")
        others = [farm.create(slug, "fast") for _ in range(3)]
        for other in others:
            farm.wait_for(other, "succeeded")
        # A fetch that was cancelled is no fault of the worker's: it is still there for the next.
        for each in hanging:
            assert farm.cancel(each)
        for each in hanging:
            farm.wait_for(each, "cancelled")
    farm.wait_for(farm.create(slug, "fast"), "succeeded")
    assert worker.child.poll() is None
    assert not worker.said("failed at a render")
    worker.end()


def test_servers_that_never_answer_hold_up_no_other_picture(farm: Farm) -> None:
    slug = farm.new_model()
    worker = farm.ready_worker(slug, fetch_allow="127.0.0.0/8", fetch_limit_seconds="60")
    with farm.silent_server() as url:
        hanging = [farm.create(slug, "fast", image=url) for _ in range(prepare.AT_ONCE - 1)]
        for each in hanging:
            farm.wait_for(each, "processing")
        farm.wait_for(farm.create_with_picture(slug, "fast", farm.store), "succeeded")
        hanging += [farm.create(slug, "fast", image=url) for _ in range(2)]
        farm.wait_for(hanging[-2], "processing")
        farm.wait_for(farm.create(slug, "fast"), "succeeded")
        assert [farm.row(each).status for each in hanging] == ["processing"] * prepare.AT_ONCE + ["queued"]
        for each in hanging:
            assert farm.cancel(each)
        for each in hanging:
            farm.wait_for(each, "cancelled")
    worker.end()


def test_lost_tokens_are_put_again(farm: Farm) -> None:
    slug = farm.new_model()
    worker = farm.ready_worker(slug, idle_look_seconds="600")
    client = redis_client(farm.settings)
    predictions = [farm.create(slug, "fast") for _ in range(3)]
    client.flushall()
    client.close()
    for prediction in predictions:
        farm.wait_for(prediction, "succeeded")
    worker.end()


def test_a_log_line_tells_of_each_change_and_nothing_else_is_said(farm: Farm, shared: Shared) -> None:
    prediction = farm.create(shared[0], "fast")
    farm.wait_for(prediction, "succeeded")
    lines = shared[1].lines()
    wait_until(lambda: shared[1].said("prediction succeeded"))
    assert all("level" in line for line in lines), lines
    assert not any(line["level"] in {"warning", "error"} for line in lines), lines
    ours = [line for line in shared[1].lines() if line.get("prediction") == str(prediction)]
    assert [line["event"] for line in ours] == ["prediction claimed", "prediction succeeded"]
    assert all(line["request_id"] == "test" for line in ours)


def test_a_prediction_that_was_cancelled_while_queued_is_never_claimed(farm: Farm, shared: Shared) -> None:
    blocker = farm.create(shared[0], "slow blocker")
    farm.wait_for_event("blocker", "picture 0")
    waiting = farm.create(shared[0], f"fast {uuid.uuid4()}")
    assert farm.cancel(waiting)
    farm.open_gate("blocker")
    farm.wait_for(blocker, "succeeded")
    assert (farm.row(waiting).status, farm.row(waiting).attempt) == ("cancelled", 0)
