"""`?dry_run=1`: everything is checked and told, and nothing is made."""

import base64
from typing import Any

import pytest
from sqlalchemy import text

from fluxfarm import tenants
from fluxfarm.catalog import load_catalog
from fluxfarm.database import Database
from fluxfarm.settings import Settings
from tests.api import Client
from tests.contract.conftest import NewClient
from tests.contract.played import picture
from tests.contract.test_retries import OWN_ID, rows, stored

PATH = "/v1/prediction?dry_run=1"


def dry(client: Client, **sent: Any) -> dict[str, Any]:
    response = client.post({"model": "unserved", "input": {"prompt": "a red circle", **sent}}, PATH)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def measured(database: Database, microseconds: float | None) -> None:
    statement = text("INSERT INTO model_queues (model, pixel_step_microseconds) VALUES ('unserved', :rate)")
    with database.session_scope() as session:
        session.execute(statement, {"rate": microseconds})


def test_it_tells_what_a_create_would_be(client: Client, database: Database, farm: Settings) -> None:
    told = dry(client, seed=2**32 - 1, num_outputs=2, aspect_ratio="16:9", num_inference_steps=10)
    assert told["seeds"] == [2**32 - 1, 0]
    assert told["seed_drawn"] is False
    assert told["input"]["guidance"] == 4.5
    sides = told["rendered_width"], told["rendered_height"]
    words = 256 * load_catalog(farm).model("unserved").max_sequence_length
    assert told["pixel_steps"] == (sides[0] * sides[1] + words) * 10 * 2
    assert (told["width"], told["height"]) == sides, "the tests' farm enlarges nothing"
    assert abs(sides[0] / sides[1] - 16 / 9) < 0.2
    assert told["safety"]["checked"] is False
    assert told["queue"]["position"] >= 1
    assert (told["queue"]["eta_seconds"], told["queue"]["waiting_for"]) == (None, "worker")
    measured(database, 2.0)
    again = dry(client, seed=1, num_inference_steps=10)
    assert again["estimated_seconds"] == round(again["pixel_steps"] * 2 / 1e6, 3)
    assert dry(client)["seed_drawn"] is True


def test_its_cost_is_that_of_the_prediction(client: Client, database: Database) -> None:
    measured(database, 1.0)
    uri = "data:image/png;base64," + base64.b64encode(picture(form="PNG")).decode()
    for sent in (
        {"num_inference_steps": 3},
        {"image": "https://example.com/a.png"},
        {"image": uri, "aspect_ratio": "3:2"},
        {"image": uri},
    ):
        told = dry(client, **sent)
        prediction = client.create("unserved", **{"num_inference_steps": 28, **sent})
        with database.session_scope() as session:
            cost = session.execute(text("SELECT cost FROM predictions WHERE id = :id"), {"id": prediction}).scalar_one()
        assert abs(told["pixel_steps"] - cost) <= 1, sent


def test_its_notices_are_told_of_the_prediction_too(client: Client) -> None:
    for sent in ({"negative_prompt": "rain"}, {"width": 512, "height": 512, "megapixels": "0.25"}):
        foretold = dry(client, **sent)["notices"]
        assert len(foretold) > len(dry(client)["notices"])
        assert client.look(client.create("unserved", **sent))["notices"] == foretold


def test_a_size_that_follows_a_picture_is_told_where_the_picture_is_here(client: Client) -> None:
    uri = "data:image/png;base64," + base64.b64encode(picture(form="PNG")).decode()
    assert dry(client, image=uri)["width"] is not None
    told = dry(client, image="https://example.com/a.png")
    assert [told[side] for side in ("width", "height", "rendered_width", "rendered_height")] == [None] * 4


def test_nothing_is_created_and_no_limit_is_used(new_client: NewClient, database: Database, farm: Settings) -> None:
    client, before = new_client(max_active=1, creates_per_minute=1), stored(farm)
    uri = "data:image/png;base64," + base64.b64encode(picture(form="PNG")).decode()
    headers = {"Idempotency-Key": "k"}
    for _ in range(2):
        answer = client.post({"model": "unserved", "input": {"prompt": "x", "image": uri}}, PATH, headers=headers)
        assert answer.status_code == 200
        assert "Idempotent-Replayed" not in answer.headers
    put = client.ask(
        "PUT", f"/v1/prediction/{OWN_ID}?dry_run=true", json={"model": "unserved", "input": {"prompt": "x"}}
    )
    assert put.json()["dry_run"] is True
    assert (rows(database), stored(farm)) == (0, before)
    assert client.post({"model": "unserved", "input": {"prompt": "x"}}, headers=headers).status_code == 200
    dry(client)


@pytest.mark.parametrize(
    ("sent", "fields"),
    [({"prompt": ""}, ["input.prompt", "Cancel-After"]), ({"image": "data:image/png;base64,AAAA"}, ["input.image"])],
)
def test_what_a_create_refuses_is_refused(client: Client, sent: dict[str, str], fields: list[str]) -> None:
    headers = {"Cancel-After": "soon"} if len(fields) > 1 else {}
    asked = {"model": "unserved", "input": {"prompt": "x", **sent}}
    refusal = client.post(asked, PATH, headers=headers)
    assert refusal.status_code == 400
    assert [detail["field"] for detail in refusal.json()["details"]] == fields


def test_a_key_that_may_not_is_refused_as_by_a_create(client: Client) -> None:
    asked = {"model": "unserved", "input": {"prompt": "x", "disable_safety_checker": True}}
    assert client.post(asked, PATH).json()["code"] == "safety_checker_required"


def test_one_that_stands_for_another_is_refused_as_by_a_create(client: Client) -> None:
    other, headers = {"model": "unserved", "input": {"prompt": "y"}}, {"Idempotency-Key": "k"}
    asked = {"model": "unserved", "input": {"prompt": "x"}}
    for method, path in (("POST", "/v1/prediction"), ("PUT", f"/v1/prediction/{OWN_ID}")):
        assert client.ask(method, path, json=asked, headers=headers).status_code == 200
        assert client.ask(method, f"{path}?dry_run=1", json=asked, headers=headers).json()["dry_run"] is True
        refusal = client.ask(method, f"{path}?dry_run=1", json=other, headers=headers)
        assert (refusal.status_code, refusal.json()["code"]) == (422, "idempotency_mismatch")


def test_a_suspended_tenant_is_told_so(new_client: NewClient, database: Database) -> None:
    client, headers = new_client("studio"), {"Idempotency-Key": "k"}
    asked = {"model": "unserved", "input": {"prompt": "x"}}
    assert client.post(asked, headers=headers).status_code == 200
    with database.session_scope() as session:
        tenants.suspend(session, "studio", by="test")
    assert client.post(asked, PATH).json()["code"] == "tenant_suspended"
    assert client.post(asked, PATH, headers=headers).status_code == 200, "a replay would be answered"


def test_what_is_neither_yes_nor_no_creates_nothing(client: Client, database: Database) -> None:
    refusal = client.post({"model": "unserved", "input": {"prompt": "x"}}, "/v1/prediction?dry_run=yes")
    assert (refusal.status_code, refusal.json()["details"][0]["field"]) == (400, "dry_run")
    assert rows(database) == 0
    assert client.post({"model": "unserved", "input": {"prompt": "x"}}, "/v1/prediction?dry_run=0").status_code == 200
    assert rows(database) == 1
