"""The lifecycle under a state machine: whatever is called in whatever order does what it says, or is refused."""

import dataclasses
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import text
from sqlalchemy.orm import Session

from fluxfarm import admission, lifecycle, lookup, sweeps
from fluxfarm.admission import Rules
from fluxfarm.catalog import Model
from fluxfarm.database import Database
from fluxfarm.errors import ConcurrencyLimited, LeaseLost
from fluxfarm.keys import Caller
from fluxfarm.lifecycle import Claimed
from fluxfarm.local.postgres import PrivatePostgres
from fluxfarm.outcomes import Progress, Safety, StoredOutput
from fluxfarm.status import ACTIVE, MOVES, Stage, Status
from tests.conftest import TABLES
from tests.farm import request

MAX_ACTIVE = 3
MAX_ATTEMPTS = 3
LEASE_SECONDS = 1000.0

NewCaller = Callable[..., Caller]


ROWS = text("""
SELECT p.*, l.claim_id AS lease_claim_id, l.expires_at < clock_timestamp() AS lease_over,
    (SELECT count(*) FROM prediction_results r WHERE r.prediction_id = p.id) AS results,
    (SELECT count(*) FROM outputs o WHERE o.prediction_id = p.id) AS outputs
FROM predictions p LEFT JOIN leases l ON l.prediction_id = p.id
""")
TENANT_DRIFT = text("""
SELECT t.id FROM tenants t LEFT JOIN api_keys k ON k.tenant_id = t.id
GROUP BY t.id HAVING t.active <> coalesce(sum(k.active), 0)
""")


@dataclass
class Expected:
    """What a prediction's row must say."""

    id: uuid.UUID
    caller: Caller
    model: str
    needs_fetch: bool
    order: tuple[int, int]
    status: Status = Status.QUEUED
    claim: Claimed | None = None
    lost: int = 0
    cancel_requested: bool = False
    lease_over: bool = False
    overdue: bool = False

    @property
    def active(self) -> bool:
        return self.status in ACTIVE

    def move(self, to: Status) -> None:
        assert to in MOVES[self.status]
        self.status, self.claim, self.lease_over = to, None, False


def output(position: int = 0) -> StoredOutput:
    return StoredOutput(
        position=position, object_key=f"x/{position}", media_type="image/webp", bytes=1, sha256="0" * 64,
        width=16, height=16, render_width=16, render_height=16, crop=None, seed=1, steps=1,
        device_microseconds=1000, safety=Safety.UNCHECKED,
    )  # fmt: skip


class Lifecycle(RuleBasedStateMachine):
    def __init__(self, database: Database, callers: list[Caller], models: dict[str, Model]) -> None:
        super().__init__()
        self.database, self.callers, self.models = database, callers, models
        self.all: dict[uuid.UUID, Expected] = {}
        self.claims: list[Claimed] = []
        self.revisions: dict[uuid.UUID, tuple[str, int]] = {}

    def call(self, action: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with self.database.session_scope() as session:
            return action(session, *args, **kwargs)

    def sql(self, statement: str, **parameters: Any) -> Any:
        with self.database.session_scope() as session:
            return session.execute(text(statement), parameters).all()

    def holder(self, claim: Claimed) -> Expected | None:
        """The prediction that this claim still holds."""
        found = self.all[claim.id]
        return found if found.claim == claim else None

    def only_if_held(self, claim: Claimed, action: Callable[..., Any], *args: Any, **kwargs: Any) -> Expected | None:
        held = self.holder(claim)
        if held is not None:
            self.call(action, claim, *args, **kwargs)
            return held
        with pytest.raises(LeaseLost):
            self.call(action, claim, *args, **kwargs)
        return None

    @rule(data=st.data(), fetch=st.booleans())
    def admit(self, data: st.DataObject, *, fetch: bool) -> None:
        caller, slug = data.draw(st.sampled_from(self.callers)), data.draw(st.sampled_from(sorted(self.models)))
        asked = request(caller, self.models[slug])
        if fetch:
            asked = dataclasses.replace(
                asked, plan=dataclasses.replace(asked.plan, picture_urls={"image": "https://localhost/x"})
            )
        active = sum(each.active for each in self.all.values() if each.caller.key_id == caller.key_id)
        if active == MAX_ACTIVE:
            with pytest.raises(ConcurrencyLimited):
                self.call(admission.admit, asked, Rules(max_queued=1000))
            return
        self.call(admission.admit, asked, Rules(max_queued=1000))
        ((tag, seq),) = self.sql("SELECT start_tag, seq FROM predictions WHERE id = :id", id=asked.id)
        self.all[asked.id] = Expected(asked.id, caller, slug, fetch, (tag, seq))

    @rule(data=st.data(), may_fetch=st.booleans())
    def claim(self, data: st.DataObject, *, may_fetch: bool) -> None:
        model = self.models[data.draw(st.sampled_from(sorted(self.models)))]
        waiting = [
            each
            for each in self.all.values()
            if each.status is Status.QUEUED and each.model == model.slug and (may_fetch or not each.needs_fetch)
        ]
        who = {"model": model.slug, "version": model.version, "worker_id": uuid.uuid4()}
        claimed = self.call(lifecycle.claim, **who, lease_seconds=LEASE_SECONDS, may_fetch=may_fetch)
        if not waiting:
            assert claimed is None
            return
        first = min(waiting, key=lambda each: each.order)
        assert claimed is not None
        assert (claimed.id, claimed.cancel_requested) == (first.id, False)
        first.move(Status.PROCESSING)
        first.claim = claimed
        self.claims.append(claimed)

    # Few rules, each of which does several things: then what one of them prepares is soon met by another.
    @precondition(lambda self: self.claims)
    @rule(data=st.data(), how=st.sampled_from(["renew", "complete", "fail", "cancel_held", "hand_back", "let_go"]))
    def a_worker_acts(self, data: st.DataObject, how: str) -> None:
        getattr(self, how)(data.draw(st.sampled_from(self.claims)))

    def renew(self, claim: Claimed) -> None:
        if held := self.only_if_held(claim, lifecycle.renew, Progress(Stage.STEP, 1, 2, 3), LEASE_SECONDS):
            held.lease_over = False
            assert self.call(lifecycle.renew, claim, Progress(), LEASE_SECONDS) is held.cancel_requested

    def complete(self, claim: Claimed) -> None:
        outputs = [output(position) for position in range(2)]
        if held := self.only_if_held(claim, lifecycle.complete, outputs, device_microseconds=5):
            held.move(Status.CANCELLED if held.cancel_requested else Status.SUCCEEDED)

    def fail(self, claim: Claimed) -> None:
        if held := self.only_if_held(claim, lifecycle.fail, code="x", message="x", device_microseconds=5):
            held.move(Status.FAILED)

    def cancel_held(self, claim: Claimed) -> None:
        if held := self.only_if_held(claim, lifecycle.cancel_held, device_microseconds=5):
            held.move(Status.CANCELLED)

    def hand_back(self, claim: Claimed) -> None:
        if held := self.only_if_held(claim, lifecycle.hand_back):
            held.move(Status.CANCELLED if held.cancel_requested else Status.QUEUED)

    def let_go(self, claim: Claimed) -> None:
        if held := self.only_if_held(claim, lifecycle.let_go):
            held.lease_over = True

    @precondition(lambda self: self.all)
    @rule(data=st.data(), stranger=st.booleans())
    def cancel(self, data: st.DataObject, *, stranger: bool) -> None:
        wanted = data.draw(st.sampled_from(list(self.all.values())))
        tenant = uuid.uuid4() if stranger else wanted.caller.tenant_id
        heard = self.call(lifecycle.cancel, wanted.id, tenant)
        assert heard is (wanted.active and not stranger)
        if heard and wanted.status is Status.QUEUED:
            wanted.move(Status.CANCELLED)
        elif heard:
            wanted.cancel_requested = True

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), sweep=st.booleans())
    def time_passes_for_a_lease(self, data: st.DataObject, *, sweep: bool) -> None:
        claim = data.draw(st.sampled_from(self.claims))
        if held := self.holder(claim):
            held.lease_over = True
            past = "clock_timestamp() - interval '1 s'"
            self.sql(f"UPDATE leases SET expires_at = {past} WHERE prediction_id = :id RETURNING 1", id=claim.id)
        if sweep:
            self.expire()

    def expire(self) -> None:
        over = [each for each in self.all.values() if each.lease_over]
        assert self.call(sweeps.expire, max_attempts=MAX_ATTEMPTS) == len(over)
        for each in over:
            if each.cancel_requested:
                each.move(Status.CANCELLED)
            elif each.lost + 1 >= MAX_ATTEMPTS:
                each.move(Status.FAILED)
            else:
                each.move(Status.QUEUED)
                each.lost += 1

    @precondition(lambda self: self.all)
    @rule(data=st.data(), sweep=st.booleans())
    def time_passes_for_a_prediction(self, data: st.DataObject, *, sweep: bool) -> None:
        wanted = data.draw(st.sampled_from(list(self.all.values())))
        wanted.overdue = True
        older = "created_at - interval '2 h'"
        self.sql(f"UPDATE predictions SET created_at = {older} WHERE id = :id RETURNING 1", id=wanted.id)
        if sweep:
            late = [each for each in self.all.values() if each.overdue and each.status is Status.QUEUED]
            assert self.call(sweeps.fail_overdue, max_queue_seconds=3600) == len(late)
            for each in late:
                each.move(Status.FAILED)

    @precondition(lambda self: len(self.all) > MAX_ACTIVE)
    @rule(data=st.data())
    def a_model_is_withdrawn(self, data: st.DataObject) -> None:
        served = data.draw(st.sampled_from([sorted(self.models), sorted(self.models)[:1]]))
        gone = [each for each in self.all.values() if each.status is Status.QUEUED and each.model not in served]
        assert self.call(sweeps.fail_withdrawn, models=served) == len(gone)
        for each in gone:
            each.move(Status.FAILED)

    @invariant()
    def rows_say_what_was_done(self) -> None:
        with self.database.session_scope() as session:
            rows = session.execute(ROWS).all()
            assert lookup.slot_drift(session) == []
            assert session.execute(TENANT_DRIFT).all() == []
        assert len(rows) == len(self.all)
        for row in rows:
            self.row_says_what_was_done(row, self.all[row.id])

    def row_says_what_was_done(self, row: Any, expected: Expected) -> None:
        assert (row.status, row.lost) == (expected.status, expected.lost)
        assert row.cancel_requested == expected.cancel_requested
        if expected.status is Status.PROCESSING:
            assert expected.claim is not None
            assert (row.claim_id, row.lease_claim_id) == (expected.claim.claim_id,) * 2
            assert row.lease_over == expected.lease_over
        else:
            assert row.lease_claim_id is None
        assert (row.completed_at is None, row.results == 0) == (expected.active, expected.active)
        assert (row.outputs > 0) == (expected.status is Status.SUCCEEDED)
        status, revision = self.revisions.get(row.id, (Status.QUEUED, 0))
        assert row.revision > revision or (row.revision == revision and row.status == status)
        self.revisions[row.id] = (row.status, row.revision)


def test_whatever_is_called_in_whatever_order(
    database: Database, postgres: PrivatePostgres, new_caller: NewCaller, flux_dev: Model
) -> None:
    models = {slug: dataclasses.replace(flux_dev, slug=slug) for slug in ("flux-dev", "other")}

    def machine() -> Lifecycle:
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute(f"TRUNCATE {TABLES} CASCADE")
        limits = {"max_active": MAX_ACTIVE, "creates_per_minute": 1000}
        callers = [new_caller(tenant, **limits) for tenant in ("one", "one", "two")]
        return Lifecycle(database, callers, models)

    run_state_machine_as_test(
        machine,  # type: ignore[arg-type]  # a factory, as its documentation allows
        settings=settings(
            max_examples=20,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],  # with a database behind it, shrinking takes minutes
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_what_comes_back_still_needs_its_picture_fetched(database: Database, caller: Caller, flux_dev: Model) -> None:
    asked = request(caller, flux_dev)
    asked = dataclasses.replace(
        asked, plan=dataclasses.replace(asked.plan, picture_urls={"image": "https://localhost/x"})
    )
    who: dict[str, Any] = {"model": flux_dev.slug, "version": flux_dev.version, "worker_id": uuid.uuid4()}
    with database.session_scope() as session:
        admission.admit(session, asked, Rules(max_queued=10))
    with database.session_scope() as session:
        claimed = lifecycle.claim(session, **who, lease_seconds=9)
        assert claimed
        lifecycle.hand_back(session, claimed)
    with database.session_scope() as session:
        assert lifecycle.claim(session, **who, lease_seconds=9, may_fetch=False) is None
        assert lifecycle.claim(session, **who, lease_seconds=9) is not None


STALE: list[Callable[[Session, Claimed], object]] = [
    lambda session, claim: lifecycle.renew(session, claim, Progress(), 60),
    lambda session, claim: lifecycle.complete(session, claim, [output()], device_microseconds=1),
    lambda session, claim: lifecycle.fail(session, claim, code="x", message="x", device_microseconds=1),
    lambda session, claim: lifecycle.cancel_held(session, claim, device_microseconds=1),
    lifecycle.hand_back,
    lifecycle.let_go,
]


def test_a_stale_claim_can_write_nothing_while_another_holds(
    database: Database, caller: Caller, flux_dev: Model
) -> None:
    who: dict[str, Any] = {"model": flux_dev.slug, "version": flux_dev.version, "worker_id": uuid.uuid4()}
    with database.session_scope() as session:
        admission.admit(session, request(caller, flux_dev), Rules(max_queued=10))
    with database.session_scope() as session:
        stale = lifecycle.claim(session, **who, lease_seconds=0)
        assert stale
    with database.session_scope() as session:
        assert sweeps.expire(session, max_attempts=3) == 1
        held = lifecycle.claim(session, **who, lease_seconds=60)
        assert held
    assert (stale.id, stale.attempt, held.attempt) == (held.id, 1, 2)
    for half_stale in (stale, dataclasses.replace(held, claim_id=stale.claim_id), dataclasses.replace(held, attempt=1)):
        for write in STALE:
            with pytest.raises(LeaseLost), database.session_scope() as session:
                write(session, half_stale)
    with database.session_scope() as session:
        assert lifecycle.renew(session, held, Progress(), 60) is False


def test_what_its_owner_cancelled_is_not_handed_back(database: Database, caller: Caller, flux_dev: Model) -> None:
    who: dict[str, Any] = {"model": flux_dev.slug, "version": flux_dev.version, "worker_id": uuid.uuid4()}
    with database.session_scope() as session:
        admission.admit(session, request(caller, flux_dev), Rules(max_queued=10))
    with database.session_scope() as session:
        held = lifecycle.claim(session, **who, lease_seconds=60)
        assert held
        assert lifecycle.cancel(session, held.id, caller.tenant_id)
        lifecycle.hand_back(session, held)
    with database.session_scope() as session:
        view = lookup.prediction(session, held.id, caller.tenant_id)
    assert view
    assert view.status == "cancelled"


def test_what_its_owner_cancelled_does_not_succeed(database: Database, caller: Caller, flux_dev: Model) -> None:
    who: dict[str, Any] = {"model": flux_dev.slug, "version": flux_dev.version, "worker_id": uuid.uuid4()}
    with database.session_scope() as session:
        admission.admit(session, request(caller, flux_dev), Rules(max_queued=10))
    with database.session_scope() as session:
        held = lifecycle.claim(session, **who, lease_seconds=60)
        assert held
        assert lifecycle.cancel(session, held.id, caller.tenant_id)
    with database.session_scope() as session:
        assert lifecycle.complete(session, held, [output()], device_microseconds=1) is False
    with database.session_scope() as session:
        view = lookup.prediction(session, held.id, caller.tenant_id)
        assert lookup.object_keys(session, held.id) == set()
    assert view
    assert (view.status, view.outputs) == ("cancelled", [])


def test_only_its_own_version_is_claimed(database: Database, caller: Caller, flux_dev: Model) -> None:
    with database.session_scope() as session:
        admission.admit(session, request(caller, flux_dev), Rules(max_queued=10))
    who: dict[str, Any] = {"model": flux_dev.slug, "worker_id": uuid.uuid4(), "lease_seconds": 9}
    with database.session_scope() as session:
        assert lifecycle.claim(session, version="another", **who) is None
        assert lifecycle.claim(session, version=flux_dev.version, **who) is not None
