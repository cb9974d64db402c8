"""A tenant's list: the right ones, in order, page by page without a gap or a double while new ones come."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from sqlalchemy import text

from fluxfarm import history
from fluxfarm.catalog import Model
from fluxfarm.database import Database
from fluxfarm.history import Entry, Page, Wanted
from fluxfarm.keys import Caller
from fluxfarm.status import Status
from tests.farm import create

CHANGE = text("UPDATE predictions SET model = :model, status = :status, created_at = :at WHERE id = :id")
NOON = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
MODELS = ("a", "b", "c")


@pytest.fixture
def made(database: Database, caller: Caller, flux_dev: Model, new_caller: Callable[..., Caller]) -> list[uuid.UUID]:
    """Thirty of each model and status in turn, the latest first; several at the same moment; and some of another's."""
    found = []
    kinds = list(product(MODELS, Status))
    for number in range(2 * len(kinds)):
        prediction = create(database, caller, flux_dev)
        model, status = kinds[number % len(kinds)]
        change(database, prediction, model, status, NOON - timedelta(minutes=number // 4))
        found.append((NOON - timedelta(minutes=number // 4), prediction))
    change(database, create(database, new_caller(), flux_dev), "a", Status.FAILED, NOON)
    return [prediction for _, prediction in sorted(found, reverse=True)]


def change(database: Database, prediction: uuid.UUID, model: str, status: Status, at: datetime) -> None:
    with database.session_scope() as session:
        session.execute(CHANGE, {"id": prediction, "model": model, "status": status.value, "at": at})


def page(database: Database, caller: Caller, wanted: Wanted = Wanted(), **place: Any) -> Page:  # noqa: B008 (frozen)
    with database.read_scope() as connection:
        return history.page(connection, caller.tenant_id, wanted, **{"limit": 100, **place})


def ids(page: Page) -> list[uuid.UUID]:
    return [entry.id for entry in page.entries]


def test_all_of_a_tenants_the_latest_first(database: Database, caller: Caller, made: list[uuid.UUID]) -> None:
    found = page(database, caller)
    assert (ids(found), found.total, found.capped, found.last) == (made, 30, False, None)


@pytest.mark.parametrize("filters", [Wanted(), Wanted(statuses=[Status.FAILED, Status.QUEUED]), Wanted(model="b")])
def test_pages_by_number_and_by_cursor_are_the_whole_list(
    database: Database, caller: Caller, made: list[uuid.UUID], filters: Wanted
) -> None:
    whole = ids(page(database, caller, filters))
    numbered = [
        each for offset in range(0, 30, 7) for each in ids(page(database, caller, filters, limit=7, offset=offset))
    ]
    assert numbered == whole
    at, followed = page(database, caller, filters, limit=7), []
    while True:
        followed += ids(at)
        if at.last is None:
            break
        at = page(database, caller, filters, limit=7, seen=at.last)
    assert followed == whole


def test_what_comes_meanwhile_does_not_move_a_cursor(
    database: Database, caller: Caller, flux_dev: Model, made: list[uuid.UUID]
) -> None:
    first = page(database, caller, limit=9)
    create(database, caller, flux_dev)
    assert ids(page(database, caller, limit=9, seen=first.last)) == made[9:18]
    assert ids(page(database, caller, limit=9, offset=9)) == made[8:17]


@pytest.mark.parametrize("model", [None, *MODELS, "another"])
@pytest.mark.parametrize("statuses", [None, *([status] for status in Status), [Status.FAILED, Status.SUCCEEDED]])
def test_filters_by_model_and_status(
    database: Database, caller: Caller, made: list[uuid.UUID], model: str | None, statuses: list[Status] | None
) -> None:
    def meant(entry: Entry) -> bool:
        return model in (None, entry.model) and (statuses is None or entry.status in statuses)

    expected = [entry.id for entry in page(database, caller).entries if meant(entry)]
    found = page(database, caller, Wanted(model, statuses))
    assert (ids(found), found.total) == (expected, len(expected))
    assert len(expected) == (
        0 if model == "another" else 30 * (1 if model is None else 1 / 3) * (len(statuses or Status) / 5)
    )


def test_filters_by_time(database: Database, caller: Caller, made: list[uuid.UUID]) -> None:
    for filters in ({}, {"model": "a"}):
        whole = page(database, caller, Wanted(**filters)).entries
        span = Wanted(**filters, since=NOON - timedelta(minutes=5), until=NOON - timedelta(minutes=1))
        expected = [each.id for each in whole if span.since <= each.created_at < span.until]
        assert 0 < len(expected) < len(whole)
        assert ids(page(database, caller, span)) == expected
    early = Wanted(until=NOON + timedelta(days=history.WINDOW_DAYS, minutes=-3))
    assert page(database, caller, early).total == 16


def test_what_is_over_is_left_out(database: Database, caller: Caller, made: list[uuid.UUID]) -> None:
    with database.session_scope() as session:
        statement = text("UPDATE predictions SET expires_at = clock_timestamp() WHERE id = :id")
        session.execute(statement, {"id": made[3]})
    assert made[3] not in ids(page(database, caller))
    assert page(database, caller, Wanted(statuses=list(Status))).total == 29


def test_the_count_is_capped(
    database: Database, caller: Caller, made: list[uuid.UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "MOST_COUNTED", 20)
    for wanted in (Wanted(), Wanted(statuses=list(Status))):
        found = page(database, caller, wanted, limit=5)
        assert (found.total, found.capped) == (20, True)


SUCCEEDED = text("""
INSERT INTO predictions (
    id, tenant_id, key_id, model, version, start_tag, cost, retention_seconds, request_id, fair_owner, status,
    created_at
) SELECT gen_random_uuid(), :tenant_id, :key_id, 'm', '1', n, 1, 1, '', '', 'succeeded', now() - n * interval '1 min'
FROM generate_series(1, 5000) AS n
""")
SOME_FAILED = text("UPDATE predictions SET status = 'failed' WHERE start_tag % 1000 = 0")


@pytest.mark.parametrize(
    ("statement", "status", "meant"),
    [
        (f"{history.KINDS} {history.CHOSEN_OF_KINDS}", "failed", 5),
        (history.COUNT_OF_KINDS.text, "failed", 5),
        (history.COUNT_OF_KINDS.text, "succeeded", 100),
    ],
)
def test_what_is_not_meant_is_not_walked_through(
    database: Database, caller: Caller, statement: str, status: str, meant: int
) -> None:
    """Though nearly all have succeeded, and no statistics know of the few that have not."""
    asked = {"tenant_id": caller.tenant_id, "model": None, "statuses": [status]}
    page = {"since": None, "until": None, "seen_at": None, "seen_id": history.LATEST, "limit": 20, "offset": 0}
    with database.engine.connect() as connection:
        connection.execute(SUCCEEDED, {"tenant_id": caller.tenant_id, "key_id": caller.key_id})
        connection.execute(text("ANALYZE predictions"))
        connection.execute(SOME_FAILED)
        explain = text(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {statement}")
        plan = connection.execute(explain, {**asked, **page, "most": 100}).scalar_one()
    walked = sum(
        each["Actual Rows"] * each["Actual Loops"] + each.get("Rows Removed by Filter", 0)
        for each in scans(plan[0]["Plan"])
    )
    assert walked <= meant + 5, "a few to find the models"


def scans(node: dict[str, Any]) -> list[dict[str, Any]]:
    """Those of the table itself, in a plan."""
    own = [node] if node.get("Relation Name") == "predictions" else []
    return own + [each for below in node.get("Plans", ()) for each in scans(below)]
