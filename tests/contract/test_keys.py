"""Keys: how they are sent, what they may do, and how they end."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from fluxfarm import keys
from fluxfarm.database import Database
from fluxfarm.keys import IssuedKey
from tests.api import Api, Client, until
from tests.contract.conftest import NewClient

UNKNOWN = "/v1/prediction/00000000-0000-0000-0000-000000000000"
SCOPES = ("predict", "read", "cancel")


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "Key ", "Token ", "BEARER   "])
def test_a_key_in_authorization_is_taken(stranger: Client, new_key: Callable[..., IssuedKey], scheme: str) -> None:
    assert stranger.get(UNKNOWN, headers={"Authorization": scheme + new_key().key}).status_code == 404


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": ""},
        {"X-API-Key": "nonsense"},
        {"X-API-Key": "flx_1_2_3"},
        {"X-API-Key": "ä" * 70},
        {"X-API-Key": "x" * 5000},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic dXNlcjpwYXNz"},
        {"Authorization": "\u00ff\u00fe junk"},
        {"Authorization": "Bearer a, Bearer b"},
        {"Authorization": "Digest username=x"},
    ],
)
@pytest.mark.parametrize("call", [("GET", UNKNOWN), ("POST", "/v1/prediction"), ("POST", UNKNOWN + "/cancel")])
def test_without_a_valid_key_there_is_401(stranger: Client, call: tuple[str, str], headers: dict[str, str]) -> None:
    encoded: Any = {name: value.encode("latin-1") for name, value in headers.items()}
    response = stranger.ask(*call, headers=encoded)
    assert response.status_code == 401
    assert response.json()["code"] == "unauthenticated"
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_key_that_was_cut_short_or_mistyped_is_told_apart_without_a_look_up(client: Client, stranger: Client) -> None:
    assert client.key is not None
    for wrong in (client.key[:-1], client.key[:-1] + "!", client.key.swapcase()):
        answer = stranger.get(UNKNOWN, headers={"X-API-Key": wrong})
        assert "cut short" in answer.json()["error"]
        assert wrong not in answer.text


@pytest.mark.parametrize(
    ("scope", "method", "path"),
    [("predict", "POST", "/v1/prediction"), ("read", "GET", UNKNOWN), ("cancel", "POST", UNKNOWN + "/cancel")],
)
def test_each_call_takes_its_scope(new_client: NewClient, scope: str, method: str, path: str) -> None:
    without = new_client(scopes=tuple(each for each in SCOPES if each != scope))
    response = without.ask(method, path, json={})
    assert (response.status_code, response.json()["code"]) == (403, "forbidden")
    assert scope in response.json()["error"]
    assert new_client(scopes=(scope,)).ask(method, path, json={}).status_code in (400, 404)


def test_the_safety_checker_is_disabled_only_by_a_key_that_may(new_client: NewClient) -> None:
    refusal = new_client().try_create("unserved", disable_safety_checker=True)
    assert (refusal.status_code, refusal.json()["code"]) == (403, "safety_checker_required")
    assert new_client().try_create("unserved", disable_safety_checker=False).status_code == 200
    client = new_client(scopes=("predict", "read", "safety:off"))
    shown = client.look(client.create("unserved", disable_safety_checker=True))["input"]
    assert shown["disable_safety_checker"] is True


def test_a_revoked_key_ends_within_five_seconds(
    api: Api, described: Any, new_key: Callable[..., IssuedKey], database: Database
) -> None:
    issued = new_key("tenant", reads_per_minute=100_000)
    with Client(api.url, described, issued.key) as client:
        prediction = client.create("unserved")
        with database.session_scope() as session:
            keys.revoke(session, issued.id, by="test")
        revoked_at = time.monotonic()
        assert client.try_create("unserved").status_code == 401, "a create looks at the row itself"
        until(lambda: client.get(f"/v1/prediction/{prediction}").status_code == 401, lambda: "still valid")
        assert time.monotonic() - revoked_at < 5
        assert "revoked" in client.get(UNKNOWN).json()["error"]
