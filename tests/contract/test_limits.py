"""Limits: how many, how often, and what a caller is told of them."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask import Request
from sqlalchemy import text

from api import auth
from api.auth import WRONG_KEYS_PER_MINUTE
from fluxfarm import lookup
from fluxfarm.database import Database
from fluxfarm.errors import RateLimited, Unauthenticated
from fluxfarm.keys import IssuedKey
from fluxfarm.queue import redis_client
from fluxfarm.ratelimit import RateLimiter
from fluxfarm.settings import Settings
from tests.api import Api, Client, Description
from tests.contract.conftest import MAX_QUEUED, PROXY, NewClient

WRONG = "flx_000000000000_0000000000000000000000000000000000000000000_000000"


def at_once(clients: list[Client], **sent: Any) -> list[Any]:
    """One create from each of the clients, all at the same time."""
    answers: list[Any] = [None] * len(clients)
    gate = threading.Barrier(len(clients))

    def create(place: int) -> None:
        gate.wait()
        answers[place] = clients[place].try_create("unserved", **sent)

    threads = [threading.Thread(target=create, args=(place,)) for place in range(len(clients))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_ten_at_once_and_an_eleventh_is_refused(
    api: Api, described: Description, new_key: Callable[..., IssuedKey], database: Database
) -> None:
    key = new_key().key
    clients = [Client(api.url, described, key) for _ in range(11)]
    answers = at_once(clients)
    assert sorted(answer.status_code for answer in answers) == [200] * 10 + [429]
    refusal = next(answer for answer in answers if answer.status_code == 429)
    assert refusal.json()["code"] == "concurrency_limited"
    assert "10 active predictions" in refusal.json()["error"]
    assert int(refusal.headers["Retry-After"]) >= 1
    assert (refusal.headers["X-Concurrency-Limit"], refusal.headers["X-Concurrency-Remaining"]) == ("10", "0")
    left = sorted(int(answer.headers["X-Concurrency-Remaining"]) for answer in answers if answer is not refusal)
    assert left == list(range(10))
    done = [answer.json()["predictionID"] for answer in answers if answer is not refusal]
    clients[0].ask("POST", f"/v1/prediction/{done[0]}/cancel")
    assert clients[0].try_create("unserved").status_code == 200
    with database.session_scope() as session:
        assert lookup.slot_drift(session) == []
    for client in clients:
        client.close()


def test_creates_per_minute_are_limited_and_counted_down(new_client: NewClient) -> None:
    client = new_client(creates_per_minute=3)
    answers = [client.try_create("unserved") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert [answer.headers["RateLimit-Remaining"] for answer in answers] == ["2", "1", "0", "0"]
    assert {answer.headers["RateLimit-Limit"] for answer in answers} == {"3"}
    assert answers[3].json()["code"] == "rate_limited"
    for name in ("Retry-After", "RateLimit-Reset"):
        assert 50 <= int(answers[3].headers[name]) <= 60


def test_a_refused_create_gives_its_place_back(new_client: NewClient, database: Database) -> None:
    client = new_client(creates_per_minute=2, max_active=1)
    first = client.create("unserved")
    refused = [client.try_create("unserved") for _ in range(3)]
    assert {answer.json()["code"] for answer in refused} == {"concurrency_limited"}
    assert {answer.headers["RateLimit-Remaining"] for answer in refused} == {"1"}
    client.ask("POST", f"/v1/prediction/{first}/cancel")
    assert client.try_create("unserved").status_code == 200
    with database.session_scope() as session:
        assert lookup.slot_drift(session) == []


def test_refused_attempts_have_a_looser_limit_of_their_own(new_client: NewClient) -> None:
    client = new_client(creates_per_minute=1)
    answers = [client.post({}) for _ in range(11)]
    assert [answer.status_code for answer in answers] == [400] * 10 + [429]
    assert "creates refused a minute" in answers[10].json()["error"]
    assert answers[10].headers["RateLimit-Limit"] == "10"


def test_a_full_queue_refuses(client: Client, database: Database) -> None:
    for _ in range(MAX_QUEUED):
        client.create("unserved")
    refusal = client.try_create("unserved")
    assert (refusal.status_code, refusal.json()["code"]) == (429, "queue_full")
    assert int(refusal.headers["Retry-After"]) >= 1
    with database.session_scope() as session:
        assert session.execute(text("SELECT sum(active) FROM api_keys")).scalar_one() == MAX_QUEUED
        assert lookup.slot_drift(session) == []


def test_reads_have_a_bucket_of_their_own(new_client: NewClient) -> None:
    client = new_client(creates_per_minute=2, reads_per_minute=3)
    prediction = client.create("unserved")
    answers = [client.get(f"/v1/prediction/{prediction}") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert [answer.headers["RateLimit-Remaining"] for answer in answers] == ["2", "1", "0", "0"]
    assert "read 3 times a minute" in answers[3].json()["error"]
    assert client.try_create("unserved").status_code == 200


def test_wrong_keys_are_limited_per_address(
    api: Api, described: Description, new_key: Callable[..., IssuedKey], client: Client
) -> None:
    client.try_create("unserved")
    address = "127.0.0.6"  # No other test has spent its room.
    with Client(api.url, described, WRONG, source=address) as guesser:
        answers = [guesser.get("/v1/prediction/x") for _ in range(WRONG_KEYS_PER_MINUTE + 1)]
    assert [answer.status_code for answer in answers] == [401] * WRONG_KEYS_PER_MINUTE + [429]
    assert int(answers[-1].headers["Retry-After"]) >= 1
    with Client(api.url, described, new_key().key, source=address) as unlucky:
        assert unlucky.get("/v1/prediction/x").status_code == 429
    with Client(api.url, described, new_key().key, source="127.0.0.2") as elsewhere:
        assert elsewhere.get("/v1/prediction/x").status_code == 404
    assert client.get("/v1/prediction/x").status_code == 404


def test_a_key_that_was_right_is_not_shut_out_by_its_neighbours(
    new_key: Callable[..., IssuedKey], database: Database, farm: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "REMEMBERED_SECONDS", 0)
    limiter = RateLimiter(redis_client(farm), processes=1)
    known = auth.Authenticator(database, limiter)
    known_key, new = new_key().key, new_key().key

    def ask(key: str) -> None:
        known.caller(Request({"REMOTE_ADDR": "127.0.0.5", "HTTP_X_API_KEY": key}), scope="read")

    ask(known_key)
    for _ in range(auth.WRONG_KEYS_PER_MINUTE):
        with pytest.raises(Unauthenticated):
            ask(WRONG)
    with pytest.raises(RateLimited):
        ask(new)
    ask(known_key)


def test_whom_a_trusted_proxy_names_is_limited_not_the_proxy(api: Api, described: Description) -> None:
    with Client(api.url, described, WRONG, source=PROXY) as proxied:

        def guess(named: str) -> int:
            return proxied.get("/v1/prediction/x", headers={"X-Forwarded-For": named}).status_code

        # What stands before the last hop is what that hop was told.
        assert {guess(f"10.0.0.{place}, 198.51.100.7") for place in range(WRONG_KEYS_PER_MINUTE)} == {401}
        assert guess("198.51.100.7") == 429
        assert guess(f"198.51.100.7, {PROXY}") == 429
        assert guess("198.51.100.8") == 401
        assert {guess(f"[2001:db8::{place:x}]:99") for place in range(WRONG_KEYS_PER_MINUTE)} == {401}
        assert guess("2001:db8::ffff") == 429, "one customer's network is one address"
        assert guess("2001:db8:0:1::1") == 401


def test_others_cannot_say_that_they_are_somebody_else(api: Api, described: Description) -> None:
    with Client(api.url, described, WRONG, source="127.0.0.3") as liar:
        names = [f"198.51.100.{place}" for place in range(WRONG_KEYS_PER_MINUTE + 1)]
        answers = [liar.get("/v1/prediction/x", headers={"X-Forwarded-For": name}) for name in names]
    assert [answer.status_code for answer in answers] == [401] * WRONG_KEYS_PER_MINUTE + [429]


def test_only_a_trusted_proxy_names_the_host_that_links_start_with(
    api: Api, described: Description, new_key: Callable[..., IssuedKey], farm: Settings
) -> None:
    key = new_key().key
    told = {"X-Forwarded-Host": "pictures.example", "X-Forwarded-Proto": "https"}
    with Client(api.url, described, key, source=PROXY) as proxied, Client(api.url, described, key) as direct:
        prediction = direct.create("unserved")
        for client, start in ((proxied, "https://pictures.example"), (direct, api.url)):
            found = client.get(f"/v1/prediction/{prediction}", headers=told).json()
            assert found["urls"]["get"] == f"{start}/v1/prediction/{prediction}"


def test_public_reads_are_limited_per_address(api: Api, described: Description) -> None:
    with Client(api.url, described, source="127.0.0.4") as reader:
        answers = [reader.get("/v1/model?slug=flux-dev") for _ in range(3)]
    assert [answer.headers["RateLimit-Remaining"] for answer in answers] == ["599", "598", "597"]
