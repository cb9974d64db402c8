"""A lease is renewed only while its prediction advances: a living thread beside a hung device proves nothing."""

import threading
import uuid
from typing import Any

from sqlalchemy import text

from fluxfarm import lifecycle
from fluxfarm.announce import CANCELS, Announcer, Doorbell
from fluxfarm.catalog import Model
from fluxfarm.database import Database
from fluxfarm.keys import Caller
from fluxfarm.queue import redis_client
from fluxfarm.settings import Settings
from fluxfarm.upkeep import WorkerIdentity
from tests.farm import create
from tests.processes import wait_until
from worker.job import Job, StageLimits, StopReason
from worker.lease import LeaseKeeper
from worker.watchdog import Watchdog

LEASE_SECONDS = 100.0
MUCH_TIME = 1000.0


def hold(database: Database, model: Model, keeper: LeaseKeeper, *, fetch: float) -> Job:
    with database.session_scope() as session:
        claimed = lifecycle.claim(
            session, model=model.slug, version=model.version, worker_id=uuid.uuid4(), lease_seconds=LEASE_SECONDS
        )
    assert claimed
    limits = StageLimits(fetch=fetch, device=MUCH_TIME, store=MUCH_TIME)
    job = Job(claimed, limits, Watchdog(), must_hand_back=lambda: False)
    keeper.hold(job)
    return job


def expiry(database: Database, job: Job) -> Any:
    with database.session_scope() as session:
        return session.execute(
            text("SELECT expires_at FROM leases WHERE prediction_id = :id"), {"id": job.claimed.id}
        ).scalar_one_or_none()


def new_keeper(database: Database, model: Model) -> LeaseKeeper:
    identity = WorkerIdentity(uuid.uuid4(), model.slug, model.version, "host", 1, "none")
    return LeaseKeeper(database, [identity], LEASE_SECONDS)


def test_what_does_not_advance_is_not_renewed(database: Database, caller: Caller, flux_dev: Model) -> None:
    for _ in range(2):
        create(database, caller, flux_dev)
    keeper = new_keeper(database, flux_dev)
    stuck, well = (hold(database, flux_dev, keeper, fetch=limit) for limit in (0.0, MUCH_TIME))
    wait_until(lambda: stuck.stuck_seconds)
    before = expiry(database, stuck), expiry(database, well)
    keeper._beat()
    assert expiry(database, stuck) == before[0]
    assert expiry(database, well) > before[1]


def test_a_wish_to_cancel_and_a_loss_come_back_with_a_renewal(
    database: Database, caller: Caller, flux_dev: Model
) -> None:
    for _ in range(2):
        create(database, caller, flux_dev)
    keeper = new_keeper(database, flux_dev)
    cancelled, lost = (hold(database, flux_dev, keeper, fetch=MUCH_TIME) for _ in range(2))
    with database.session_scope() as session:
        lifecycle.cancel(session, cancelled.claimed.id, caller.tenant_id)
        lifecycle.hand_back(session, lost.claimed)
    keeper._beat()
    assert (cancelled.stop, lost.stop) == (StopReason.CANCELLED, StopReason.LOST)
    assert keeper.held == (cancelled,)


def test_a_wish_to_cancel_is_heard_at_once(
    database: Database, settings: Settings, caller: Caller, flux_dev: Model
) -> None:
    create(database, caller, flux_dev)
    keeper = new_keeper(database, flux_dev)
    keeper._beat_seconds = MUCH_TIME
    job = hold(database, flux_dev, keeper, fetch=MUCH_TIME)
    cancels = Doorbell(redis_client(settings), CANCELS)
    threading.Thread(target=cancels.listen, args=(keeper.hear, lambda: None), daemon=True).start()
    wait_until(lambda: cancels.heard)
    before = expiry(database, job)
    with Announcer(redis_client(settings)) as announcer, keeper:
        # Its first beat is over, and the next is far.
        wait_until(lambda: expiry(database, job) > before)
        telling = Database(settings.require_database_url(), tell=announcer.tell)
        with telling.session_scope() as session:
            lifecycle.cancel(session, job.claimed.id, caller.tenant_id)
        wait_until(lambda: job.stop is StopReason.CANCELLED)
    telling.close()
