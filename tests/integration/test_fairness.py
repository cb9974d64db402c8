"""Start-time fair queueing: who is claimed next."""

import uuid
from collections.abc import Callable

from sqlalchemy import text

from fluxfarm import lifecycle
from fluxfarm.catalog import Model
from fluxfarm.database import Database
from fluxfarm.keys import Caller
from fluxfarm.lifecycle import Claimed
from tests.farm import create

NewCaller = Callable[..., Caller]
PLENTY = {"creates_per_minute": 10_000, "max_active": 10_000}


def claim(database: Database, model: Model) -> Claimed | None:
    with database.session_scope() as session:
        return lifecycle.claim(
            session, model=model.slug, version=model.version, worker_id=uuid.uuid4(), lease_seconds=30
        )


def order_of_claims(database: Database, model: Model, n: int) -> list[uuid.UUID]:
    claims = [claim(database, model) for _ in range(n)]
    return [held.tenant_id for held in claims if held]


def test_a_light_tenant_waits_behind_one_of_a_heavy_tenants_jobs(
    database: Database, flux_dev: Model, new_caller: NewCaller
) -> None:
    heavy, light = new_caller(**PLENTY), new_caller(**PLENTY)
    for _ in range(20):
        create(database, heavy, flux_dev)
    assert order_of_claims(database, flux_dev, 3) == [heavy.tenant_id] * 3
    create(database, light, flux_dev)
    assert light.tenant_id in order_of_claims(database, flux_dev, 2)


def test_weights_share_the_queue(database: Database, flux_dev: Model, new_caller: NewCaller) -> None:
    double, single = new_caller(weight=2.0, **PLENTY), new_caller(weight=1.0, **PLENTY)
    for _ in range(30):
        create(database, double, flux_dev)
        create(database, single, flux_dev)
    order = order_of_claims(database, flux_dev, 30)
    assert abs(order.count(double.tenant_id) - 20) <= 1


def test_an_idle_tenant_saves_up_no_credit(database: Database, flux_dev: Model, new_caller: NewCaller) -> None:
    steady, idle = new_caller(**PLENTY), new_caller(**PLENTY)
    create(database, idle, flux_dev)
    claim(database, flux_dev)
    for _ in range(10):
        create(database, steady, flux_dev)
    order_of_claims(database, flux_dev, 9)
    for _ in range(9):
        create(database, steady, flux_dev)
        create(database, idle, flux_dev)
    order = order_of_claims(database, flux_dev, 10)
    assert 4 <= order.count(steady.tenant_id) <= 6


def test_actual_cost_corrects_the_estimate(database: Database, flux_dev: Model, new_caller: NewCaller) -> None:
    caller = new_caller(weight=2.0, **PLENTY)
    create(database, caller, flux_dev)
    held = claim(database, flux_dev)
    assert held
    with database.session_scope() as session:
        before, cost = session.execute(text("SELECT f.last_finish, p.cost FROM fair_tags f, predictions p")).one()
        lifecycle.fail(session, held, code="x", message="x", device_microseconds=cost + 1000)
    with database.session_scope() as session:
        assert session.execute(text("SELECT last_finish FROM fair_tags")).scalar_one() == before + 500


def test_a_cancel_before_it_ran_costs_nothing(database: Database, flux_dev: Model, new_caller: NewCaller) -> None:
    caller = new_caller(**PLENTY)
    prediction = create(database, caller, flux_dev)
    with database.session_scope() as session:
        lifecycle.cancel(session, prediction, caller.tenant_id)
    with database.session_scope() as session:
        assert session.execute(text("SELECT last_finish FROM fair_tags")).scalar_one() == 0


def test_what_came_back_keeps_its_tag_and_goes_first(
    database: Database, flux_dev: Model, new_caller: NewCaller
) -> None:
    caller = new_caller(**PLENTY)
    for _ in range(3):
        create(database, caller, flux_dev)
    held = claim(database, flux_dev)
    assert held
    with database.session_scope() as session:
        lifecycle.hand_back(session, held)
    again = claim(database, flux_dev)
    assert again
    assert (again.id, again.attempt) == (held.id, 2)


def test_virtual_time_survives_the_loss_of_history(database: Database, flux_dev: Model, new_caller: NewCaller) -> None:
    old, new = new_caller(**PLENTY), new_caller(**PLENTY)
    with database.session_scope() as session:
        session.execute(
            text("INSERT INTO model_queues (model, virtual_floor) VALUES (:m, 5000000)"), {"m": flux_dev.slug}
        )
    create(database, old, flux_dev)
    create(database, new, flux_dev)
    with database.session_scope() as session:
        tags = session.execute(text("SELECT DISTINCT start_tag FROM predictions")).scalars().all()
    assert tags == [5000000]
