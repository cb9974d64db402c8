"""Cancel-After: what waits past it is cancelled with its reason, what is rendered past it is marked."""

import uuid
from dataclasses import replace

from sqlalchemy import text

from fluxfarm import admission, lifecycle, lookup, sweeps
from fluxfarm.admission import Rules
from fluxfarm.catalog import Model
from fluxfarm.database import Database
from fluxfarm.keys import Caller
from fluxfarm.lifecycle import Claimed
from fluxfarm.lookup import PredictionView
from tests.farm import create, request

PASS = text("UPDATE predictions SET cancel_at = clock_timestamp() - interval '1 s' WHERE id = :id")


def create_until(database: Database, caller: Caller, model: Model, seconds: int) -> uuid.UUID:
    asked = replace(request(caller, model), cancel_after_seconds=seconds)
    with database.session_scope() as session:
        admission.admit(session, asked, Rules(max_queued=100))
    return asked.id


def claim(database: Database, model: Model) -> Claimed:
    with database.session_scope() as session:
        held = lifecycle.claim(
            session, model=model.slug, version=model.version, worker_id=uuid.uuid4(), lease_seconds=30
        )
    assert held is not None
    return held


def pass_deadline(database: Database, prediction: uuid.UUID) -> None:
    with database.session_scope() as session:
        session.execute(PASS, {"id": prediction})


def sweep(database: Database) -> tuple[int, int]:
    with database.session_scope() as session:
        return sweeps.cancel_past_deadline(session), sweeps.mark_past_deadline(session)


def seen(database: Database, caller: Caller, prediction: uuid.UUID) -> PredictionView:
    with database.session_scope() as session:
        view = lookup.prediction(session, prediction, caller.tenant_id)
        assert lookup.slot_drift(session) == []
    assert view is not None
    return view


def reason(view: PredictionView) -> str | None:
    assert view.result is not None
    assert (view.result.error_code is None) == (view.result.error_message is None)
    return view.result.error_code


def test_only_what_waits_past_its_deadline_is_cancelled(database: Database, caller: Caller, flux_dev: Model) -> None:
    late, early = (create_until(database, caller, flux_dev, 3600) for _ in range(2))
    endless = create(database, caller, flux_dev)
    pass_deadline(database, late)
    assert sweep(database) == (1, 0)
    assert sweep(database) == (0, 0)
    view = seen(database, caller, late)
    assert (view.status, reason(view)) == ("cancelled", "cancel_after")
    assert [seen(database, caller, each).status for each in (early, endless)] == ["queued", "queued"]


def test_what_is_rendered_past_its_deadline_is_marked_once_and_ends_with_the_reason(
    database: Database, caller: Caller, flux_dev: Model
) -> None:
    create_until(database, caller, flux_dev, 3600)
    held = claim(database, flux_dev)
    assert sweep(database) == (0, 0)
    pass_deadline(database, held.id)
    assert sweep(database) == (0, 1)
    assert sweep(database) == (0, 0)
    view = seen(database, caller, held.id)
    assert (view.status, view.canceling, view.revision) == ("processing", True, 2)
    with database.session_scope() as session:
        lifecycle.cancel_held(session, held, device_microseconds=1)
    assert reason(seen(database, caller, held.id)) == "cancel_after"


def test_what_its_owner_cancelled_before_has_no_other_reason(
    database: Database, caller: Caller, flux_dev: Model
) -> None:
    create_until(database, caller, flux_dev, 3600)
    held, waiting = claim(database, flux_dev), create_until(database, caller, flux_dev, 3600)
    for each in (held.id, waiting):
        with database.session_scope() as session:
            assert lifecycle.cancel(session, each, caller.tenant_id)
    with database.session_scope() as session:
        session.execute(text("UPDATE predictions SET cancel_at = clock_timestamp() WHERE cancel_at IS NOT NULL"))
        lifecycle.cancel_held(session, held, device_microseconds=1)
    assert [reason(seen(database, caller, each)) for each in (held.id, waiting)] == [None, None]


def test_what_is_past_its_deadline_is_claimed_no_more(database: Database, caller: Caller, flux_dev: Model) -> None:
    late, early = (create_until(database, caller, flux_dev, 3600) for _ in range(2))
    pass_deadline(database, late)
    assert claim(database, flux_dev).id == early
    with database.session_scope() as session:
        assert not lifecycle.claim(
            session, model=flux_dev.slug, version=flux_dev.version, worker_id=uuid.uuid4(), lease_seconds=30
        )


def test_what_came_in_time_keeps_its_pictures(database: Database, caller: Caller, flux_dev: Model) -> None:
    create_until(database, caller, flux_dev, 3600)
    held = claim(database, flux_dev)
    pass_deadline(database, held.id)
    with database.session_scope() as session:
        lifecycle.fail(session, held, code="worker_lost", message="lost", device_microseconds=1)
    assert reason(seen(database, caller, held.id)) == "worker_lost"
    assert sweep(database) == (0, 0)
