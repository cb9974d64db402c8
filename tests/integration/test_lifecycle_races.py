"""Many connections at once: nothing is taken twice, nothing deadlocks, every counter is exact at the end."""

import random
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress

from sqlalchemy import text
from sqlalchemy.orm import Session

from fluxfarm import lifecycle, lookup, sweeps
from fluxfarm.catalog import Model
from fluxfarm.database import Database
from fluxfarm.errors import ConcurrencyLimited, LeaseLost
from fluxfarm.keys import Caller
from fluxfarm.lifecycle import Claimed
from tests.farm import create
from tests.integration.test_lifecycle import output
from tests.processes import wait_until

NewCaller = Callable[..., Caller]
PLENTY = {"creates_per_minute": 100_000, "max_active": 100_000}


def at_once(*actions: Callable[[], None]) -> None:
    """Run each on a thread, all begun together; what any of them raises is raised here."""
    barrier = threading.Barrier(len(actions))
    raised: list[BaseException] = []

    def run(action: Callable[[], None]) -> None:
        barrier.wait()
        try:
            action()
        except BaseException as error:  # noqa: BLE001 (it is raised below, on the test's own thread)
            raised.append(error)

    threads = [threading.Thread(target=run, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]


def claim(database: Database, model: Model, lease_seconds: float = 60) -> Claimed | None:
    with database.session_scope() as session:
        return lifecycle.claim(
            session, model=model.slug, version=model.version, worker_id=uuid.uuid4(), lease_seconds=lease_seconds
        )


def test_no_prediction_is_claimed_twice(database: Database, flux_dev: Model, new_caller: NewCaller) -> None:
    caller = new_caller(**PLENTY)
    created = [create(database, caller, flux_dev) for _ in range(60)]
    taken: list[uuid.UUID] = []

    def take_all() -> None:
        while found := claim(database, flux_dev):
            taken.append(found.id)

    at_once(*[take_all] * 6)
    assert sorted(taken) == sorted(created)


def test_a_cancel_races_its_claim_and_its_return(database: Database, flux_dev: Model, new_caller: NewCaller) -> None:
    caller = new_caller(**PLENTY)
    for _ in range(15):
        prediction = create(database, caller, flux_dev)
        heard: list[bool] = []

        def cancel(wanted: uuid.UUID = prediction, heard: list[bool] = heard) -> None:
            with database.session_scope() as session:
                heard.append(lifecycle.cancel(session, wanted, caller.tenant_id))

        def take_and_hand_back() -> None:
            for _ in range(3):
                if held := claim(database, flux_dev):
                    with database.session_scope() as session:
                        lifecycle.hand_back(session, held)

        at_once(cancel, take_and_hand_back)
        with database.session_scope() as session:
            view = lookup.prediction(session, prediction, caller.tenant_id)
        assert heard == [True]
        assert view is not None
        assert view.status == "cancelled"


def test_keys_are_locked_by_id_and_before_their_tenants(
    database: Database, flux_dev: Model, new_caller: NewCaller
) -> None:
    callers = [new_caller("one", **PLENTY) for _ in range(8)]
    for caller in callers:
        create(database, caller, flux_dev)
    first, *others = sorted(caller.key_id for caller in callers)
    blocked = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    lock = "SELECT FROM {} WHERE id = ANY(:ids) FOR NO KEY UPDATE NOWAIT"

    def end_all() -> None:
        with database.session_scope() as session:
            assert sweeps.fail_withdrawn(session, models=["another"]) == len(callers)

    ending = threading.Thread(target=end_all)
    with database.session_scope() as session:
        session.execute(text(lock.format("api_keys")), {"ids": [first]})
        ending.start()
        wait_until(lambda: session.execute(blocked).scalar_one() == 1)
        # It waits for the first key, so it must have locked nothing that comes after it.
        session.execute(text(lock.format("api_keys")), {"ids": others})
        session.execute(text(lock.format("tenants")), {"ids": [callers[0].tenant_id]})
    ending.join()
    with database.session_scope() as session:
        assert lookup.slot_drift(session) == []


class Storm:
    """Everything that moves predictions, at once, until every admission has been tried."""

    def __init__(self, database: Database, model: Model, callers: list[Caller]) -> None:
        self.database, self.model, self.callers = database, model, callers
        self.over = threading.Event()
        self.admitted = 0

    def admit(self) -> None:
        chance = random.Random(0)
        for _ in range(150):
            with suppress(ConcurrencyLimited):
                create(self.database, chance.choice(self.callers), self.model)
                self.admitted += 1
        self.over.set()

    def work(self) -> None:
        chance = random.Random(1)
        while not self.over.is_set():
            if held := claim(self.database, self.model, lease_seconds=chance.choice([0.001, 60])):
                with suppress(LeaseLost), self.database.session_scope() as session:
                    chance.choice(ENDS)(session, held)

    def sweep(self) -> None:
        while not self.over.is_set():
            with self.database.session_scope() as session:
                sweeps.expire(session, max_attempts=2)
            with self.database.session_scope() as session:
                sweeps.fail_overdue(session, max_queue_seconds=0.05)

    def cancel(self) -> None:
        while not self.over.is_set():
            with self.database.session_scope() as session:
                rows = session.execute(text("SELECT id, tenant_id FROM predictions ORDER BY random() LIMIT 3")).all()
            for row in rows:
                with self.database.session_scope() as session:
                    lifecycle.cancel(session, row.id, row.tenant_id)


ENDS: list[Callable[[Session, Claimed], object]] = [
    lambda session, held: lifecycle.fail(session, held, code="x", message="x", device_microseconds=10**6),
    lambda session, held: lifecycle.cancel_held(session, held, device_microseconds=3),
    lambda session, held: lifecycle.complete(session, held, [output()], device_microseconds=9),
    lifecycle.hand_back,
    lifecycle.let_go,
]


def test_ends_in_bulk_and_one_by_one_keep_exact_counters(
    database: Database, flux_dev: Model, new_caller: NewCaller
) -> None:
    names = ("a", "a", "b", "b", "c")
    storm = Storm(database, flux_dev, [new_caller(name, creates_per_minute=10_000, max_active=12) for name in names])
    at_once(storm.admit, storm.work, storm.work, storm.sweep, storm.sweep, storm.cancel)
    with database.session_scope() as session:
        assert lookup.slot_drift(session) == []
        found = session.execute(
            text(
                "SELECT (SELECT sum(active) FROM tenants) AS tenants, (SELECT sum(active) FROM api_keys) AS keys,"
                " count(*) FILTER (WHERE p.status IN ('queued', 'processing')) AS active, count(*) AS rows,"
                " count(r) AS results FROM predictions p LEFT JOIN prediction_results r ON r.prediction_id = p.id"
            )
        ).one()
    assert found.tenants == found.keys == found.active
    assert found.rows == storm.admitted
    assert found.results == found.rows - found.active
    assert storm.admitted > 60
