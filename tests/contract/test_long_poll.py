"""Reads that are held until there is news."""

import dataclasses
import signal
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from sqlalchemy import text

from fluxfarm.announce import Announcer
from fluxfarm.database import Database
from fluxfarm.moves import Moved, Word
from fluxfarm.settings import Settings
from tests.api import Client, serving, until
from tests.contract.played import PlayedWorker, Telling, picture
from tests.processes import Proxy
from tests.servers import free_port

LONG = "wait=60"
"""Longer than the client's patience: what is answered was woken."""
HELD_PATIENCE_SECONDS = 55

AT_WORK = text("""
SELECT count(*) FROM pg_stat_activity
WHERE application_name = 'fluxfarm api' AND state_change > clock_timestamp() - interval '1 second'
""")


@contextmanager
def held(client: Client, prediction: str, query: str, **headers: str) -> Iterator[Future[requests.Response]]:
    """A read over a connection of its own."""
    with Client(client.url, client.described, client.key) as own, ThreadPoolExecutor(1) as pool:
        patience: dict[str, Any] = {"headers": headers, "timeout": HELD_PATIENCE_SECONDS}
        yield pool.submit(own.get, f"/v1/prediction/{prediction}?{query}", **patience)


def status(response: requests.Response) -> str:
    assert response.status_code == 200, response.text
    return str(response.json()["status"])


def test_a_read_that_may_wait_is_answered_with_the_end(client: Client, telling: Telling) -> None:
    prediction = client.create("unserved")
    with held(client, prediction, LONG) as poll:
        at = telling.claim()
        telling.step(at, image=1, step=1, steps=2)
        telling.succeed(at, picture())
        assert status(poll.result()) == "success"
    assert status(client.get(f"/v1/prediction/{prediction}?{LONG}")) == "success"


def test_at_the_time_the_present_state_is_told(client: Client, telling: Telling) -> None:
    prediction = client.create("unserved")
    with held(client, prediction, "wait=1") as poll:
        telling.claim()
        answer = poll.result()
    assert status(answer) == "processing"
    assert answer.headers["Retry-After"] == "1", "it is to go on waiting, not to sleep through the end"


def test_the_header_says_the_same_as_the_query(client: Client, telling: Telling) -> None:
    prediction = client.create("unserved")
    with held(client, prediction, "", Prefer="handling=lenient, wait=60") as poll:
        telling.succeed(telling.claim(), picture())
        assert status(poll.result()) == "success"


def test_any_news_ends_a_wait_for_a_change(client: Client, telling: Telling) -> None:
    ahead, prediction = client.create("unserved"), client.create("unserved")
    path = f"/v1/prediction/{prediction}"
    answer = client.get(path)
    held_by: list[Any] = []
    moves = {
        ("starting", 1, 0, False): lambda: client.ask("POST", f"/v1/prediction/{ahead}/cancel"),
        ("processing", 0, 0, False): lambda: held_by.append(telling.claim()),
        ("processing", 0, 3, False): lambda: telling.step(held_by[0], image=1, step=3, steps=28),
        ("processing", 0, 3, True): lambda: client.ask("POST", f"/v1/prediction/{prediction}/cancel"),
    }
    for expected, move in moves.items():
        with held(client, prediction, f"{LONG}&until=change", **{"If-None-Match": answer.headers["ETag"]}) as poll:
            move()
            answer = poll.result()
        # Of its place another process may know what was a second ago.
        while answer.json()["status"] == "starting" and shown(answer) != expected:
            tag = answer.headers["ETag"]
            answer = client.get(f"{path}?{LONG}&until=change", headers={"If-None-Match": tag})
        assert shown(answer) == expected


def shown(answer: requests.Response) -> tuple[str, int, int, bool]:
    told = answer.json()
    return told["status"], told["queue"]["position"], told["progress"]["step"], told["canceling"]


def test_what_the_caller_does_not_know_yet_is_told_at_once(client: Client, telling: Telling) -> None:
    prediction = client.create("unserved")
    known = client.get(f"/v1/prediction/{prediction}").headers["ETag"]
    telling.claim()
    assert status(client.get(f"/v1/prediction/{prediction}?{LONG}&until=change&since={known}")) == "processing"
    bare = known.removeprefix("W/").strip('"')
    assert status(client.get(f"/v1/prediction/{prediction}?{LONG}&until=change&since={bare}")) == "processing"


def test_an_etag_tells_whether_there_is_news(client: Client, telling: Telling) -> None:
    prediction = client.create("unserved")
    path = f"/v1/prediction/{prediction}"
    # The queue is looked at once a second.
    until(lambda: client.look(prediction)["queue"]["position"] == 1, lambda: str(client.look(prediction)["queue"]))
    first = client.get(path)
    assert first.headers["ETag"].startswith('W/"')
    again = client.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.headers["ETag"]) == (304, first.headers["ETag"])
    unchanged = client.get(f"{path}?wait=1&until=change", headers={"If-None-Match": first.headers["ETag"]})
    assert unchanged.status_code == 304
    at = telling.claim()
    moved = client.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert (moved.status_code, moved.json()["status"]) == (200, "processing")
    telling.succeed(at, picture())
    ended = client.get(path)
    assert ended.headers["ETag"] not in (first.headers["ETag"], moved.headers["ETag"])
    assert client.get(f"{path}?{LONG}", headers={"If-None-Match": ended.headers["ETag"]}).status_code == 304


@pytest.mark.parametrize("query", ["wait=soon", "wait=-1", "wait=1.5", "until=never"])
def test_a_wish_that_makes_no_sense_is_refused_by_name(client: Client, query: str) -> None:
    answer = client.get(f"/v1/prediction/{client.create('unserved')}?{query}")
    assert answer.status_code == 400
    assert [each["field"] for each in answer.json()["details"]] == [query.partition("=")[0]]


def test_a_preference_that_makes_no_sense_is_ignored(client: Client) -> None:
    prediction = client.create("unserved")
    assert (
        status(client.get(f"/v1/prediction/{prediction}", headers={"Prefer": "wait=soon, return=minimal"}))
        == "starting"
    )


def test_foreign_and_unknown_ones_are_not_waited_for(client: Client, new_client: Any) -> None:
    foreign = new_client().create("unserved")
    for prediction in (foreign, "00000000-0000-0000-0000-000000000000"):
        assert client.get(f"/v1/prediction/{prediction}?{LONG}").status_code == 404


def test_a_held_call_counts_once_and_holds_no_connection(new_client: Any, telling: Telling) -> None:
    client = new_client(reads_per_minute=40, creates_per_minute=100, max_active=100)
    prediction = client.create("unserved")
    with ThreadPoolExecutor(30) as pool:
        own = [Client(client.url, client.described, client.key) for _ in range(30)]
        polls = [pool.submit(each.get, f"/v1/prediction/{prediction}?{LONG}") for each in own]
        # More than a process has connections to the database; others are answered all the while.
        at = telling.claim()
        for step in range(1, 10):
            telling.step(at, image=1, step=step, steps=28)
        assert client.get(f"/v1/prediction/{prediction}").status_code == 200
        telling.succeed(at, picture())
        assert {status(poll.result()) for poll in polls} == {"success"}
        for each in own:
            each.close()
    counted = 40 - int(client.get(f"/v1/prediction/{prediction}").headers["RateLimit-Remaining"])
    assert counted == 32


def test_more_than_a_key_may_hold_are_answered_at_once(
    farm: Settings, logs: Path, client: Client, telling: Telling, settings: Settings
) -> None:
    prediction = client.create("unserved")
    with (
        serving(dataclasses.replace(farm, max_waits=1, api_workers=1), logs) as api,
        Client(api.url, client.described, client.key) as narrow,
        held(narrow, prediction, LONG) as poll,
    ):
        until(lambda: "doorbell is heard" in api.log.read_text(), api.log.read_text)
        refused = narrow.get(f"/v1/prediction/{prediction}?{LONG}")
        assert (status(refused), refused.headers["Retry-After"]) == ("starting", "1")
        telling.succeed(telling.claim(), picture())
        assert status(poll.result()) == "success"
        assert status(narrow.get(f"/v1/prediction/{prediction}?wait=1")) == "success"


def test_a_ring_is_enough(farm: Settings, logs: Path, client: Client, announcer: Announcer, database: Database) -> None:
    """No look of its own can wake a call while the database is away, so it is the doorbell that does."""
    prediction = client.create("unserved")
    address = urlsplit(farm.require_database_url())
    with Proxy(address.port or 0) as proxy:
        url = farm.require_database_url().replace(f":{address.port}/", f":{proxy.port}/")
        own = dataclasses.replace(farm, database_url=url, api_workers=1)
        with (
            serving(own, logs) as api,
            Client(api.url, client.described, client.key) as far,
            held(far, prediction, LONG) as poll,
        ):
            until(lambda: "doorbell is heard" in api.log.read_text(), api.log.read_text)
            # It looks again once the doorbell is heard.
            until(lambda: not looking(database), lambda: "the API never rests")
            proxy.cut()
            announcer.tell([Moved(uuid.UUID(prediction), "key", 1, Word.SUCCEEDED)])
            assert poll.result().status_code == 503


def test_without_a_ring_the_rows_are_looked_at(farm: Settings, logs: Path, client: Client, database: Database) -> None:
    quiet = PlayedWorker(database, farm)
    first, second = client.create("unserved"), client.create("unserved")
    deaf = dataclasses.replace(farm, redis_url=f"redis://127.0.0.1:{free_port()}/0", api_workers=1)
    for settings, prediction in ((deaf, first), (dataclasses.replace(farm, api_workers=1), second)):
        with serving(settings, logs) as api, Client(api.url, client.described, client.key) as own:
            known = own.get(f"/v1/prediction/{prediction}").headers["ETag"]
            with held(own, prediction, f"{LONG}&until=change", **{"If-None-Match": known}) as poll:
                at = quiet.claim()
                assert status(poll.result()) == "processing"
            with held(own, prediction, LONG) as poll:
                quiet.succeed(at, picture())
                assert status(poll.result()) == "success"


def test_a_doorbell_that_was_lost_is_found_again(
    farm: Settings, logs: Path, client: Client, telling: Telling, settings: Settings
) -> None:
    address = urlsplit(farm.require_redis_url())
    with Proxy(address.port or 0) as proxy:
        url = farm.require_redis_url().replace(f":{address.port}/", f":{proxy.port}/")
        own = dataclasses.replace(farm, redis_url=url, api_workers=1)
        with serving(own, logs) as api, Client(api.url, client.described, client.key) as far:
            prediction = client.create("unserved")
            with held(far, prediction, LONG) as poll:
                until(lambda: "doorbell is heard" in api.log.read_text(), api.log.read_text)
                proxy.cut()
                until(lambda: '"doorbell"' in api.log.read_text(), api.log.read_text)
                proxy.mend()
                until(lambda: api.log.read_text().count("doorbell is heard") == 2, api.log.read_text)
                telling.succeed(telling.claim(), picture())
                assert status(poll.result()) == "success"


def test_a_stop_answers_what_is_held(farm: Settings, logs: Path, client: Client, settings: Settings) -> None:
    prediction = client.create("unserved")
    with (
        serving(dataclasses.replace(farm, api_workers=1), logs) as api,
        Client(api.url, client.described, client.key) as own,
        held(own, prediction, LONG) as poll,
    ):
        until(lambda: "doorbell is heard" in api.log.read_text(), api.log.read_text)
        api.process.send_signal(signal.SIGTERM)
        assert status(poll.result()) == "starting"


def looking(database: Database) -> bool:
    """Whether an API asked the database for something a moment ago."""
    with database.session_scope() as session:
        return bool(session.scalar(AT_WORK))
