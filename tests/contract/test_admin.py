"""The admin API: what the command line can do, over HTTP, for keys with the scope `admin` alone."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from fluxfarm.keys import IssuedKey
from fluxfarm.settings import Settings
from tests.api import serving
from tests.contract.conftest import NewClient

Ask = Callable[..., requests.Response]


@pytest.fixture(scope="module")
def url(farm: Settings, logs: Path) -> Iterator[str]:
    with serving(farm, logs, "api.admin_wsgi:app") as served:
        yield served.url


@pytest.fixture
def ask(url: str, new_key: Callable[..., IssuedKey]) -> Ask:
    key = new_key("operator", scopes=("admin",)).key

    def asked(method: str, path: str, sent: Any = None) -> requests.Response:
        return requests.request(method, url + path, json=sent, headers={"X-API-Key": key}, timeout=30)

    return asked


def test_a_billing_system_can_do_all_of_it(ask: Ask, new_client: NewClient) -> None:
    made = ask("POST", "/admin/tenants", {"name": "studio", "weight": 2, "contact": "a@example.com"})
    assert made.status_code == 201
    assert made.json()["weight"] == 2.0
    assert ask("POST", "/admin/tenants", {"name": "studio"}).json()["code"] == "conflict"
    assert "studio" in [tenant["name"] for tenant in ask("GET", "/admin/tenants").json()]
    assert ask("PATCH", "/admin/tenants/studio", {"max_active": 1}).json()["max_active"] == 1

    issued = ask("POST", "/admin/tenants/studio/keys", {"name": "app", "max_active": 5, "expires_in_days": 30})
    assert issued.status_code == 201
    client = new_client()
    client.key = issued.json()["key"]
    first = client.create(model="unserved")
    refused = client.try_create(model="unserved")
    assert refused.status_code == 429
    assert "tenant has 1 active" in refused.json()["error"]

    key = f"/admin/keys/{issued.json()['id']}"
    shown = ask("GET", key).json()
    assert (shown["active"], shown["max_active"]) == (1, 5)
    assert shown["expires_at"] is not None
    assert ask("PATCH", key, {"models": ["flux-dev"]}).json()["models"] == ["flux-dev"]
    rotated = ask("POST", f"{key}/rotate?overlap_seconds=60")
    assert rotated.status_code == 201
    client.key = rotated.json()["key"]
    assert client.try_create(model="unserved").json()["code"] == "model_not_allowed"
    assert len(ask("GET", "/admin/tenants/studio/keys").json()) == 2
    assert ask("POST", f"{key}/revoke").json()["revoked_at"] is not None

    assert ask("POST", "/admin/tenants/studio/suspend").json()["suspended_at"] is not None
    assert client.try_create().json()["code"] == "tenant_suspended"
    assert client.look(first)["status"] == "starting"
    assert ask("POST", "/admin/tenants/studio/resume").json()["suspended_at"] is None
    erased = ask("DELETE", "/admin/tenants/studio").json()
    assert (erased["predictions"], erased["keys"]) == (1, 2)
    assert ask("GET", "/admin/tenants/studio").status_code == 404

    audit = ask("GET", "/admin/audit?limit=3").json()
    assert [entry["action"] for entry in audit] == ["tenant deleted", "tenant suspended", "tenant resumed"]
    assert audit[0]["actor"].startswith("key ")
    assert issued.json()["key"] not in str(ask("GET", "/admin/audit?limit=1000").json())


def test_wrong_settings_are_named(ask: Ask) -> None:
    refused = ask("POST", "/admin/tenants", {"name": "studio", "weigth": 1, "max_active": -1})
    assert refused.status_code == 400
    assert {detail["field"] for detail in refused.json()["details"]} == {"weigth", "max_active"}
    assert ask("POST", "/admin/tenants", {}).json()["details"][0]["field"] == "name"
    assert ask("GET", "/admin/audit?limit=0").status_code == 400


def test_no_other_key_gets_in_and_nothing_of_it_is_on_the_public_port(
    url: str, new_key: Callable[..., IssuedKey], new_client: NewClient
) -> None:
    ordinary = {"X-API-Key": new_key().key}
    paths = [("GET", "/admin/tenants"), ("GET", "/admin/audit"), ("DELETE", "/admin/tenants/operator")]
    for method, path in paths:
        assert requests.request(method, url + path, headers=ordinary, timeout=30).json()["code"] == "forbidden"
        assert requests.request(method, url + path, timeout=30).json()["code"] == "unauthenticated"
    admin = new_client(scopes=("admin",))
    assert admin.get("/admin/tenants").status_code == 404
    assert admin.try_create().json()["code"] == "forbidden"
    assert requests.get(f"{url}/v1/models", timeout=30).status_code == 404


def test_what_safety_checks_decided_is_read_and_counted(ask: Ask, new_client: NewClient) -> None:
    refused = new_client("studio").try_create("unserved", prompt="a nude child")
    assert refused.status_code == 400
    (entry,) = ask("GET", "/admin/moderation?verdict=flagged&tenant=studio").json()
    assert (entry["stage"], entry["withheld"]) == ("prompt", True)
    assert ask("GET", "/admin/moderation?tenant=other").json() == []
    metrics = ask("GET", "/admin/metrics").text
    labels = 'model="unserved",stage="prompt",verdict="flagged",withheld="true"'
    assert f"fluxfarm_moderation_last_hour{{{labels}}} 1" in metrics
    assert 'fluxfarm_predictions{model="unserved",status="queued"} 0' in metrics
