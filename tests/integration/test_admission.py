"""Who may create, and what a refusal leaves behind: nothing."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace

import pytest
from sqlalchemy import text

from fluxfarm import admission, keys, lifecycle, lookup
from fluxfarm.admission import Rules
from fluxfarm.catalog import Model
from fluxfarm.database import Database
from fluxfarm.errors import (
    ConcurrencyLimited,
    FluxfarmError,
    QueueFull,
    RateLimited,
    TenantSuspended,
    Unauthenticated,
)
from fluxfarm.keys import Caller
from fluxfarm.settings import Settings
from tests.farm import create, request

NewCaller = Callable[..., Caller]
ROOMY = Rules(max_queued=1_000_000)
WAITING = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


def scalar(database: Database, sql: str) -> int:
    with database.session_scope() as session:
        return session.execute(text(sql)).scalar_one()


def alone(database: Database, caller: Caller, model: Model, rules: Rules = ROOMY) -> None:
    """As the API does it: one statement that commits by itself."""
    asked = request(caller, model)
    with database.statement_scope() as statements:
        (verdict,) = admission.admit_all(statements, [asked], rules)
    if isinstance(verdict, FluxfarmError):
        raise verdict
    if verdict is None:
        with database.session_scope() as session:
            admission.admit(session, asked, rules)


def in_a_transaction(database: Database, caller: Caller, model: Model, rules: Rules = ROOMY) -> None:
    create(database, caller, model, rules=rules)


RACERS = 20


@pytest.fixture
def patient(database: Database, settings: Settings) -> Iterator[Database]:
    """The database, over connections that wait for a lock however long a busy machine takes."""
    patient = Database(settings.require_database_url(), pool_size=RACERS + 2)
    with ExitStack() as connections:
        for _ in range(RACERS + 2):
            connection = connections.enter_context(patient.engine.connect())
            for limit in ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"):
                connection.execute(text(f"SET {limit} = '5min'"))
            connection.commit()
    yield patient
    patient.close()


Way = Callable[..., None]
both_ways = pytest.mark.parametrize("way", [alone, in_a_transaction])


def race(database: Database, way: Way, callers: Sequence[Caller], model: Model, rules: Rules = ROOMY) -> Counter[str]:
    """All at once, none seeing what another wrote; how many were admitted, and how many refused by which code."""
    outcomes: list[str] = []

    def one(caller: Caller) -> None:
        try:
            way(database, caller, model, rules)
        except FluxfarmError as refused:
            outcomes.append(refused.code)
        else:
            outcomes.append("admitted")

    threads = [threading.Thread(target=one, args=(caller,)) for caller in callers]
    with database.session_scope() as session:
        session.execute(text("SELECT FROM tenants FOR UPDATE"))
        for thread in threads:
            thread.start()
        while scalar(database, WAITING) + len(outcomes) < len(callers):
            time.sleep(0.001)
    for thread in threads:
        thread.join()
    return Counter(outcomes)


@both_ways
def test_racing_callers_get_exactly_ten_slots(
    patient: Database, flux_dev: Model, new_caller: NewCaller, way: Way
) -> None:
    caller = new_caller(max_active=10, creates_per_minute=1000)
    assert race(patient, way, [caller] * RACERS, flux_dev) == {"admitted": 10, "concurrency_limited": 10}
    assert scalar(patient, "SELECT active FROM api_keys") == 10
    assert scalar(patient, "SELECT active FROM tenants") == 10
    assert scalar(patient, "SELECT count(*) FROM predictions") == 10


@both_ways
def test_racing_callers_never_pass_the_minute_limit(
    patient: Database, flux_dev: Model, new_caller: NewCaller, way: Way
) -> None:
    """The first of them all begin before any row of the minute is there to be seen."""
    caller = new_caller(max_active=100, creates_per_minute=7)
    assert race(patient, way, [caller] * RACERS, flux_dev) == {"admitted": 7, "rate_limited": 13}
    with patient.session_scope() as session:
        session.execute(text("UPDATE predictions SET created_at = created_at - interval '61 s'"))
    assert race(patient, way, [caller] * RACERS, flux_dev) == {"admitted": 7, "rate_limited": 13}
    assert scalar(patient, "SELECT count(*) FROM predictions") == 14
    assert scalar(patient, "SELECT created FROM api_keys") == 14
    assert scalar(patient, "SELECT active FROM api_keys") == 14


@both_ways
def test_racing_keys_never_pass_the_minute_limit_of_their_tenant(
    patient: Database, flux_dev: Model, new_caller: NewCaller, way: Way
) -> None:
    callers = [new_caller("studio", max_active=100) for _ in range(4)]
    with patient.session_scope() as session:
        session.execute(text("UPDATE tenants SET creates_per_minute = 9"))
    assert race(patient, way, callers * 5, flux_dev) == {"admitted": 9, "rate_limited": 11}
    assert scalar(patient, "SELECT count(*) FROM predictions") == 9
    assert scalar(patient, "SELECT sum(active)::int FROM api_keys") == 9
    assert scalar(patient, "SELECT active FROM tenants") == 9


@both_ways
def test_racing_callers_never_overfill_the_queue(
    patient: Database, flux_dev: Model, new_caller: NewCaller, way: Way
) -> None:
    callers = [new_caller("studio", max_active=100) for _ in range(4)]
    rules = Rules(max_queued=6)
    assert race(patient, way, callers * 5, flux_dev, rules) == {"admitted": 6, "queue_full": 14}
    assert scalar(patient, "SELECT count(*) FROM predictions") == 6


def test_several_at_once_are_decided_one_after_the_other(
    database: Database, flux_dev: Model, new_caller: NewCaller
) -> None:
    caller = new_caller(max_active=3)
    asked = [request(caller, flux_dev) for _ in range(5)]
    with database.statement_scope() as statements:
        verdicts = admission.admit_all(statements, asked, ROOMY)
    assert [getattr(each, "active_remaining", None) for each in verdicts[:3]] == [2, 1, 0]
    assert [type(each) for each in verdicts[3:]] == [ConcurrencyLimited, ConcurrencyLimited]
    assert scalar(database, "SELECT count(*) FROM predictions") == 3
    assert scalar(database, "SELECT max(key_seq) FROM predictions") == 3
    with database.session_scope() as session:
        assert lookup.slot_drift(session) == []


def test_a_queue_that_may_be_full_is_counted_under_the_locks(
    database: Database, flux_dev: Model, new_caller: NewCaller
) -> None:
    caller, rules = new_caller(), Rules(max_queued=1)
    waiting = create(database, caller, flux_dev, rules=rules)
    with database.session_scope() as session:
        lifecycle.claim(session, model=flux_dev.slug, version=flux_dev.version, worker_id=waiting, lease_seconds=30)
    with database.statement_scope() as statements:
        assert admission.admit_all(statements, [request(caller, flux_dev)], rules) == [None]
    assert scalar(database, "SELECT active FROM api_keys") == 1
    create(database, caller, flux_dev, rules=rules)


def test_a_refusal_by_rate_says_when_to_come_back_and_leaves_nothing(
    database: Database, flux_dev: Model, new_caller: NewCaller
) -> None:
    caller = new_caller(creates_per_minute=2)
    first = create(database, caller, flux_dev)
    create(database, caller, flux_dev)
    finish = scalar(database, "SELECT last_finish FROM fair_tags")
    with pytest.raises(RateLimited, match="2 predictions a minute") as refused:
        create(database, caller, flux_dev)
    assert 50 < (refused.value.retry_after or 0) <= 60
    assert refused.value.limits is not None
    assert refused.value.limits.rate_remaining == 0
    assert scalar(database, "SELECT last_finish FROM fair_tags") == finish
    assert scalar(database, "SELECT active FROM api_keys") == 2
    with database.session_scope() as session:
        session.execute(
            text("UPDATE predictions SET created_at = created_at - interval '61 s' WHERE id = :id"), {"id": first}
        )
    create(database, caller, flux_dev)


def test_an_ended_prediction_gives_its_slot_back(database: Database, flux_dev: Model, new_caller: NewCaller) -> None:
    caller = new_caller(max_active=1)
    waiting = create(database, caller, flux_dev)
    with pytest.raises(ConcurrencyLimited) as refused:
        create(database, caller, flux_dev)
    assert refused.value.limits is not None
    assert (refused.value.limits.active_limit, refused.value.limits.active_remaining) == (1, 0)
    assert refused.value.limits.rate_remaining == 59
    with database.session_scope() as session:
        assert lifecycle.cancel(session, waiting, caller.tenant_id)
    create(database, caller, flux_dev)


def test_limits_of_the_tenant_stand_above_those_of_its_keys(
    database: Database, flux_dev: Model, new_caller: NewCaller
) -> None:
    one, other = new_caller("studio"), new_caller("studio")
    with database.session_scope() as session:
        session.execute(text("UPDATE tenants SET max_active = 2, creates_per_minute = 3"))
    first = create(database, one, flux_dev)
    create(database, other, flux_dev)
    with pytest.raises(ConcurrencyLimited, match="tenant has 2 active") as refused:
        create(database, one, flux_dev)
    assert refused.value.limits is not None
    assert (refused.value.limits.active_remaining, refused.value.limits.rate_remaining) == (9, 59)
    with database.session_scope() as session:
        lifecycle.cancel(session, first, one.tenant_id)
    second = create(database, one, flux_dev)
    with database.session_scope() as session:
        lifecycle.cancel(session, second, one.tenant_id)
    with pytest.raises(RateLimited, match="tenant may create 3"):
        create(database, other, flux_dev)
    with database.session_scope() as session:
        assert lookup.slot_drift(session) == []


def test_a_full_queue_refuses_its_tenant_alone(database: Database, flux_dev: Model, new_caller: NewCaller) -> None:
    greedy, modest = new_caller(), new_caller()
    create(database, greedy, flux_dev, rules=Rules(max_queued=2))
    create(database, greedy, flux_dev, rules=Rules(max_queued=2))
    with pytest.raises(QueueFull):
        create(database, greedy, flux_dev, rules=Rules(max_queued=2))
    create(database, modest, flux_dev, rules=Rules(max_queued=2))
    assert scalar(database, "SELECT count(*) FROM predictions") == 3


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("UPDATE api_keys SET revoked_at = now()", Unauthenticated),
        ("UPDATE api_keys SET expires_at = now()", Unauthenticated),
        ("UPDATE tenants SET suspended_at = now()", TenantSuspended),
    ],
)
@both_ways
def test_a_key_that_ended_since_its_look_up_creates_nothing(
    database: Database, flux_dev: Model, caller: Caller, way: Way, change: str, expected: type[FluxfarmError]
) -> None:
    with database.session_scope() as session:
        session.execute(text(change))
    with pytest.raises(expected):
        way(database, caller, flux_dev)
    assert scalar(database, "SELECT count(*) FROM predictions") == 0
    assert scalar(database, "SELECT active FROM api_keys") == 0


def test_keys_are_told_apart_and_end(database: Database, caller: Caller) -> None:
    with database.session_scope() as session:
        issued = keys.issue(session, tenant=keys.every(session)[0].tenant, settings={"name": "second"}, by="test")
    with database.session_scope() as session:
        assert keys.authenticate(session, issued.key).key_id == issued.id
        stored = session.execute(text("SELECT string_agg(k::text, '') FROM api_keys k")).scalar_one()
        assert issued.key.split("_")[2] not in stored
    prefix, key_id, secret, check = issued.key.split("_")
    for wrong in (
        "",
        "x",
        issued.key[:-1],
        issued.key + "é",
        f"{prefix}_{key_id}_{secret[::-1]}_{check}",
    ):
        with pytest.raises(Unauthenticated), database.session_scope() as session:
            keys.authenticate(session, wrong)
    with database.session_scope() as session:
        keys.revoke(session, issued.id, by="test")
    with pytest.raises(Unauthenticated, match="revoked"), database.session_scope() as session:
        keys.authenticate(session, issued.key)


def test_the_logs_of_api_and_worker_meet(
    database: Database, flux_dev: Model, caller: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    asked = replace(request(caller, flux_dev), request_id="r-1", traceparent="00-trace-span-01")
    with caplog.at_level("INFO", "fluxfarm"):
        with database.session_scope() as session:
            admission.admit(session, asked, Rules(max_queued=10))
        with database.session_scope() as session:
            worker = {"worker_id": asked.id, "lease_seconds": 30}
            lifecycle.claim(session, model=flux_dev.slug, version=flux_dev.version, **worker)
    told = [(record.getMessage(), record.fields) for record in caplog.records if hasattr(record, "fields")]
    assert [event for event, _ in told] == ["prediction queued", "prediction claimed"]
    for _, fields in told:
        assert fields["prediction"] == asked.id
        assert (fields["request_id"], fields["traceparent"]) == ("r-1", "00-trace-span-01")
