"""A prediction that its owner deletes: nothing of it is left but what limits and fairness are told from."""

import uuid
from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import text

from fluxfarm import admission, forgetting, lifecycle, lookup, upkeep
from fluxfarm.admission import Rules
from fluxfarm.catalog import Model
from fluxfarm.database import Database
from fluxfarm.errors import NotFinished, NotFound, RateLimited, RepeatedDifferently
from fluxfarm.keys import Caller
from fluxfarm.outcomes import Safety, StoredOutput
from fluxfarm.retries import Repeatable
from tests.farm import create, request

OUTPUT = StoredOutput(
    position=0,
    object_key="tenants/t/predictions/p/1-c/0.png",
    media_type="image/png",
    bytes=1,
    sha256="0" * 64,
    width=64,
    height=64,
    render_width=64,
    render_height=64,
    crop=None,
    seed=1,
    steps=1,
    device_microseconds=1,
    safety=Safety.UNCHECKED,
)
OLDER = text("UPDATE predictions SET created_at = created_at - interval '2 min'")


def finish(database: Database, model: Model) -> uuid.UUID:
    with database.session_scope() as session:
        held = lifecycle.claim(
            session, model=model.slug, version=model.version, worker_id=uuid.uuid4(), lease_seconds=30
        )
        assert held is not None
        lifecycle.complete(session, held, [OUTPUT], device_microseconds=1)
    return held.id


def delete(database: Database, caller: Caller, prediction: uuid.UUID) -> forgetting.Hidden | None:
    with database.session_scope() as session:
        hidden = forgetting.hide(session, prediction, caller.tenant_id)
    if hidden is not None:
        with database.session_scope() as session:
            forgetting.clear(session, hidden)
    return hidden


def scalar(database: Database, sql: str) -> int:
    with database.session_scope() as session:
        return int(session.execute(text(sql)).scalar_one())


def forget_expired(database: Database) -> int:
    with database.session_scope() as session:
        found = upkeep.expired(session)
        upkeep.forget(session, [each.id for each in found])
    return len(found)


def test_it_is_unknown_before_its_objects_go_and_nothing_tells_of_it_after(
    database: Database, caller: Caller, flux_dev: Model
) -> None:
    create(database, caller, flux_dev)
    prediction = finish(database, flux_dev)
    with database.session_scope() as session:
        hidden = forgetting.hide(session, prediction, caller.tenant_id)
    assert hidden is not None
    assert (hidden.object_keys, hidden.untidy) == ((OUTPUT.object_key,), False)
    with database.session_scope() as session:
        assert lookup.prediction(session, prediction, caller.tenant_id) is None
        assert lookup.output(session, prediction, 0) is None
    assert delete(database, caller, prediction) == hidden, "what broke off is done again"
    for table in ("prediction_inputs", "prediction_results", "outputs"):
        assert scalar(database, f"SELECT count(*) FROM {table}") == 0
    assert delete(database, caller, prediction) is None
    with database.session_scope() as session:
        session.execute(OLDER)
    assert forget_expired(database) == 1
    assert delete(database, caller, prediction) is None


def test_only_what_has_ended_and_is_ones_own(
    database: Database, caller: Caller, flux_dev: Model, new_caller: Callable[..., Caller]
) -> None:
    waiting = create(database, caller, flux_dev)
    with pytest.raises(NotFinished, match="cancel"):
        delete(database, caller, waiting)
    prediction = finish(database, flux_dev)
    for stranger, wanted in ((new_caller(), prediction), (caller, uuid.uuid4())):
        with pytest.raises(NotFound):
            delete(database, stranger, wanted)
    delete(database, caller, prediction)
    with pytest.raises(NotFound):
        delete(database, new_caller(), prediction)


def test_it_still_counts_in_its_minute_and_then_its_row_goes(
    database: Database, flux_dev: Model, new_caller: Callable[..., Caller]
) -> None:
    caller = new_caller(creates_per_minute=1)
    create(database, caller, flux_dev)
    delete(database, caller, finish(database, flux_dev))
    assert forget_expired(database) == 0
    with pytest.raises(RateLimited):
        create(database, caller, flux_dev)
    with database.session_scope() as session:
        session.execute(OLDER)
    assert forget_expired(database) == 1
    assert scalar(database, "SELECT count(*) FROM predictions") == 0
    create(database, caller, flux_dev)


def test_what_broke_off_is_gone_on_with_once_its_minute_is_over(
    database: Database, flux_dev: Model, new_caller: Callable[..., Caller]
) -> None:
    caller = new_caller(creates_per_minute=1)
    create(database, caller, flux_dev)
    prediction = finish(database, flux_dev)
    with database.session_scope() as session:
        forgetting.hide(session, prediction, caller.tenant_id)
    assert forget_expired(database) == 0
    with pytest.raises(RateLimited):
        create(database, caller, flux_dev)
    with database.session_scope() as session:
        session.execute(OLDER)
        (found,) = upkeep.expired(session)
    assert (found.id, found.object_keys) == (prediction, (OUTPUT.object_key,))


def test_virtual_time_does_not_go_back_with_it(database: Database, caller: Caller, flux_dev: Model) -> None:
    for _ in range(3):
        create(database, caller, flux_dev)
        prediction = finish(database, flux_dev)
    reached = scalar(database, "SELECT max(start_tag) FROM predictions")
    assert reached > 0
    delete(database, caller, prediction)
    with database.session_scope() as session:
        session.execute(OLDER)
    forget_expired(database)
    assert scalar(database, "SELECT virtual_floor FROM model_queues") == reached


def test_a_late_repetition_by_an_own_id_makes_nothing_until_a_day_has_passed(
    database: Database, caller: Caller, flux_dev: Model
) -> None:
    own_id = uuid.uuid4()
    repeatable = Repeatable(caller.tenant_id, b"body", own_id=own_id)
    assert repeatable.row_id is not None
    asked = replace(request(caller, flux_dev), id=repeatable.row_id, repeatable=repeatable)

    def admit() -> None:
        with database.session_scope() as session:
            admission.admit(session, asked, Rules(max_queued=100))

    admit()
    assert finish(database, flux_dev) == repeatable.row_id
    with database.session_scope() as session:
        assert forgetting.hide(session, own_id, caller.tenant_id) is not None
    with pytest.raises(RepeatedDifferently, match="deleted"):
        admit()
    assert delete(database, caller, own_id) is not None
    assert delete(database, caller, own_id) is None
    with pytest.raises(RepeatedDifferently, match="deleted"):
        admit()
    with database.session_scope() as session:
        session.execute(OLDER)
    assert forget_expired(database) == 1
    with pytest.raises(RepeatedDifferently, match="deleted"):
        admit()
    with database.session_scope() as session:
        session.execute(text("UPDATE remembered SET at = at - interval '24 h'"))
    admit()
