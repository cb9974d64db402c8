"""What start-time fair queueing promises of shares, looked at from outside: over many jobs, whatever they cost."""

import itertools
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from fluxfarm import lifecycle
from fluxfarm.catalog import Model
from fluxfarm.database import Database
from fluxfarm.keys import Caller
from tests.conftest import TABLES
from tests.farm import create
from tests.integration.test_fairness import PLENTY, order_of_claims

NewCaller = Callable[..., Caller]

JOBS = st.lists(st.integers(1, 50), min_size=4, max_size=10)
"""The steps that each job of one tenant takes."""
TENANTS = st.lists(st.tuples(st.sampled_from([0.25, 0.5, 1.0, 2.0, 4.0]), JOBS), min_size=2, max_size=4)


def jain(shares: list[int]) -> float:
    """1 if all are equal; 1/n if one has everything."""
    return sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares))


def test_equal_tenants_with_full_queues_get_equal_shares(
    database: Database, flux_dev: Model, new_caller: NewCaller
) -> None:
    callers = [new_caller(**PLENTY) for _ in range(5)]
    # Each puts all its work in at once, one after the other.
    for caller in callers:
        for _ in range(110):
            create(database, caller, flux_dev)
    served = Counter(order_of_claims(database, flux_dev, 500))
    assert jain([served[caller.tenant_id] for caller in callers]) >= 0.98


def test_weights_hold_over_many_jobs(database: Database, flux_dev: Model, new_caller: NewCaller) -> None:
    weights = (1.0, 2.0, 3.0)
    callers = [new_caller(weight=weight, **PLENTY) for weight in weights]
    for caller, weight in zip(callers, weights, strict=True):
        for _ in range(int(60 * weight)):
            create(database, caller, flux_dev)
    served = Counter(order_of_claims(database, flux_dev, 300))
    for caller, weight in zip(callers, weights, strict=True):
        assert served[caller.tenant_id] / 300 == pytest.approx(weight / sum(weights), rel=0.05)


def test_a_light_tenant_waits_for_one_job_behind_a_thousand(
    database: Database, flux_dev: Model, new_caller: NewCaller
) -> None:
    heavy, light = new_caller(**PLENTY), new_caller(**PLENTY)
    for _ in range(1000):
        create(database, heavy, flux_dev)
    order_of_claims(database, flux_dev, 5)
    for _ in range(3):
        create(database, light, flux_dev)
        assert light.tenant_id in order_of_claims(database, flux_dev, 2)


def test_a_tenant_whose_jobs_cost_more_than_was_thought_gets_fewer(
    database: Database, flux_dev: Model, new_caller: NewCaller
) -> None:
    """Each tells of its next job when one has ended, as a client does; one tenant's take four times the estimate."""
    callers = {caller.tenant_id: caller for caller in (new_caller(**PLENTY), new_caller(**PLENTY))}
    dear = next(iter(callers))
    for caller in callers.values():
        for _ in range(3):
            create(database, caller, flux_dev)
    spent: Counter[uuid.UUID] = Counter()
    for _ in range(100):
        with database.session_scope() as session:
            held = lifecycle.claim(
                session, model=flux_dev.slug, version=flux_dev.version, worker_id=uuid.uuid4(), lease_seconds=30
            )
            assert held
            cost = session.execute(text("SELECT cost FROM predictions WHERE id = :id"), {"id": held.id}).scalar_one()
        actual = cost * (4 if held.tenant_id == dear else 1)
        with database.session_scope() as session:
            lifecycle.fail(session, held, code="x", message="x", device_microseconds=actual)
        spent[held.tenant_id] += actual
        create(database, callers[held.tenant_id], flux_dev)
    assert jain(list(spent.values())) >= 0.98


@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(tenants=TENANTS)
def test_nobody_gets_ahead_by_more_than_one_job_each(
    database: Database, flux_dev: Model, new_caller: NewCaller, tenants: list[tuple[float, list[int]]]
) -> None:
    """Goyal's bound: while two have work waiting, their weighted service differs by one job of each at most."""
    with database.session_scope() as session:
        session.execute(text(f"TRUNCATE {TABLES} CASCADE"))
    weights: dict[uuid.UUID, float] = {}
    for weight, jobs in tenants:
        caller = new_caller(weight=weight, **PLENTY)
        weights[caller.tenant_id] = weight
        for steps in jobs:
            create(database, caller, flux_dev, num_inference_steps=steps)
    with database.session_scope() as session:
        rows = session.execute(text("SELECT tenant_id, cost FROM predictions")).all()
    costs = defaultdict(list)
    for row in rows:
        costs[row.tenant_id].append(row.cost)
    served: Counter[uuid.UUID] = Counter()
    jobs_served: Counter[uuid.UUID] = Counter()
    while all(jobs_served[tenant] < len(costs[tenant]) for tenant in weights):
        with database.session_scope() as session:
            held = lifecycle.claim(
                session, model=flux_dev.slug, version=flux_dev.version, worker_id=uuid.uuid4(), lease_seconds=30
            )
            assert held
            which = {"id": held.id}
            served[held.tenant_id] += session.execute(
                text("SELECT cost FROM predictions WHERE id = :id"), which
            ).scalar_one()
        jobs_served[held.tenant_id] += 1
        for one, other in itertools.combinations(weights, 2):
            bound = sum(max(costs[each]) / weights[each] for each in (one, other)) + len(rows)
            assert abs(served[one] / weights[one] - served[other] / weights[other]) <= bound
