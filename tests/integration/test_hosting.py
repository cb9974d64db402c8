"""Tenants and keys as an operator runs them: settings, lists of models, suspension, priorities, shares, erasure."""

import uuid
from collections.abc import Callable

import pytest
from sqlalchemy import text

from fluxfarm import audit, keys, lifecycle, line, lookup, tenants, upkeep
from fluxfarm.admission import Rules
from fluxfarm.catalog import Model
from fluxfarm.database import Database
from fluxfarm.erasure import erase_tenant
from fluxfarm.errors import Conflict, InvalidInput, ModelNotAllowed, NotFound, TenantSuspended, Unauthenticated
from fluxfarm.keys import Caller
from fluxfarm.lifecycle import Claimed
from fluxfarm.settings import Settings
from fluxfarm.storage import object_key, open_store
from tests.farm import create

NewCaller = Callable[..., Caller]
PLENTY = {"creates_per_minute": 10_000, "max_active": 10_000}
BY_KEY = Rules(max_queued=1_000_000, fair_between="key")


def claim(database: Database, model: Model) -> Claimed | None:
    with database.session_scope() as session:
        return lifecycle.claim(
            session, model=model.slug, version=model.version, worker_id=uuid.uuid4(), lease_seconds=30
        )


def test_a_tenant_is_made_changed_and_listed(database: Database) -> None:
    with database.session_scope() as session:
        made = tenants.create(session, "studio", {"weight": 2, "models": ["flux-dev"]}, by="ann")
        assert (made.weight, made.models, made.max_active) == (2.0, ["flux-dev"], None)
    with database.session_scope() as session:
        changed = tenants.change(session, "studio", {"weight": None, "max_active": "8", "contact": "a@b"}, by="bob")
        assert (changed.weight, changed.max_active, changed.contact) == (1.0, 8, "a@b")
        assert [tenant.name for tenant in tenants.every(session)] == ["studio"]
    with pytest.raises(Conflict), database.session_scope() as session:
        tenants.create(session, "studio", {}, by="ann")
    with database.session_scope() as session:
        first, second = audit.recent(session)
    assert (first.actor, first.action, first.subject) == ("bob", "tenant changed", "studio")
    assert first.details["was"] == {"weight": 2.0, "max_active": None, "contact": None}
    assert (second.actor, second.action) == ("ann", "tenant created")


def test_wrong_settings_are_all_named_and_change_nothing(database: Database) -> None:
    with database.session_scope() as session:
        tenants.create(session, "studio", {}, by="ann")
    with pytest.raises(InvalidInput) as refused, database.session_scope() as session:
        tenants.change(session, "studio", {"weigth": 1, "max_active": 0, "models": "flux-dev", "weight": 3}, by="ann")
    assert {each.field for each in refused.value.details} == {"weigth", "max_active", "models"}
    assert "did you mean weight?" in refused.value.message
    with database.session_scope() as session:
        assert tenants.show(session, "studio").weight == 1.0
        assert len(audit.recent(session)) == 1


def test_a_key_is_changed_and_rotated_with_both_alive(database: Database) -> None:
    with database.session_scope() as session:
        tenants.ensure(session, "studio", by="ann")
        old = keys.issue(session, tenant="studio", settings={"name": "app", "max_active": 3}, by="ann")
    with database.session_scope() as session:
        keys.change(session, old.id, {"max_active": 4, "scopes": ["predict"]}, by="ann")
        new = keys.rotate(session, old.id, overlap_seconds=3600, by="ann")
    with database.session_scope() as session:
        both = [keys.authenticate(session, each.key) for each in (old, new)]
    assert [caller.limits.max_active for caller in both] == [4, 4]
    assert both[1].scopes == {"predict"}
    with database.session_scope() as session:
        session.execute(text("UPDATE api_keys SET expires_at = clock_timestamp() WHERE id = :id"), {"id": old.id})
    with pytest.raises(Unauthenticated, match="expired"), database.session_scope() as session:
        keys.authenticate(session, old.key)
    with database.session_scope() as session:
        keys.revoke(session, new.id, by="ann")
    with pytest.raises(Conflict), database.session_scope() as session:
        keys.rotate(session, new.id, overlap_seconds=1, by="ann")
    with database.session_scope() as session:
        actions = [entry.action for entry in audit.recent(session)]
    assert actions == ["key revoked", "key rotated", "key issued", "key changed", "key issued", "tenant created"]


def test_a_rotated_key_ends_when_the_old_one_would_have(database: Database) -> None:
    with database.session_scope() as session:
        tenants.ensure(session, "studio", by="ann")
        old = keys.issue(session, tenant="studio", settings={}, by="ann", expires_in_days=7)
        end = keys.show(session, old.id).expires_at
        new = keys.rotate(session, old.id, overlap_seconds=3600, by="ann")
        assert end is not None
        assert keys.show(session, new.id).expires_at == end
        session.execute(text("UPDATE api_keys SET expires_at = clock_timestamp()"))
    with pytest.raises(Conflict, match="expired"), database.session_scope() as session:
        keys.rotate(session, old.id, overlap_seconds=3600, by="ann")


def test_an_interrupted_erasure_keeps_slots_right(database: Database, flux_dev: Model, new_caller: NewCaller) -> None:
    leaving = new_caller("leaving", **PLENTY)
    for _ in range(3):
        create(database, leaving, flux_dev)
    claim(database, flux_dev)
    with database.session_scope() as session:
        assert upkeep.erase_some(session, leaving.tenant_id, batch=2) == 2
    with database.session_scope() as session:
        assert lookup.slot_drift(session) == []
        assert tenants.show(session, "leaving").active == 1


def test_a_name_that_no_path_can_hold_is_refused(database: Database) -> None:
    for name in ("a/b", "a\0b", "a\nb"):
        with pytest.raises(InvalidInput, match="name"), database.session_scope() as session:
            tenants.create(session, name, {}, by="ann")


def test_last_use_is_noted_coarsely(database: Database, caller: Caller) -> None:
    with database.session_scope() as session:
        issued = keys.issue(session, tenant=keys.every(session)[0].tenant, settings={}, by="ann")
        assert keys.show(session, issued.id).last_used_at is None
    seen = []
    for _ in range(2):
        with database.session_scope() as session:
            keys.authenticate(session, issued.key)
        with database.session_scope() as session:
            seen.append(keys.show(session, issued.id).last_used_at)
    assert seen[0] is not None
    assert seen[0] == seen[1]


@pytest.mark.parametrize("whose", ["tenants", "api_keys"])
def test_a_model_that_is_not_on_the_list_is_refused_saying_whose_list(
    database: Database, flux_dev: Model, caller: Caller, whose: str
) -> None:
    allowed = frozenset({"flux-schnell"})
    limited = Caller(
        caller.key_id,
        caller.tenant_id,
        caller.scopes,
        caller.limits,
        models=allowed if whose == "api_keys" else None,
        tenant_models=allowed if whose == "tenants" else None,
    )
    with pytest.raises(ModelNotAllowed, match="tenant may not" if whose == "tenants" else "The key may not"):
        create(database, limited, flux_dev)
    create(database, caller, flux_dev)


def test_a_suspended_tenants_work_waits_and_goes_on_from_its_place(
    database: Database, flux_dev: Model, new_caller: NewCaller
) -> None:
    paused, other = new_caller("paused", **PLENTY), new_caller("other", **PLENTY)
    waiting = [create(database, paused, flux_dev) for _ in range(2)]
    held = claim(database, flux_dev)
    assert held
    create(database, other, flux_dev)
    with database.session_scope() as session:
        tenants.suspend(session, "paused", by="ann")
    with database.session_scope() as session:
        lifecycle.hand_back(session, held)
    with database.session_scope() as session:
        tenants.hold_queued(session)
    with pytest.raises(TenantSuspended):
        create(database, paused, flux_dev)
    claimed = claim(database, flux_dev)
    assert claimed
    assert claimed.tenant_id == other.tenant_id
    assert claim(database, flux_dev) is None
    with database.session_scope() as session:
        tenants.resume(session, "paused", by="ann")
    with database.session_scope() as session:
        tenants.hold_queued(session)
    again = [claim(database, flux_dev) for _ in range(2)]
    assert [each.id for each in again if each] == waiting


def test_low_priority_starts_only_while_nothing_normal_waits(
    database: Database, flux_dev: Model, new_caller: NewCaller
) -> None:
    patient, hasty = new_caller(**PLENTY), new_caller(**PLENTY)
    low = [create(database, patient, flux_dev, low_priority=True) for _ in range(3)]
    normal = [create(database, hasty, flux_dev) for _ in range(2)]
    with database.session_scope() as session:
        view = lookup.prediction(session, low[0], patient.tenant_id)
        waits = view.waits if view else None
        assert waits
        queue = line.look(session, waits.model, waits.version, lease_seconds=30)
    assert queue.place(waits.rank, 0).position == 3
    order = [held.id for _ in range(5) if (held := claim(database, flux_dev))]
    assert order == [*normal, *low]


def test_a_low_priority_backlog_does_not_count_against_its_owners_normal_work(
    database: Database, flux_dev: Model, new_caller: NewCaller
) -> None:
    both, other = new_caller(**PLENTY), new_caller(**PLENTY)
    for _ in range(20):
        create(database, both, flux_dev, low_priority=True)
    for _ in range(2):
        create(database, other, flux_dev)
        create(database, both, flux_dev)
    order = [held.tenant_id for _ in range(2) if (held := claim(database, flux_dev))]
    assert set(order) == {both.tenant_id, other.tenant_id}


def test_shares_between_keys_where_the_operator_says_so(
    database: Database, flux_dev: Model, new_caller: NewCaller
) -> None:
    busy, quiet = new_caller("studio", **PLENTY), new_caller("studio", **PLENTY)
    for _ in range(10):
        create(database, busy, flux_dev, rules=BY_KEY)
    create(database, quiet, flux_dev, rules=BY_KEY)
    first_two = [held.id for _ in range(2) if (held := claim(database, flux_dev))]
    with database.session_scope() as session:
        owners = session.execute(
            text("SELECT key_id FROM predictions WHERE id = ANY(:ids)"), {"ids": first_two}
        ).scalars()
        assert set(owners) == {busy.key_id, quiet.key_id}


def test_an_erased_tenant_leaves_nothing_and_harms_nobody(
    database: Database, flux_dev: Model, new_caller: NewCaller, settings: Settings
) -> None:
    leaving, staying = new_caller("leaving", **PLENTY), new_caller("staying", **PLENTY)
    store = open_store(settings)
    predictions = [create(database, leaving, flux_dev) for _ in range(3)]
    create(database, staying, flux_dev)
    store.put(object_key(leaving.tenant_id, predictions[0], 1, uuid.uuid4(), 0, "webp"), b"x", "image/webp")
    kept = object_key(staying.tenant_id, uuid.uuid4(), 1, uuid.uuid4(), 0, "webp")
    store.put(kept, b"x", "image/webp")
    held = claim(database, flux_dev)
    assert held
    erased = erase_tenant(database, store, "leaving", by="ann")
    assert (erased.predictions, erased.objects, erased.keys) == (3, 1, 1)
    assert list(store.keys(f"tenants/{leaving.tenant_id}/")) == []
    assert list(store.keys(f"tenants/{staying.tenant_id}/")) == [kept]
    with database.session_scope() as session:
        assert [tenant.name for tenant in tenants.every(session)] == ["staying"]
        assert lookup.slot_drift(session) == []
        owners = session.execute(text("SELECT owner FROM fair_tags")).scalars().all()
    assert owners == [str(staying.tenant_id)]
    with pytest.raises(NotFound):
        erase_tenant(database, store, "leaving", by="ann")
    last = create(database, staying, flux_dev)
    with database.session_scope() as session:
        tag = session.execute(text("SELECT start_tag FROM predictions WHERE id = :id"), {"id": last}).scalar_one()
        floor = session.execute(text("SELECT virtual_floor FROM model_queues")).scalar_one()
    assert tag >= floor
