"""Which pages may call: those of the origins that the operator names."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from fluxfarm.errors import SettingsError
from fluxfarm.settings import Settings
from tests.api import Client, serving

PAGE, STRANGE = "https://app.example.com", "https://evil.example.com"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type, x-api-key"}


@pytest.fixture(scope="module")
def open_to_pages(farm: Settings, logs: Path) -> Iterator[str]:
    with serving(dataclasses.replace(farm, allowed_origins=(PAGE,), api_workers=1), logs) as api:
        yield api.url


def sent(url: str, method: str, origin: str, headers: dict[str, str]) -> requests.Response:
    return requests.request(method, url + "/v1/prediction", headers={"Origin": origin, **headers}, json={}, timeout=30)


def test_by_default_there_are_none(client: Client) -> None:
    answer = client.get("/v1/models", headers={"Origin": PAGE})
    assert not [name for name in answer.headers if name.startswith("Access-Control")]
    preflight = client.ask("OPTIONS", "/v1/prediction", headers={"Origin": PAGE, **PREFLIGHT})
    assert not [name for name in preflight.headers if name.startswith("Access-Control")]


def test_a_page_that_is_allowed_may_send_keys_and_read_answers(open_to_pages: str, client: Client) -> None:
    preflight = sent(open_to_pages, "OPTIONS", PAGE, PREFLIGHT)
    assert (preflight.status_code, preflight.content) == (204, b"")
    allowed = preflight.headers["Access-Control-Allow-Headers"].lower()
    assert {"x-api-key", "content-type", "authorization", "if-none-match", "prefer"} <= set(allowed.split(", "))
    assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
    for headers in ({}, {"X-API-Key": str(client.key)}):
        answer = sent(open_to_pages, "POST", PAGE, headers)
        # Refusals must be read too.
        assert answer.status_code in (400, 401)
        assert answer.headers["Access-Control-Allow-Origin"] == PAGE
        assert answer.headers["Vary"] == "Origin"
        shown = answer.headers["Access-Control-Expose-Headers"].split(", ")
        assert {"ETag", "X-Request-Id", "RateLimit-Remaining", "Retry-After"} <= set(shown)
        assert "Access-Control-Allow-Credentials" not in answer.headers


def test_other_pages_are_told_nothing(open_to_pages: str, client: Client) -> None:
    for origin in (STRANGE, "null", PAGE + ":8443", PAGE.replace("https", "http")):
        for method, headers in (("OPTIONS", PREFLIGHT), ("POST", {"X-API-Key": str(client.key)})):
            answer = sent(open_to_pages, method, origin, headers)
            assert "Access-Control-Allow-Origin" not in answer.headers
            assert answer.headers["Vary"] == "Origin"


@pytest.mark.parametrize("wrong", ["app.example.com", "https://app.example.com/", "https://*.example.com"])
def test_what_is_no_origin_is_refused_at_the_start(wrong: str) -> None:
    with pytest.raises(SettingsError, match="FLUXFARM_ALLOWED_ORIGINS"):
        Settings.from_environment({"FLUXFARM_ALLOWED_ORIGINS": wrong})
