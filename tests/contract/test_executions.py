"""`GET /v1/executions`: Eachlabs' list, and cursors."""

import uuid

import pytest

from tests.api import Client
from tests.contract.conftest import NewClient
from tests.contract.test_retries import put


def listed(client: Client, query: str = "") -> dict[str, object]:
    response = client.get(f"/v1/executions{query}")
    assert response.status_code == 200, response.text
    found: dict[str, object] = response.json()
    return found


def ids(found: dict[str, object]) -> list[str]:
    return [each["id"] for each in found["executions"]]  # type: ignore[index, attr-defined]


def test_a_list_is_its_tenants_alone_and_knows_own_ids(new_client: NewClient) -> None:
    client, colleague, other = new_client("one"), new_client("one"), new_client("two")
    own_id = str(uuid.uuid4())
    put(client, own_id)
    second = client.create("unserved")
    for each in (client, colleague):
        found = listed(each)
        assert ids(found) == [second, own_id]
        assert {name: found[name] for name in found if name != "executions"} == {
            "total_count": 2,
            "total_capped": False,
            "offset": 0,
            "limit": 20,
            "next_cursor": None,
        }
    assert ids(listed(other)) == []


def test_pages_and_filters(client: Client) -> None:
    made = [client.create("unserved") for _ in range(5)][::-1]
    client.post(None, f"/v1/prediction/{made[2]}/cancel")
    first = listed(client, "?limit=2")
    assert ids(first) == made[:2]
    assert ids(listed(client, f"?limit=2&cursor={first['next_cursor']}")) == made[2:4]
    assert ids(listed(client, "?limit=2&offset=2")) == made[2:4]
    assert ids(listed(client, "?status=cancelled")) == [made[2]]
    assert ids(listed(client, "?status=created,success&model=unserved")) == [*made[:2], *made[3:]]
    assert ids(listed(client, "?model=flux-dev")) == []
    moment = client.look(made[1])["created_at"]
    assert set(made[:2]) - {made[1]} <= set(ids(listed(client, f"?from={moment}"))) <= set(made[:3])
    assert ids(listed(client, "?to=2020-01-01T00:00:00+01:00")) == []


def test_a_rendered_one_has_its_picture(client: Client, stranger: Client, worker: None) -> None:
    rendered = client.render(num_outputs=2)
    (entry,) = listed(client)["executions"]  # type: ignore[misc]
    assert (entry["status"], entry["completed_at"]) == ("success", rendered["completed_at"])
    assert entry["run_time"] == rendered["metrics"]["predict_time"]
    assert entry["output"] == rendered["output"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=101", "limit"),
        ("limit=0", "limit"),
        ("offset=10001", "offset"),
        ("cursor=x", "cursor"),
        ("cursor=AAAA", "cursor"),
        ("cursor=" + "_" * 32, "cursor"),
        ("status=done", "status"),
        ("status=", "status"),
        ("model=", "model"),
        ("model=%00", "model"),
        ("from=yesterday", "from"),
        ("to=2026-01-01T00:00:00", "to"),
        ("to=0001-01-01T00:00:00%2B14:00", "to"),
        ("workflow_id=x", "workflow_id"),
    ],
)
def test_what_is_wrong_is_named(client: Client, query: str, field: str) -> None:
    response = client.get(f"/v1/executions?{query}")
    assert (response.status_code, response.json()["code"]) == (400, "invalid_input")
    assert [detail["field"] for detail in response.json()["details"]] == [field]


def test_a_cursor_and_an_offset_do_not_go_together(client: Client) -> None:
    for _ in range(2):
        client.create("unserved")
    cursor = listed(client, "?limit=1")["next_cursor"]
    response = client.get(f"/v1/executions?cursor={cursor}&offset=1&limit=101")
    assert [detail["field"] for detail in response.json()["details"]] == ["limit", "offset"]
