"""Where queued predictions stand, from a real queue with workers that are shown to live."""

import itertools
import uuid
from dataclasses import replace
from typing import Any

import gevent
import pytest
from gevent.event import Event
from sqlalchemy import text

from api.lines import FRESH_SECONDS, Lines
from fluxfarm import lifecycle, line, lookup, upkeep
from fluxfarm.catalog import Model
from fluxfarm.database import Database
from fluxfarm.keys import Caller
from fluxfarm.lifecycle import Claimed
from fluxfarm.line import Line, Place, WaitingFor
from fluxfarm.outcomes import Progress
from fluxfarm.status import Stage
from fluxfarm.upkeep import WorkerIdentity
from tests.farm import create
from tests.integration.test_lifecycle import output

LEASE_SECONDS = 60.0
PIDS = itertools.count(1000)


def look(database: Database, model: Model) -> Line:
    with database.read_scope() as connection:
        return line.look(connection, model.slug, model.version, lease_seconds=LEASE_SECONDS)


def place(database: Database, caller: Caller, model: Model, prediction: uuid.UUID) -> Place:
    with database.read_scope() as connection:
        view = lookup.prediction(connection, prediction, caller.tenant_id)
    assert view is not None
    assert view.waits is not None
    return look(database, model).place(view.waits.rank, view.cost_seconds)


def show(database: Database, worker: WorkerIdentity) -> WorkerIdentity:
    with database.session_scope() as session:
        upkeep.sign_of_life(session, worker)
    return worker


def new_worker(model: Model, *, pid: int | None = None, loading: bool = False) -> WorkerIdentity:
    """Of a process of its own, unless that is named."""
    return WorkerIdentity(uuid.uuid4(), model.slug, model.version, "host", pid or next(PIDS), "none", loading)


def cost(database: Database, prediction: uuid.UUID) -> float:
    with database.session_scope() as session:
        found = session.scalar(text("SELECT cost / 1e6 FROM predictions WHERE id = :id"), {"id": prediction})
    assert found is not None
    return float(found)


def test_what_it_waits_for_is_a_worker_then_its_weights_then_its_turn(
    database: Database, caller: Caller, flux_dev: Model
) -> None:
    prediction = create(database, caller, flux_dev)
    seen = [place(database, caller, flux_dev, prediction)]
    worker = show(database, new_worker(flux_dev, loading=True))
    seen.append(place(database, caller, flux_dev, prediction))
    show(database, replace(worker, device="cpu", loading=False))
    seen.append(place(database, caller, flux_dev, prediction))
    assert [each.waiting_for for each in seen] == [WaitingFor.WORKER, WaitingFor.MODEL_LOAD, WaitingFor.TURN]
    assert [each.eta_seconds for each in seen] == [None, None, pytest.approx(cost(database, prediction))]
    with database.session_scope() as session:
        assert lookup.live_workers(session) == {flux_dev.slug: 1}


def test_no_token_is_put_for_a_worker_that_loads(database: Database, caller: Caller, flux_dev: Model) -> None:
    create(database, caller, flux_dev)
    show(database, new_worker(flux_dev, loading=True))
    with database.session_scope() as session:
        assert upkeep.tokens_wanted(session) == {}


def test_what_is_left_of_a_render_comes_before_the_next(database: Database, caller: Caller, flux_dev: Model) -> None:
    worker = show(database, new_worker(flux_dev))
    first, second = (create(database, caller, flux_dev, num_outputs=2) for _ in range(2))
    claimed = claim(database, flux_dev, worker)
    assert claimed.id == first
    with database.session_scope() as session:
        lifecycle.renew(session, claimed, Progress(Stage.STEP, 2, 7, 28, 1.0), LEASE_SECONDS)
    one = cost(database, first)
    left = one * (1 - (1 + 7 / 28) / 2)
    told = place(database, caller, flux_dev, second)
    assert told.position == 1
    assert told.eta_seconds is not None
    # A moment has passed since it was noted.
    assert left + one - line.LONGEST_BEAT_SECONDS <= told.eta_seconds <= left + one


def test_what_is_held_or_of_another_version_is_not_in_the_line(
    database: Database, caller: Caller, flux_dev: Model
) -> None:
    held, other, mine = (create(database, caller, flux_dev) for _ in range(3))
    with database.session_scope() as session:
        session.execute(text("UPDATE predictions SET held = true WHERE id = :id"), {"id": held})
        session.execute(text("UPDATE predictions SET version = 'before' WHERE id = :id"), {"id": other})
    assert place(database, caller, flux_dev, mine).position == 1


def test_a_queue_is_looked_at_once_a_second_however_many_ask(
    database: Database, caller: Caller, flux_dev: Model
) -> None:
    now = 0.0
    lines = Lines(database, lease_seconds=LEASE_SECONDS, clock=lambda: now)
    which = flux_dev.slug, flux_dev.version
    assert last(lines.of(*which)) == 1
    create(database, caller, flux_dev)
    assert last(lines.of(*which)) == 1
    now += FRESH_SECONDS
    assert last(lines.of(*which)) == 2


def test_those_who_come_while_a_queue_is_looked_at_do_not_look_too(
    database: Database, caller: Caller, flux_dev: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, looks, go = 0.0, 0, Event()

    def slow(*which: Any, lease_seconds: float) -> Line:
        nonlocal looks
        looks += 1
        go.wait()
        return real(*which, lease_seconds=lease_seconds)

    real = line.look
    monkeypatch.setattr(line, "look", slow)
    lines = Lines(database, lease_seconds=LEASE_SECONDS, clock=lambda: now)
    which = flux_dev.slug, flux_dev.version
    first = [gevent.spawn(lines.of, *which) for _ in range(50)]
    gevent.idle()
    assert looks == 1
    go.set()
    gevent.joinall(first, timeout=60)
    assert [last(each.value) for each in first] == [1] * 50
    assert looks == 1

    create(database, caller, flux_dev)
    now += 3600
    go.clear()
    begins, *meanwhile = [gevent.spawn(lines.of, *which) for _ in range(50)]
    gevent.idle()
    assert [last(each.value) for each in meanwhile] == [1] * 49, "what is kept is told while somebody looks"
    go.set()
    gevent.joinall([begins], timeout=60)
    assert (last(begins.value), looks) == (2, 2)


def test_those_that_came_after_a_look_are_told_of_each_other(
    database: Database, caller: Caller, flux_dev: Model
) -> None:
    show(database, new_worker(flux_dev))
    lines = Lines(database, lease_seconds=LEASE_SECONDS, clock=lambda: 0.0)
    assert last(lines.of(flux_dev.slug, flux_dev.version)) == 1
    told = [joined(database, lines, caller, create(database, caller, flux_dev)) for _ in range(3)]
    each = told[0].eta_seconds
    assert [(place.position, place.eta_seconds) for place in told] == [
        (nth, pytest.approx(nth * each)) for nth in (1, 2, 3)
    ]


def joined(database: Database, lines: Lines, caller: Caller, prediction: uuid.UUID) -> Place:
    with database.read_scope() as connection:
        view = lookup.prediction(connection, prediction, caller.tenant_id)
    assert view is not None
    assert view.waits is not None
    found = lines.join(view.waits, view.cost_seconds)
    assert found is not None
    return found


def last(seen: Line | None) -> int:
    assert seen is not None
    return seen.end(0).position


def test_one_that_its_worker_has_not_begun_comes_after_what_it_renders(
    database: Database, caller: Caller, flux_dev: Model
) -> None:
    worker = show(database, new_worker(flux_dev))
    first, second = (create(database, caller, flux_dev) for _ in range(2))
    rendered, _ = (claim(database, flux_dev, worker) for _ in range(2))
    with database.session_scope() as session:
        lifecycle.renew(session, rendered, Progress(Stage.STEP, 1, 7, 28, 1.0), LEASE_SECONDS)
    left, own = cost(database, first) * 3 / 4, cost(database, second)
    told = look(database, flux_dev).left(worker.id, own)
    assert left + own - line.LONGEST_BEAT_SECONDS <= told <= left + own
    assert look(database, flux_dev).left(uuid.uuid4(), own) == own


def test_what_a_process_renders_for_another_model_comes_first(
    database: Database, caller: Caller, flux_dev: Model
) -> None:
    other = replace(flux_dev, slug="flux-schnell")
    beside, alone = new_worker(other, pid=7), new_worker(other)
    for worker in (new_worker(flux_dev, pid=7), beside, alone):
        show(database, worker)
    mine = create(database, caller, flux_dev)
    for worker in (beside, alone):
        rendered = create(database, caller, other)
        claim(database, other, worker)
    told = place(database, caller, flux_dev, mine).eta_seconds
    assert told is not None
    expected = cost(database, rendered) + cost(database, mine)
    assert expected - line.LONGEST_BEAT_SECONDS <= told <= expected


@pytest.mark.parametrize(("ratio", "pace"), [(2.0, 2.0), (0.5, 0.5), (20.0, 1.0), (0.05, 1.0)])
def test_later_estimates_go_by_the_latest_unless_these_were_made_before_anything_was_measured(
    database: Database, caller: Caller, flux_dev: Model, ratio: float, pace: float
) -> None:
    worker = show(database, new_worker(flux_dev))
    first, second = create(database, caller, flux_dev), create(database, caller, flux_dev)
    claimed = claim(database, flux_dev, worker)
    with database.session_scope() as session:
        lifecycle.complete(session, claimed, [output()], device_microseconds=round(cost(database, first) * ratio * 1e6))
    told = place(database, caller, flux_dev, second)
    assert told.eta_seconds == pytest.approx(pace * cost(database, second), rel=1e-3)


def claim(database: Database, model: Model, worker: WorkerIdentity) -> Claimed:
    with database.session_scope() as session:
        claimed = lifecycle.claim(
            session, model=model.slug, version=model.version, worker_id=worker.id, lease_seconds=LEASE_SECONDS
        )
    assert claimed is not None
    return claimed
