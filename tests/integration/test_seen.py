"""How old an answer may be: a status never, what has ended and is gone for a second at most."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import text

from api.lines import Lines
from api.seen import FRESH_SECONDS, LARGEST_KEPT, Answer, Seen
from fluxfarm import lifecycle
from fluxfarm.catalog import Model
from fluxfarm.database import Database
from fluxfarm.keys import Caller
from fluxfarm.lookup import PredictionView
from tests.farm import create

BASE = "http://here/"


class Reader:
    """A process of the API, with a clock that stands still, and a count of what it rendered."""

    def __init__(self, database: Database) -> None:
        self.now = 0.0
        self.rendered = 0
        self.filling = ""
        self._seen = Seen(database, Lines(database, lease_seconds=30, clock=lambda: self.now), clock=lambda: self.now)

    def read(self, prediction: uuid.UUID, tenant: uuid.UUID, base: str = BASE) -> Answer | None:
        return self._seen.answer(prediction, tenant, base, self._render)

    @property
    def kept(self) -> set[uuid.UUID]:
        return {which[0] for which in (*self._seen._active, *self._seen._ended)}

    def _render(self, view: PredictionView) -> tuple[str, int | None]:
        self.rendered += 1
        return f"{view.status} {view.place.position if view.place else 0}{self.filling}", None


@pytest.fixture
def reader(database: Database) -> Reader:
    return Reader(database)


def told(answer: Answer | None) -> str:
    assert answer is not None
    return answer.body


def claimed(database: Database, model: Model) -> lifecycle.Claimed:
    with database.statement_scope() as statements:
        worker = {"worker_id": uuid.uuid4(), "lease_seconds": 30}
        held = lifecycle.claim(statements, model=model.slug, version=model.version, **worker)
    assert held is not None
    return held


def failed(database: Database, caller: Caller, model: Model) -> uuid.UUID:
    prediction = create(database, caller, model)
    held = claimed(database, model)
    with database.session_scope() as session:
        lifecycle.fail(session, held, code="worker_lost", message="lost", device_microseconds=1)
    return prediction


def test_a_status_is_never_old(database: Database, flux_dev: Model, caller: Caller, reader: Reader) -> None:
    prediction = create(database, caller, flux_dev)
    assert told(reader.read(prediction, caller.tenant_id)) == "queued 1"
    held = claimed(database, flux_dev)
    assert told(reader.read(prediction, caller.tenant_id)) == "processing 0"
    with database.session_scope() as session:
        lifecycle.hand_back(session, held)
    assert told(reader.read(prediction, caller.tenant_id)) == "queued 1"
    with database.session_scope() as session:
        lifecycle.cancel(session, prediction, caller.tenant_id)
    assert told(reader.read(prediction, caller.tenant_id)) == "cancelled 0"


def test_a_place_may_be_old_for_a_moment(database: Database, flux_dev: Model, caller: Caller, reader: Reader) -> None:
    first, second = create(database, caller, flux_dev), create(database, caller, flux_dev)
    assert told(reader.read(second, caller.tenant_id)) == "queued 2"
    with database.session_scope() as session:
        lifecycle.cancel(session, first, caller.tenant_id)
    assert told(reader.read(second, caller.tenant_id)) == "queued 2"
    assert reader.rendered == 1
    reader.now += FRESH_SECONDS
    assert told(reader.read(second, caller.tenant_id)) == "queued 1"


def erase(database: Database, _: uuid.UUID) -> None:
    with database.session_scope() as session:
        session.execute(text("DELETE FROM predictions"))


def expire(database: Database, prediction: uuid.UUID) -> None:
    with database.session_scope() as session:
        which = {"id": prediction}
        session.execute(text("UPDATE predictions SET expires_at = clock_timestamp() WHERE id = :id"), which)


@pytest.mark.parametrize("end", [erase, expire])
def test_what_has_ended_and_is_gone_is_told_of_for_a_second_at_most(
    database: Database, flux_dev: Model, caller: Caller, reader: Reader, end: Callable[[Database, uuid.UUID], None]
) -> None:
    prediction = failed(database, caller, flux_dev)
    assert told(reader.read(prediction, caller.tenant_id)) == "failed 0"
    for _ in range(3):
        reader.now += FRESH_SECONDS
        assert told(reader.read(prediction, caller.tenant_id)) == "failed 0"
    assert reader.rendered == 1, "it is looked up by its revision only"
    end(database, prediction)
    reader.now += FRESH_SECONDS * 0.99
    assert told(reader.read(prediction, caller.tenant_id)) == "failed 0"
    reader.now += FRESH_SECONDS * 0.01
    assert reader.read(prediction, caller.tenant_id) is None


def test_what_waits_and_is_gone_is_told_of_no_more(
    database: Database, flux_dev: Model, caller: Caller, reader: Reader
) -> None:
    prediction = create(database, caller, flux_dev)
    assert reader.read(prediction, caller.tenant_id) is not None
    erase(database, prediction)
    assert reader.read(prediction, caller.tenant_id) is None


def test_a_prediction_is_told_of_though_its_queue_cannot_be_looked_at(
    database: Database, flux_dev: Model, caller: Caller, reader: Reader
) -> None:
    prediction = create(database, caller, flux_dev)
    with locked(database, "workers"):
        assert told(reader.read(prediction, caller.tenant_id)) == "queued 0"
    reader.now += FRESH_SECONDS
    assert told(reader.read(prediction, caller.tenant_id)) == "queued 1"
    reader.now += FRESH_SECONDS
    with locked(database, "workers"):
        assert told(reader.read(prediction, caller.tenant_id)) == "queued 1", "as it was seen last"


@contextmanager
def locked(database: Database, table: str) -> Iterator[None]:
    """Whoever looks into the table gives up, for it takes too long."""
    with database.session_scope() as session:
        session.execute(text(f"LOCK TABLE {table}"))
        yield


def test_an_answer_is_its_tenants_and_its_hosts_alone(
    database: Database, flux_dev: Model, caller: Caller, reader: Reader
) -> None:
    prediction = failed(database, caller, flux_dev)
    assert reader.read(prediction, caller.tenant_id) is not None
    assert reader.read(prediction, uuid.uuid4()) is None
    assert reader.read(prediction, caller.tenant_id, "http://there/") is not None
    assert reader.rendered == 2


def test_a_large_answer_is_not_kept(database: Database, flux_dev: Model, caller: Caller, reader: Reader) -> None:
    prediction = failed(database, caller, flux_dev)
    reader.filling = "x" * LARGEST_KEPT
    for _ in range(2):
        assert reader.read(prediction, caller.tenant_id) is not None
    assert reader.rendered == 2


def test_what_is_active_is_not_kept_for_longer_than_it_is_told(
    database: Database, flux_dev: Model, caller: Caller, reader: Reader
) -> None:
    ended, *waiting = failed(database, caller, flux_dev), *(create(database, caller, flux_dev) for _ in range(3))
    for each in (ended, *waiting[:2]):
        reader.read(each, caller.tenant_id)
    reader.now += FRESH_SECONDS
    reader.read(waiting[2], caller.tenant_id)
    assert reader.kept == {ended, waiting[2]}


def test_each_door_is_told_in_its_own_words(database: Database, flux_dev: Model, caller: Caller) -> None:
    seen = Seen(database, Lines(database, lease_seconds=30))
    prediction = create(database, caller, flux_dev)

    def other(view: PredictionView) -> tuple[str, int | None]:
        return f"waits as {view.status}", None

    for _ in range(2):
        assert told(seen.answer(prediction, caller.tenant_id, BASE, Reader(database)._render)) == "queued 1"
        assert told(seen.answer(prediction, caller.tenant_id, BASE, other)) == "waits as queued"
