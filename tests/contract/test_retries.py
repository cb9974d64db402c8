"""Sending a create again: the same prediction, and never a second one."""

import base64
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import requests
from sqlalchemy import text

from fluxfarm.database import Database
from fluxfarm.keys import IssuedKey
from fluxfarm.safety_policy import SCOPE
from fluxfarm.settings import Settings
from fluxfarm.storage import LocalStore
from tests.api import Client, Description, serving
from tests.contract.conftest import NewClient
from tests.contract.followed import Reader
from tests.contract.played import picture
from tests.processes import wait_until

ASKED = {"model": "unserved", "input": {"prompt": "a red circle", "seed": 7}}
OTHER = {"model": "unserved", "input": {"prompt": "a blue circle", "seed": 7}}
LOCKED = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'fluxfarm api' AND wait_event_type = 'Lock'"


def keyed(client: Client, key: str, body: Any = ASKED) -> requests.Response:
    return client.post(body, headers={"Idempotency-Key": key})


def put(client: Client, own_id: object, body: Any = ASKED) -> requests.Response:
    return client.ask("PUT", f"/v1/prediction/{own_id}", json=body)


def created(response: requests.Response, *, replayed: bool) -> str:
    assert response.status_code == 200, response.text
    assert response.headers.get("Idempotent-Replayed") == ("true" if replayed else None)
    return str(response.json()["predictionID"])


def refused(response: requests.Response, status: int, code: str) -> None:
    assert (response.status_code, response.json()["code"]) == (status, code), response.text


def test_an_own_id_that_is_also_the_id_of_a_row_is_one_prediction(client: Client, database: Database) -> None:
    """A client may take for its own id what it found in another's link; it means what it named so itself."""
    named = uuid.uuid4()
    link = put(client, named).json()["urls"]["events"]
    row = urlsplit(link).path.split("/")[-2]
    assert client.ask("POST", f"/v1/prediction/{named}/cancel").status_code == 200
    with database.session_scope() as session:
        session.execute(text("DELETE FROM predictions"))
        session.execute(text("DELETE FROM remembered"))
    created(put(client, row, OTHER), replayed=False)
    created(put(client, named), replayed=False)
    created(put(client, row, OTHER), replayed=True)
    assert [client.look(str(each))["input"]["prompt"] for each in (named, row)] == ["a red circle", "a blue circle"]
    with Reader(link) as reader:
        assert reader.next().data["id"] == str(named)
    assert client.ask("POST", f"/v1/prediction/{row}/cancel").json()["status"] == "cancelled"
    assert client.ask("DELETE", f"/v1/prediction/{row}").status_code == 200
    assert client.look(str(named))["status"] == "starting"


def rows(database: Database) -> int:
    with database.session_scope() as session:
        return int(session.execute(text("SELECT count(*) FROM predictions")).scalar_one())


def stored(farm: Settings) -> set[str]:
    return set(LocalStore(farm.data_dir / "objects").keys("tenants/"))


def with_picture(**more: Any) -> dict[str, Any]:
    uri = "data:image/png;base64," + base64.b64encode(picture(form="PNG")).decode()
    return {"model": "unserved", "input": {"prompt": "a red circle", "image": uri, **more}}


def test_the_same_create_sent_again_is_the_same_prediction(client: Client, database: Database) -> None:
    first = created(keyed(client, "a key of mine"), replayed=False)
    shuffled = '{"input": {"seed": 7,  "prompt": "a red circle"}, "model": "unserved"}'
    headers = {"Idempotency-Key": "a key of mine", "Content-Type": "application/json"}
    again = client.ask("POST", "/v1/prediction/", data=shuffled, headers=headers)
    assert created(again, replayed=True) == first
    assert created(keyed(client, "another"), replayed=False) != first
    assert rows(database) == 2


def test_another_body_with_the_same_key_is_refused(client: Client, database: Database) -> None:
    created(keyed(client, "k"), replayed=False)
    refused(keyed(client, "k", OTHER), 422, "idempotency_mismatch")
    assert rows(database) == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "schlüssel"])
def test_a_key_that_is_none_is_refused_and_named_beside_all_else(client: Client, key: str) -> None:
    response = keyed(client, key, {"model": "unserved", "input": {"prompt": ""}})
    refused(response, 400, "invalid_input")
    assert {detail["field"] for detail in response.json()["details"]} == {"Idempotency-Key", "input.prompt"}


@pytest.mark.parametrize("key", ["x", "~" * 255, 'a "b" {c}'])
def test_any_printable_key_is_taken(client: Client, key: str) -> None:
    assert created(keyed(client, key), replayed=False) == created(keyed(client, key), replayed=True)


def test_a_body_that_is_too_deep_is_refused_with_a_key_as_without(client: Client) -> None:
    headers = {"Idempotency-Key": "deep", "Content-Type": "application/json"}
    for depth in (900, 100_000):
        body = '{"a":' * depth + "1" + "}" * depth
        refused(client.ask("POST", "/v1/prediction", data=body, headers=headers), 400, "invalid_input")


def test_refusals_are_not_remembered(new_client: NewClient) -> None:
    client = new_client(max_active=1)
    refused(keyed(client, "k", {"model": "unserved", "input": {}}), 400, "invalid_input")
    first = client.create("unserved")
    refused(keyed(client, "k"), 429, "concurrency_limited")
    client.post(None, f"/v1/prediction/{first}/cancel")
    created(keyed(client, "k"), replayed=False)


def test_a_replay_passes_every_limit(new_client: NewClient) -> None:
    client = new_client(max_active=2, creates_per_minute=2)
    own_id = uuid.uuid4()
    first, second = created(keyed(client, "k"), replayed=False), created(put(client, own_id), replayed=False)
    refused(client.post(ASKED), 429, "concurrency_limited")
    assert created(keyed(client, "k"), replayed=True) == first
    assert created(put(client, own_id), replayed=True) == second
    client.post(None, f"/v1/prediction/{first}/cancel")
    refused(client.post(ASKED), 429, "rate_limited")
    assert created(keyed(client, "k"), replayed=True) == first


def test_replays_are_no_free_flood(new_client: NewClient) -> None:
    client = new_client(creates_per_minute=1)
    for replayed in (False, *[True] * 10):
        created(keyed(client, "k"), replayed=replayed)
    for _ in range(12):
        refused(keyed(client, "k"), 429, "rate_limited")
    refused(client.post({}), 400, "invalid_input")


def test_a_replay_is_told_of_though_its_key_floods_refusals_and_nothing_else_is(new_client: NewClient) -> None:
    client = new_client(creates_per_minute=1)
    first = created(keyed(client, "k"), replayed=False)
    for _ in range(11):
        client.post({})
    flooding = [
        client.post(ASKED),
        keyed(client, "l"),
        put(client, OWN_ID),
        client.post(ASKED, "/v1/prediction?dry_run=1"),
    ]
    for response in flooding:
        refused(response, 429, "rate_limited")
        assert "refused a minute" in response.json()["error"]
    assert created(keyed(client, "k"), replayed=True) == first
    for _ in range(7):
        keyed(client, "l")
    response = keyed(client, "k")
    refused(response, 429, "rate_limited")
    assert "answered again a minute" in response.json()["error"], "there is an end to looking"


def test_a_key_is_its_tenants_and_outlives_a_rotation(new_client: NewClient) -> None:
    old, new, other = new_client("one"), new_client("one"), new_client("two")
    first = created(keyed(old, "k"), replayed=False)
    assert created(keyed(new, "k"), replayed=True) == first
    assert created(keyed(other, "k"), replayed=False) != first


def test_after_a_day_a_key_is_new_again(client: Client, database: Database) -> None:
    first = created(keyed(client, "k"), replayed=False)
    with database.session_scope() as session:
        session.execute(text("UPDATE remembered SET at = at - interval '24 h'"))
    second = created(keyed(client, "k", OTHER), replayed=False)
    assert second != first
    assert created(keyed(client, "k", OTHER), replayed=True) == second


def test_three_at_once_on_two_processes_make_one(
    new_key: Callable[..., IssuedKey], farm: Settings, logs: Path, described: Description, database: Database
) -> None:
    """They are held at the key's row until it is sure that the first of them has not been answered."""
    key = new_key().key
    with (
        serving(farm, logs) as one,
        serving(farm, logs) as two,
        Client(one.url, described, key) as first,
        Client(two.url, described, key) as second,
        Client(two.url, described, key) as third,
    ):
        for client in (first, second, third):
            client.create("unserved")  # or the note of the key's first use would wait for the lock
        for send in (lambda c: keyed(c, "k", with_picture()), lambda c: put(c, OWN_ID, with_picture())):
            with psycopg.connect(str(farm.database_url)) as holder, ThreadPoolExecutor(3) as pool:
                holder.execute("SELECT 1 FROM api_keys FOR UPDATE")
                answers = [pool.submit(send, client) for client in (first, second, third)]
                with psycopg.connect(str(farm.database_url), autocommit=True) as looker:
                    wait_until(lambda: (looker.execute(LOCKED).fetchone() or [0])[0])
                holder.rollback()
            given = [answer.result() for answer in answers]
            assert len({answer.json()["predictionID"] for answer in given}) == 1
            assert sum("Idempotent-Replayed" not in answer.headers for answer in given) == 1
    assert rows(database) == 5
    named = "SELECT value FROM prediction_inputs, jsonb_each_text(plan -> 'picture_keys')"
    with database.session_scope() as session:
        tenant = session.execute(text("SELECT tenant_id FROM api_keys")).scalar_one()
        assert {key for key in stored(farm) if str(tenant) in key} == set(session.scalars(text(named)))


OWN_ID = uuid.UUID("6f1c2f0e-6a3b-4a51-9a53-0c7f7a0d1f52")


def test_what_another_process_is_at_is_waited_for_and_then_told_apart(client: Client, farm: Settings) -> None:
    client.create("unserved")
    with psycopg.connect(str(farm.database_url)) as other:
        other.execute("SELECT pg_advisory_xact_lock(hashtextextended(tenant_id || ' ''k''', 0)) FROM api_keys")
        response = keyed(client, "k")
        refused(response, 409, "idempotency_in_flight")
        assert response.headers["Retry-After"] == "1"
        created(keyed(client, "another"), replayed=False)
    created(keyed(client, "k"), replayed=False)


def test_a_picture_sent_again_is_kept_once(client: Client, farm: Settings) -> None:
    before = stored(farm)
    for replayed in (False, True):
        created(keyed(client, "k", with_picture()), replayed=replayed)
    assert len(stored(farm) - before) == 1


def test_an_own_id_is_what_its_client_sees_everywhere(client: Client, stranger: Client, worker: None) -> None:
    own_id = str(uuid.uuid4())
    body = {"model": "flux-dev", "input": {"prompt": "a red circle", "num_inference_steps": 2}}
    assert created(put(client, own_id.upper(), body), replayed=False) == own_id
    seen = client.wait(own_id)
    assert (seen["id"], seen["status"]) == (own_id, "success")
    assert seen["urls"]["get"] == f"{client.url}/v1/prediction/{own_id}"
    assert client.get(seen["urls"]["get"]).json()["id"] == own_id
    assert seen["output"].startswith(f"{client.url}/files/{own_id}/0.webp?")
    kept = stranger.get(seen["output"])
    assert kept.status_code == 200
    assert own_id[:8] in kept.headers["Content-Disposition"]
    cancelled = client.post(None, f"/v1/prediction/{own_id}/cancel").json()
    assert (cancelled["predictionID"], cancelled["status"]) == (own_id, "success")
    changed = seen["output"].replace("row=", f"row={uuid.uuid4()}&was=")
    assert stranger.get(changed).status_code == 403


def test_a_picture_sent_with_an_own_id_is_shown_as_a_link(new_client: NewClient, stranger: Client) -> None:
    client, own_id = new_client(scopes=("predict", "read", SCOPE)), uuid.uuid4()
    created(put(client, own_id, with_picture(disable_safety_checker=True)), replayed=False)
    link = client.look(str(own_id))["input"]["image"]
    assert link.startswith(f"{client.url}/files/{own_id}/image.png?")
    assert stranger.get(link).content == picture(form="PNG")


def test_an_own_id_sent_again_is_the_same_prediction_or_refused(client: Client, database: Database) -> None:
    created(put(client, OWN_ID), replayed=False)
    created(put(client, OWN_ID), replayed=True)
    refused(put(client, OWN_ID, OTHER), 422, "idempotency_mismatch")
    assert rows(database) == 1


def test_two_tenants_may_choose_the_same_id_and_neither_learns_of_the_other(new_client: NewClient) -> None:
    one, two = new_client(), new_client()
    created(put(one, OWN_ID), replayed=False)
    assert one.look(str(OWN_ID))["input"]["prompt"] == "a red circle"
    assert two.get(f"/v1/prediction/{OWN_ID}").status_code == 404
    created(put(two, OWN_ID, OTHER), replayed=False)
    for client, prompt in ((one, "a red circle"), (two, "a blue circle")):
        assert client.look(str(OWN_ID))["input"]["prompt"] == prompt
    one.post(None, f"/v1/prediction/{OWN_ID}/cancel")
    assert one.look(str(OWN_ID))["status"] == "cancelled"
    assert two.look(str(OWN_ID))["status"] == "starting"


def test_an_id_that_we_made_stands_for_its_prediction_alone(new_client: NewClient) -> None:
    one, two = new_client(), new_client()
    made = created(one.post(ASKED), replayed=False)
    refused(put(one, made), 422, "idempotency_mismatch")
    assert created(put(two, made), replayed=False) == made
    assert one.look(made)["status"] == two.look(made)["status"] == "starting"


@pytest.mark.parametrize(
    "own_id", ["run-7", "6f1c2f0e6a3b4a519a530c7f7a0d1f52", "{6f1c2f0e-6a3b-4a51-9a53-0c7f7a0d1f52}"]
)
def test_an_own_id_must_be_a_uuid(client: Client, own_id: str) -> None:
    response = put(client, own_id)
    refused(response, 400, "invalid_input")
    assert response.json()["details"][0]["field"] == "prediction"
