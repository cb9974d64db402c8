"""The same create, again and at once: admitted by one row and one slot, and told of ever after."""

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psycopg
import pytest
from sqlalchemy import make_url, text

from api.creates import Creates
from fluxfarm import admission, lifecycle, retries, upkeep
from fluxfarm.admission import Request, Rules, Verdict
from fluxfarm.catalog import Model
from fluxfarm.database import Database
from fluxfarm.erasure import erase_tenant
from fluxfarm.errors import ConcurrencyLimited, InFlight, LimitState, QueueFull, RepeatedDifferently, Unavailable
from fluxfarm.keys import Caller
from fluxfarm.queue import TokenQueue
from fluxfarm.retries import Repeatable, Replayed
from fluxfarm.settings import Settings
from fluxfarm.storage import LocalStore
from tests.farm import request
from tests.processes import Proxy, wait_until

NewCaller = Callable[..., Caller]
ROOMY = Rules(max_queued=1000)
RACERS = 8
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


def keyed(caller: Caller, model: Model, key: str = "k", body: bytes = b"body") -> Request:
    return replace(request(caller, model), repeatable=Repeatable(caller.tenant_id, body, key))


def named(caller: Caller, model: Model, own_id: uuid.UUID, body: bytes = b"body") -> Request:
    repeatable = Repeatable(caller.tenant_id, body, own_id=own_id)
    assert repeatable.row_id is not None
    return replace(request(caller, model), id=repeatable.row_id, repeatable=repeatable)


def ask(database: Database, *asked: Request, rules: Rules = ROOMY) -> list[Verdict]:
    with database.statement_scope() as statements:
        return admission.admit_all(statements, asked, rules)


def scalar(database: Database, sql: str) -> int:
    with database.session_scope() as session:
        return int(session.execute(text(sql)).scalar_one())


def made(database: Database) -> tuple[int, int, int]:
    """Rows, taken slots, and creates that were counted."""
    return (
        scalar(database, "SELECT count(*) FROM predictions"),
        scalar(database, "SELECT sum(active) FROM api_keys"),
        scalar(database, "SELECT sum(created) FROM api_keys"),
    )


def test_in_one_group_each_sees_those_before_it(database: Database, flux_dev: Model, new_caller: NewCaller) -> None:
    caller, own_id = new_caller(max_active=3), uuid.uuid4()
    first, again, other = keyed(caller, flux_dev), keyed(caller, flux_dev), keyed(caller, flux_dev, body=b"other")
    by_id, by_id_again = named(caller, flux_dev, own_id), named(caller, flux_dev, own_id)
    plain, too_many = request(caller, flux_dev), keyed(caller, flux_dev, "l")
    verdicts = ask(database, first, plain, again, other, by_id, by_id_again, too_many)
    assert [type(each) for each in verdicts] == [
        *(LimitState, LimitState, Replayed, RepeatedDifferently, LimitState, Replayed, ConcurrencyLimited)
    ]
    assert [verdicts[2], verdicts[5]] == [Replayed(first.id), Replayed(own_id)]
    assert made(database) == (3, 3, 3)
    assert scalar(database, "SELECT count(*) FROM remembered") == 2, "what was refused is not remembered"


@pytest.mark.parametrize("by_id", [False, True])
def test_many_at_once_over_several_keys_of_a_tenant_make_one(
    database: Database, flux_dev: Model, new_caller: NewCaller, *, by_id: bool
) -> None:
    """The first is held at its tenant's row, so that none of the others can see what it writes."""
    callers, own_id = [new_caller("studio") for _ in range(RACERS)], uuid.uuid4()
    outcomes: list[str] = []

    def one(caller: Caller) -> None:
        asked = named(caller, flux_dev, own_id) if by_id else keyed(caller, flux_dev)
        outcomes.append(type(ask(database, asked)[0]).__name__)

    threads = [threading.Thread(target=one, args=(caller,)) for caller in callers]
    with database.session_scope() as session:
        session.execute(text("SELECT FROM tenants FOR UPDATE"))
        for thread in threads:
            thread.start()
        wait_until(lambda: scalar(database, WAITING) + len(outcomes) == RACERS)
    for thread in threads:
        thread.join()
    assert Counter(outcomes) == {"LimitState": 1, "InFlight": RACERS - 1}
    assert made(database) == (1, 1, 1)


def test_who_waited_while_another_was_admitted_is_told_of_it_and_not_refused(
    database: Database, flux_dev: Model, new_caller: NewCaller
) -> None:
    caller = new_caller(max_active=1, creates_per_minute=1)
    first = keyed(caller, flux_dev)
    assert isinstance(ask(database, first)[0], LimitState)
    assert ask(database, keyed(caller, flux_dev)) == [Replayed(first.id)]
    with database.session_scope() as session:
        assert admission.admit(session, keyed(caller, flux_dev), ROOMY) == Replayed(first.id)
    assert isinstance(ask(database, keyed(caller, flux_dev, "l"))[0], ConcurrencyLimited)


def test_what_another_transaction_is_at_is_in_flight_and_touches_nothing(
    database: Database, flux_dev: Model, caller: Caller
) -> None:
    asked = keyed(caller, flux_dev)
    assert asked.repeatable is not None
    with database.session_scope() as session:
        session.execute(retries.TRY_ALONE, {"lock": asked.repeatable.name})
        session.execute(text("SELECT FROM api_keys FOR UPDATE"))
        # It would be cut off if it waited for the rows of who is at it.
        assert isinstance(ask(database, asked)[0], InFlight)
    assert isinstance(ask(database, asked)[0], LimitState)


def test_a_full_queue_is_counted_under_the_locks_for_these_too(
    database: Database, flux_dev: Model, caller: Caller
) -> None:
    rules = Rules(max_queued=1)
    first, second = keyed(caller, flux_dev), keyed(caller, flux_dev, "l")
    assert isinstance(ask(database, first, rules=rules)[0], LimitState)
    assert ask(database, second, rules=rules) == [None]
    assert ask(database, keyed(caller, flux_dev), rules=rules) == [Replayed(first.id)]


def test_who_must_count_under_the_locks_waits_too_for_another_that_came_between(
    database: Database, flux_dev: Model, caller: Caller, settings: Settings
) -> None:
    """It waits at its key's row, and whoever waits for its lock meanwhile has that by the time it asks again."""
    creates = Creates(database, TokenQueue(settings), Rules(max_queued=1))
    assert isinstance(ask(database, keyed(caller, flux_dev, "l"))[0], LimitState)
    asked, until, url = keyed(caller, flux_dev), time.monotonic() + 1.5, str(settings.database_url)
    assert asked.repeatable is not None
    lock = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
    with ThreadPoolExecutor(2) as pool, psycopg.connect(url) as between:
        with psycopg.connect(url) as holder:
            holder.execute("SELECT FROM api_keys FOR UPDATE")
            answer = pool.submit(creates.admit, asked, until)
            wait_until(lambda: scalar(database, WAITING) == 1)
            has_it = pool.submit(between.execute, lock, [asked.repeatable.name])
            wait_until(lambda: scalar(database, WAITING) == 2)
        has_it.result()
        with pytest.raises(InFlight):
            answer.result()
        assert time.monotonic() >= until, "it asked again and again until then"
    with pytest.raises(QueueFull):
        creates.admit(asked, until)


def test_an_answer_that_was_lost_is_told_to_who_asks_again(
    database: Database, flux_dev: Model, caller: Caller, settings: Settings
) -> None:
    url = make_url(settings.require_database_url())
    with Proxy(url.port or 0) as proxy:
        far = Database(url.set(port=proxy.port).render_as_string(hide_password=False), pool_size=1)
        words = b"INSERT INTO remembered"
        proxy.lose_answer_to_commit_after(words, commit=words)
        first = keyed(caller, flux_dev)
        with pytest.raises(Unavailable):
            ask(far, first)
        far.close()
    wait_until(lambda: made(database) == (1, 1, 1))
    assert ask(database, keyed(caller, flux_dev)) == [Replayed(first.id)]


def test_an_own_id_is_remembered_for_a_day_though_its_row_went_sooner(
    database: Database, flux_dev: Model, caller: Caller
) -> None:
    own_id = uuid.uuid4()
    assert isinstance(ask(database, named(caller, flux_dev, own_id))[0], LimitState)
    with database.session_scope() as session:
        assert lifecycle.cancel(session, own_id, caller.tenant_id)
        session.execute(text("UPDATE predictions SET expires_at = now(), created_at = now() - interval '1 h'"))
        upkeep.forget(session, [each.id for each in upkeep.expired(session)])
    assert scalar(database, "SELECT count(*) FROM predictions") == 0
    assert ask(database, named(caller, flux_dev, own_id)) == [Replayed(own_id)]
    assert isinstance(ask(database, named(caller, flux_dev, own_id, b"other"))[0], RepeatedDifferently)
    assert isinstance(ask(database, keyed(caller, flux_dev, str(own_id)))[0], LimitState), "a key is no id"
    with database.session_scope() as session:
        session.execute(text("UPDATE remembered SET at = at - interval '24 h'"))
    assert isinstance(ask(database, named(caller, flux_dev, own_id))[0], LimitState)
    with database.session_scope() as session:
        session.execute(text("UPDATE remembered SET at = at - interval '24 h'"))
    assert ask(database, named(caller, flux_dev, own_id)) == [Replayed(own_id)], "as long as its row is there"


def test_what_is_a_day_old_is_forgotten_in_batches(
    database: Database, flux_dev: Model, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "BATCH", 2)
    ask(database, *(keyed(caller, flux_dev, f"old-{n}") for n in range(3)))
    with database.session_scope() as session:
        session.execute(text("UPDATE remembered SET at = at - interval '24 h'"))
    ask(database, keyed(caller, flux_dev, "young"))
    counts = []
    for _ in range(3):
        with database.session_scope() as session:
            counts.append(retries.forget_old(session))
    assert counts == [2, 1, 0]
    assert scalar(database, "SELECT count(*) FROM remembered") == 1


def test_all_goes_with_its_tenant(
    database: Database, flux_dev: Model, new_caller: NewCaller, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "BATCH", 2)
    leaving, staying = new_caller("leaving"), new_caller("staying")
    for caller in (leaving, staying):
        ask(database, *(keyed(caller, flux_dev, f"{n}") for n in range(3)))
    erase_tenant(database, LocalStore(settings.data_dir / "erasure"), "leaving", by="test")
    assert scalar(database, "SELECT count(*) FROM remembered") == 3
    assert scalar(database, "SELECT count(DISTINCT tenant_id) FROM remembered") == 1
