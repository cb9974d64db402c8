"""Creating: what is taken, what is refused, and in which words."""

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from fluxfarm import lifecycle
from fluxfarm.database import Database
from fluxfarm.safety_policy import SCOPE
from fluxfarm.settings import Settings
from fluxfarm.storage import LocalStore
from tests.api import Client
from tests.contract.conftest import NewClient
from tests.contract.played import PlayedWorker, picture
from tests.processes import wait_until

JSON = {"Content-Type": "application/json"}
CUT_OFF = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name = 'fluxfarm api' AND wait_event_type = 'Lock'
"""
ASKED = {"model": "flux-dev", "input": {"prompt": "a red circle"}}


def refused(client: Client, body: Any, status: int = 400) -> dict[str, Any]:
    response = client.post(body)
    assert response.status_code == status, response.text
    answer: dict[str, Any] = response.json()
    return answer


def fields(answer: dict[str, Any]) -> list[str]:
    return [detail["field"] for detail in answer["details"]]


def rows(database: Database) -> int:
    with database.session_scope() as session:
        return int(session.execute(text("SELECT count(*) FROM predictions")).scalar_one())


@pytest.mark.parametrize("path", ["/v1/prediction", "/v1/prediction/"])
def test_both_paths_create_without_a_redirect(client: Client, path: str) -> None:
    response = client.post(ASKED, path)
    assert response.status_code == 200
    answer = response.json()
    assert list(answer) == ["status", "message", "predictionID", "urls"]
    assert client.look(answer["predictionID"])["model"] == "flux-dev"


def test_numbers_as_text_nulls_and_other_spellings_are_taken(client: Client) -> None:
    asked = {
        "prompt": "your prompt here",
        "seed": None,
        "image": None,
        "guidance": "3.5",
        "num_outputs": "1",
        "aspect_ratio": "1:1",
        "output_format": "JPEG",
        "output_quality": "80",
        "prompt_strength": "0.8",
        "num_inference_steps": "28.0",
        "disable_safety_checker": False,
        "width": None,
    }
    shown = client.look(client.create("unserved", **asked))["input"]
    assert shown == {
        "prompt": "your prompt here",
        "negative_prompt": None,
        "true_cfg_scale": 3.0,
        "image": None,
        "mask": None,
        "prompt_strength": 0.8,
        "aspect_ratio": "1:1",
        "megapixels": "1",
        "width": None,
        "height": None,
        "num_outputs": 1,
        "num_inference_steps": 28,
        "guidance": 3.5,
        "seed": None,
        "output_format": "jpg",
        "output_quality": 80,
        "output_encoding": "url",
        "loras": [],
        "disable_safety_checker": False,
    }


def test_any_version_is_taken_and_the_answer_says_which_was_used(client: Client) -> None:
    used = {client.look(client.post({**ASKED, "version": each}).json()["predictionID"])["version"] for each in VERSIONS}
    assert used == {client.get("/v1/model?slug=flux-dev").json()["version"]}


VERSIONS = ("0.0.1", None, "nonsense")


def test_every_wrong_field_is_named_at_once(client: Client, database: Database) -> None:
    wrong = {
        "prompt": " ",
        "guidance": "NaN",
        "num_outputs": 5,
        "seed": "1e3",
        "promt": "x",
        "width": 500,
        "height": 512,
    }
    sent = {"model": "flux-dev", "version": 1, "colour": "red", "input": wrong}
    response = client.post(sent, headers={"Expires-After": "soon"})
    answer = response.json()
    assert response.status_code == 400
    assert answer["code"] == "invalid_input"
    inside = {f"input.{name}" for name in wrong} - {"input.height"}
    assert {*fields(answer)} - {"input.height"} == {"colour", "version", "Expires-After", *inside}
    by_name = {detail["field"]: detail for detail in answer["details"]}
    assert "did you mean prompt" in by_name["input.promt"]["message"]
    assert "width 496 and height 512" in by_name["input.width"]["message"]
    assert by_name["input.num_outputs"]["sent"] == 5
    assert "1 to 4" in by_name["input.num_outputs"]["message"]
    assert rows(database) == 0


def test_the_placeholder_of_the_sample_is_refused_in_words_that_help(client: Client) -> None:
    answer = refused(client, {"model": "flux-dev", "input": {"prompt": "x", "image": "your_file.image/jpeg"}})
    assert fields(answer) == ["input.image"]
    assert "not a URL, data URI or file; leave it out for text-to-image" in answer["error"]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, ["model"]),
        ({"model": None, "input": {}}, ["model"]),
        ({"model": ["flux-dev"], "input": {}}, ["model"]),
        ({"model": "flux-dev"}, ["input"]),
        ({"model": "flux-dev", "input": None}, ["input"]),
        ({"model": "flux-dev", "input": []}, ["input"]),
        ({"model": "flux-dev", "input": "x"}, ["input"]),
        ({"model": "flux-dev", "input": {}}, ["input.prompt"]),
        ({"model": "flux-dev", "input": {"prompt": "a\x00b"}}, ["input.prompt"]),
        ({"model": "flux-dev", "input": {"prompt": "\ud800"}}, ["input.prompt"]),
        ({"model": "flux-dev", "input": {"prompt": "x" * 10_001}}, ["input.prompt"]),
        ({"model": "flux-dev", "input": {"prompt": "x", "seed": 10**400}}, ["input.seed"]),
        ({"model": "flux-dev", "input": {"prompt": "x", "seed": -1}}, ["input.seed"]),
        ({"model": "flux-dev", "input": {"prompt": "x", "disable_safety_checker": "false"}}, [
            "input.disable_safety_checker"
        ]),
        ({"model": "flux-dev", "input": {"prompt": "x", "image": "data:image/png;base64,AAAA"}}, ["input.image"]),
        ({"model": "flux-dev", "input": {"prompt": "x", "image": "ftp://example.com/a.png"}}, ["input.image"]),
        ({**ASKED, "webhook_url": "https://example.com"}, ["webhook_url"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(client: Client, body: Any, named: list[str]) -> None:
    assert fields(refused(client, body)) == named


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b'"text"',
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"model": "flux-dev", "input": {"seed": ' + b"9" * 5000 + b"}}",
        b'{"model": "\xff\xfe"}',
        b"\x00\x01",
        '{"model": "flux-dev"'.encode("utf-16"),
    ],
    ids=range(10),
)
def test_what_is_no_json_object_is_refused(client: Client, body: bytes) -> None:
    response = client.ask("POST", "/v1/prediction", data=body, headers=JSON)
    assert response.status_code == 400
    assert response.json()["code"] == "invalid_input"


@pytest.mark.parametrize(
    "headers",
    [{}, {"Content-Type": "text/plain"}, {"Content-Type": "multipart/form-data"}, {**JSON, "Content-Encoding": "gzip"}],
)
def test_what_does_not_call_itself_json_is_415(client: Client, headers: dict[str, str]) -> None:
    assert client.ask("POST", "/v1/prediction", data=json.dumps(ASKED), headers=headers).status_code == 415


def test_a_body_over_the_limit_is_413_whether_or_not_it_tells_its_length(client: Client, farm: Settings) -> None:
    whole = b"x" * (farm.max_body_bytes + 1)
    assert client.ask("POST", "/v1/prediction", data=whole, headers=JSON).status_code == 413
    pieces = (b'{"a": "' + b" " * 1_000_000 for _ in range(farm.max_body_bytes // 1_000_000 + 1))
    assert client.ask("POST", "/v1/prediction", data=pieces, headers=JSON).status_code == 413
    assert client.try_create().status_code == 200


def test_an_unknown_model_is_404_and_the_nearest_is_named(client: Client) -> None:
    answer = refused(client, {**ASKED, "model": "flux-dv"}, 404)
    assert answer["code"] == "model_not_found"
    assert "flux-dev" in answer["error"]


def test_a_refusal_repeats_neither_data_nor_passwords(client: Client) -> None:
    secret = "data:image/png;base64," + "QUJD" * 1000 + "!"
    url = "https://somebody:hunter2@example.com/a.png"
    for image in (secret, url):
        answer = client.try_create(image=image).text
        assert "QUJDQUJD" not in answer
        assert "hunter2" not in answer


def test_a_sent_picture_is_kept_and_shown_as_a_link(
    client: Client, stranger: Client, database: Database, farm: Settings
) -> None:
    data = picture("blue", form="PNG")
    uri = "data:image/png;base64," + base64.b64encode(data).decode()
    shown = client.look(client.create("unserved", image=uri, mask=uri))["input"]
    assert shown["image"].startswith(f"{client.url}/files/")
    assert shown["aspect_ratio"] == "match_input_image"
    # Nothing can be read before its verdict, and nobody passes one on a mask.
    assert [stranger.get(shown[name]).status_code for name in ("image", "mask")] == [404, 404]
    played = PlayedWorker(database, farm)
    played.succeed(played.claim(), picture())
    assert stranger.get(shown["mask"]).status_code == 404
    kept = stranger.get(shown["image"])
    assert kept.content == data
    assert kept.headers["Content-Type"] == "image/png"
    assert stranger.ask("HEAD", shown["image"]).status_code == 200
    assert stranger.get(shown["image"], headers={"If-None-Match": kept.headers["ETag"]}).status_code == 304


def test_a_sent_picture_that_did_not_pass_is_shown_to_nobody(
    client: Client, stranger: Client, new_client: NewClient, database: Database, farm: Settings
) -> None:
    uri = "data:image/png;base64," + base64.b64encode(picture(form="PNG")).decode()
    link = client.look(client.create("unserved", image=uri))["input"]["image"]
    held = PlayedWorker(database, farm).claim()
    with database.session_scope() as session:
        lifecycle.fail(session, held, code="content_blocked", message="image: not let through", device_microseconds=0)
    assert stranger.get(link).status_code == 404
    may = new_client(scopes=("predict", "read", SCOPE))
    unchecked = may.look(may.create("unserved", image=uri, disable_safety_checker=True))
    assert stranger.get(unchecked["input"]["image"]).status_code == 200


def test_a_refused_create_keeps_no_picture(new_client: NewClient, farm: Settings) -> None:
    uri = "data:image/png;base64," + base64.b64encode(picture(form="PNG")).decode()
    client = new_client(max_active=1)
    client.create("unserved", image=uri)
    store = LocalStore(farm.data_dir / "objects")
    before = set(store.keys("tenants/"))
    assert client.try_create("unserved", image=uri).status_code == 429
    assert set(store.keys("tenants/")) == before


def test_a_picture_outlives_a_create_of_which_nobody_knows_whether_it_was_made(
    client: Client, farm: Settings, database: Database
) -> None:
    """It is noted, so that maintenance finds out and deletes it then."""
    uri = "data:image/png;base64," + base64.b64encode(picture(form="PNG")).decode()
    store = LocalStore(farm.data_dir / "objects")
    before = set(store.keys("tenants/"))
    client.create("unserved")  # or the note of the key's first use would wait for the lock
    with psycopg.connect(str(farm.database_url)) as holder, ThreadPoolExecutor(1) as pool:
        holder.execute("SELECT 1 FROM api_keys FOR UPDATE")
        creating = pool.submit(client.try_create, "unserved", image=uri)
        with psycopg.connect(str(farm.database_url), autocommit=True) as looker:
            wait_until(lambda: looker.execute(CUT_OFF).fetchall())
        holder.rollback()
    assert creating.result().status_code == 503
    (key,) = set(store.keys("tenants/")) - before
    with database.session_scope() as session:
        assert key in session.scalars(text("SELECT object_key FROM sent_pictures")).all()


@pytest.mark.parametrize("sent", ["soon", "1", "4m", "299", "-1h", "0h", "1w", "1h30m", "", "1e9s"])
def test_nonsense_in_expires_after_is_refused(client: Client, sent: str) -> None:
    response = client.try_create(headers={"Expires-After": sent})
    assert response.status_code == 400
    assert fields(response.json()) == ["Expires-After"]


@pytest.mark.parametrize("sent", ["300", "5m", "1h", "2 d", "999999999d"])
def test_a_time_in_expires_after_is_taken(client: Client, sent: str) -> None:
    assert client.try_create(headers={"Expires-After": sent}).status_code == 200


@pytest.mark.parametrize("sent", ["soon", "0", "0s", "25h", "86401", "2d", "-1s", "1.5h", ""])
def test_nonsense_in_cancel_after_is_refused(client: Client, sent: str) -> None:
    response = client.try_create(headers={"Cancel-After": sent, "Expires-After": "soon"})
    assert response.status_code == 400
    assert fields(response.json()) == ["Expires-After", "Cancel-After"]


@pytest.mark.parametrize("sent", ["1", "90s", "5m", "24 h", "1d"])
def test_a_time_in_cancel_after_is_taken(client: Client, sent: str) -> None:
    assert client.try_create(headers={"Cancel-After": sent}).status_code == 200


def test_what_waits_past_cancel_after_is_cancelled_and_says_why(client: Client) -> None:
    prediction = client.create("unserved", headers={"Cancel-After": "1s"})
    assert client.look(prediction)["cancel_at"] is not None
    ended = client.wait(prediction)
    assert (ended["status"], ended["error_code"]) == ("cancelled", "cancel_after")
    assert "Cancel-After" in ended["error"]
