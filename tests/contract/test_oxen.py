"""Oxen's door, by the bodies of its reference page: in one call, from the queue, with events."""

import base64
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image

from fluxfarm import keys
from fluxfarm.credentials import split
from fluxfarm.database import Database
from fluxfarm.settings import Settings
from tests.api import Client, serving, until
from tests.contract.conftest import NewClient
from tests.contract.followed import Reader
from tests.contract.played import PlayedWorker, Telling, picture

GENERATE, EDIT, QUEUE, EVENTS = "/api/ai/images/generate", "/api/ai/images/edit", "/api/ai/queue", "/api/events"
MINIMAL = {"model": "flux-1-dev", "prompt": "A beautiful landscape painting of a serene lake"}
ALL = {
    **MINIMAL,
    "negative_prompt": " ",
    "aspect_ratio": "16:9",
    "image_size": "optimize_for_quality",
    "num_inference_steps": 30,
    "guidance": 3,
    "seed": 42,
    "output_format": "webp",
    "output_quality": 80,
    "disable_safety_checker": False,
}
RESOLVED = {
    "aspect_ratio": "16:9",
    "image_size": "optimize_for_quality",
    "num_inference_steps": 30,
    "guidance": 3,
    "output_format": "webp",
    "output_quality": 80,
    "disable_safety_checker": False,
}
QUICK = {"num_inference_steps": 2}
WAITING = {**MINIMAL, "model": "unserved"}


def opened(client: Client, url: str) -> Image.Image:
    return Image.open(io.BytesIO(client.get(url).content))


def enqueue(client: Client, **body: Any) -> str:
    answer = client.post({**MINIMAL, **body}, QUEUE)
    assert answer.status_code == 200, answer.text
    (generation,) = answer.json()["generations"]
    assert generation["status"] == "queued"
    return str(generation["generation_id"])


def look(client: Client, generation: str) -> dict[str, Any]:
    answer = client.get(f"{QUEUE}/{generation}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def refused(answer: requests.Response, number: int, kind: str) -> dict[str, Any]:
    told = answer.json()
    assert (answer.status_code, told["error"]["type"], told["status"]) == (number, kind, "error"), answer.text
    assert told["status_message"] == kind
    assert told["error"]["detail"] == told["error"]["message"]
    return dict(told)


@pytest.mark.parametrize("body", [MINIMAL, ALL], ids=["minimal", "all parameters"])
def test_in_one_call(client: Client, worker: None, body: dict[str, Any]) -> None:
    answer = client.post({**body, **QUICK, "target_namespace": "ox/pictures"}, GENERATE)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["model"] == "flux-1-dev"
    assert told["target_namespace"] == "ox/pictures"
    with opened(client, told["images"][0]["url"]) as image:
        assert (image.format, image.width > image.height) == ("WEBP", True)
    assert body.get("seed") in (None, told["images"][0]["seed"])


def test_in_one_call_with_the_picture_in_the_answer(client: Client, worker: None) -> None:
    answer = client.post({**MINIMAL, **QUICK, "response_format": "b64_json", "output_format": "png"}, GENERATE)
    (found,) = answer.json()["images"]
    assert "url" not in found
    with Image.open(io.BytesIO(base64.b64decode(found["b64_json"]))) as image:
        assert image.format == "PNG"


@pytest.mark.parametrize("body", [MINIMAL, ALL], ids=["minimal", "all parameters"])
def test_from_the_queue(client: Client, body: dict[str, Any]) -> None:
    told = look(client, enqueue(client, **{**body, "model": "unserved"}))
    assert told.items() >= RESOLVED.items()
    assert (told["status"], told["model_name"], told["prompt"]) == ("queued", "unserved", MINIMAL["prompt"])
    assert told["result_url"] is None
    assert told["enqueued_at"] > 0
    assert told["started_at"] is None


def test_from_the_queue_to_the_picture(client: Client, worker: None) -> None:
    generation = enqueue(client, **QUICK)
    told = client.get(f"{QUEUE}/{generation}?wait=30").json()
    assert told["status"] == "succeeded"
    assert told["cost"] > 0
    with opened(client, told["result_url"]) as image:
        assert image.format == "WEBP"
    # It is the same prediction at every door.
    seen = client.look(generation)
    assert (seen["status"], seen["output"]) == ("success", told["result_url"])


@pytest.mark.parametrize("body", [MINIMAL, ALL], ids=["minimal", "all parameters"])
def test_with_events(new_client: NewClient, worker: None, body: dict[str, Any]) -> None:
    client, another = new_client("listener"), new_client("listener")
    with Reader(client.url + EVENTS, key=client.key) as reader:
        generation = enqueue(another, **{**body, **QUICK})
        failed = client.post({**body, **QUICK}, QUEUE, headers={"X-Test-Outcome": "error=input_missing"}).json()
        heard = {event.data["generation_id"]: event for event in (reader.next(), reader.next())}
    done, broken = heard[generation], heard[failed["generations"][0]["generation_id"]]
    assert {each.name for each in heard.values()} == {"media_generation_completed"}
    assert (done.data["status"], done.data["media_type"], done.data["error"]) == ("succeeded", "image", None)
    assert client.get(done.data["url"]).status_code == 200
    assert (broken.data["status"], broken.data["url"]) == ("failed", None)
    assert broken.data["error"]


def test_events_tell_nothing_of_what_is_cancelled(client: Client, telling: Telling) -> None:
    with Reader(client.url + EVENTS, key=client.key) as reader:
        cancelled = enqueue(client, model="unserved")
        client.ask("DELETE", f"{QUEUE}/{cancelled}")
        generation = enqueue(client, model="unserved")
        telling.succeed(telling.claim(), picture())
        assert reader.next().data["generation_id"] == generation


def test_events_end_with_their_key(
    farm: Settings, logs: Path, new_client: NewClient, telling: Telling, database: Database
) -> None:
    leaver, colleague = new_client("studio"), new_client("studio")
    with (
        serving(replace(farm, api_workers=1), logs) as api,
        Client(api.url, leaver.described, leaver.key) as own,
        Reader(api.url + EVENTS, key=own.key) as reader,
    ):
        with database.session_scope() as session:
            keys.revoke(session, split(str(own.key))[0], by="test")
        until(lambda: own.get(QUEUE).status_code == 401, lambda: "still valid")
        enqueue(colleague, model="unserved")
        telling.succeed(telling.claim(), picture())
        with pytest.raises(StopIteration):
            reader.next()


def test_several_have_seeds_of_their_own(client: Client) -> None:
    answer = client.post({**WAITING, "num_generations": 3, "seed": 7, "target_namespace": "ox"}, QUEUE)
    assert answer.json()["target_namespace"] == "ox"
    ids = [each["generation_id"] for each in answer.json()["generations"]]
    assert sorted(look(client, each)["seed"] for each in ids) == [7, 8, 9]
    told = client.get(f"{QUEUE}?model=unserved&media_type=image").json()
    assert (told["count"], {each["generation_id"] for each in told["generations"]}) == (3, set(ids))


def test_of_several_all_are_taken_or_none(new_client: NewClient) -> None:
    client = new_client(max_active=2)
    answer = client.post({**WAITING, "num_generations": 3}, QUEUE)
    refused(answer, 429, "concurrency_limited")
    assert int(answer.headers["Retry-After"]) >= 1
    assert client.get(QUEUE).json()["count"] == 0
    assert len(client.post({**WAITING, "num_generations": 2}, QUEUE).json()["generations"]) == 2


def test_several_can_be_sent_again(client: Client) -> None:
    asked = {**WAITING, "num_generations": 2}
    first, second = (client.post(asked, QUEUE, headers={"Idempotency-Key": "lake"}) for _ in range(2))
    assert second.headers["Idempotent-Replayed"] == "true"
    assert first.json() == second.json()
    assert client.get(QUEUE).json()["count"] == 2


def test_several_are_told_of_again_though_their_key_floods_refusals(new_client: NewClient) -> None:
    client, asked = new_client(creates_per_minute=2), {**WAITING, "num_generations": 2}
    known = {"Idempotency-Key": "lake"}
    first = client.post(asked, QUEUE, headers=known)
    assert [client.post({}, QUEUE).status_code for _ in range(21)][-1] == 429
    assert client.post(asked, QUEUE, headers=known).json() == first.json()
    refused(client.post(asked, QUEUE, headers={"Idempotency-Key": "sea"}), 429, "rate_limited")


def test_cancelled(client: Client) -> None:
    generation = enqueue(client, model="unserved")
    for _ in range(2):
        answer = client.ask("DELETE", f"{QUEUE}/{generation}")
        assert answer.json() == {"status": "success", "generation_id": generation}
    assert look(client, generation)["status"] == "cancelled"
    assert client.get(QUEUE).json() == {"count": 0, "generations": []}
    assert client.get(f"{QUEUE}?status=cancelled,failed").json()["count"] == 1


def test_history_with_cost(client: Client, database: Database, farm: Any) -> None:
    played = PlayedWorker(database, farm)
    for _ in range(3):
        enqueue(client, model="unserved")
    for _ in range(2):
        played.succeed(played.claim(), picture())
    page = client.get("/api/ai/generations?page_size=2&page=2").json()
    assert (page["count"], page["total_entries"], page["total_pages"]) == (1, 3, 2)
    assert (page["total_cost"], page["total_capped"]) == (0.002, False)
    done = client.get("/api/ai/generations?status=succeeded&model=unserved").json()
    assert [each["cost"] for each in done["generations"]] == [0.001, 0.001]
    assert done["total_cost"] == 0.002


def test_each_account_sees_its_own(new_client: NewClient, telling: Telling) -> None:
    mine, other = new_client(), new_client()
    with Reader(other.url + EVENTS, key=other.key) as reader:
        enqueue(mine, model="unserved")
        telling.succeed(telling.claim(), picture())
        theirs = enqueue(other, model="unserved")
        telling.succeed(telling.claim(), picture())
        assert reader.next().data["generation_id"] == theirs
    for client in (mine, other):
        told = client.get("/api/ai/generations").json()
        assert (told["total_entries"], told["total_cost"]) == (1, 0.001)
        assert client.get(f"{QUEUE}?status=succeeded").json()["count"] == 1


def test_what_takes_longer_can_be_polled(client: Client) -> None:
    answer = client.post(WAITING, f"{GENERATE}?wait=0")
    told = refused(answer, 504, "still_running")
    assert int(answer.headers["Retry-After"]) >= 1
    assert look(client, told["generation_id"])["status"] == "queued"


@pytest.mark.parametrize(
    ("outcome", "number"),
    [("content_blocked", 422), ("error=input_unreachable", 422), ("error=mask_mismatch", 422), ("worker_lost", 500)],
)
def test_a_failure_in_one_call(client: Client, worker: None, outcome: str, number: int) -> None:
    answer = client.post({**MINIMAL, **QUICK}, GENERATE, headers={"X-Test-Outcome": outcome})
    told = refused(answer, number, outcome.removeprefix("error="))
    assert look(client, told["generation_id"])["status"] == "failed"


def test_a_cancel_ends_the_call(client: Client, new_client: NewClient) -> None:
    answer = client.post(WAITING, f"{GENERATE}?wait=30", headers={"Cancel-After": "1s"})
    refused(answer, 409, "cancelled")


def test_an_edit_starts_from_a_picture(client: Client, worker: None) -> None:
    sent = "data:image/png;base64," + base64.b64encode(picture("green", (96, 64), "PNG")).decode()
    for given in (sent, [sent]):
        answer = client.post({**MINIMAL, **QUICK, "input_image": given}, EDIT)
        assert answer.status_code == 200, answer.text
        (found,) = answer.json()["images"]
        assert found["width"] > found["height"]
    assert client.post({**MINIMAL, **QUICK, "image": sent}, EDIT).status_code == 200
    for wrong in ([sent, sent], None, "nowhere", "data:image/png;base64,AAAA"):
        told = refused(client.post({**MINIMAL, "input_image": wrong}, EDIT), 400, "invalid_params")
        assert [each["field"] for each in told["error"]["details"]] == ["input_image"]


def test_the_input_chooses_the_model(client: Client, worker: None) -> None:
    assert look(client, enqueue(client, model="flux", **QUICK))["model_name"] == "flux-dev"
    sent = "data:image/png;base64," + base64.b64encode(picture("green", (96, 64), "PNG")).decode()
    answer = client.post({**MINIMAL, **QUICK, "model": "flux", "input_image": sent}, EDIT)
    assert (answer.status_code, answer.json()["model"]) == (200, "flux")
    told = refused(client.post({**MINIMAL, "model": "flux", "control_image": sent}, QUEUE), 400, "invalid_params")
    assert [each["field"] for each in told["error"]["details"]] == ["control_image"]


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"model": "flux-1-dev"}, ["prompt"]),
        ({"prompt": "a fox"}, ["model"]),
        (
            {**MINIMAL, "aspect_ratio": "21:9", "guidance": 11, "num_inference_steps": 0},
            ["aspect_ratio", "num_inference_steps", "guidance"],
        ),
        ({**MINIMAL, "num_generations": 5}, ["num_generations"]),
        ({**MINIMAL, "imagesize": "large"}, ["imagesize"]),
    ],
)
def test_wrong_fields_are_named(client: Client, body: dict[str, Any], fields: list[str]) -> None:
    told = refused(client.post(body, QUEUE), 400, "invalid_params")
    assert [each["field"] for each in told["error"]["details"]] == fields
    assert client.get(QUEUE).json()["count"] == 0


def test_a_body_of_what_the_schema_says_is_taken_by_each_call(client: Client) -> None:
    described = client.get("/api/ai/models/unserved").json()["request_schema"]["properties"]
    body = {name: each["default"] for name, each in described.items() if each.get("default") is not None}
    assert {"response_format", "num_generations", "prompt"} <= body.keys()
    assert client.post(body, QUEUE).status_code == 200
    refused(client.post(body, f"{GENERATE}?wait=0"), 504, "still_running")
    for path, other in ((QUEUE, {"response_format": "b64_json"}), (GENERATE, {"num_generations": 2})):
        told = refused(client.post({**body, **other}, path), 400, "invalid_params")
        assert [each["field"] for each in told["error"]["details"]] == [*other]


def test_refusals(client: Client, stranger: Client, new_client: NewClient) -> None:
    told = refused(client.post({**MINIMAL, "model": "flux-dve"}, GENERATE), 404, "resource_not_found")
    assert "did you mean 'flux-dev'" in told["error"]["detail"]
    refused(stranger.post(MINIMAL, QUEUE), 401, "unauthenticated")
    refused(client.get(f"{QUEUE}/nothing"), 404, "resource_not_found")
    refused(client.ask("DELETE", f"{QUEUE}/nothing"), 404, "resource_not_found")
    refused(new_client(scopes=("read",)).post(MINIMAL, QUEUE), 403, "forbidden")
    refused(client.post({**MINIMAL, "disable_safety_checker": True}, QUEUE), 403, "safety_checker_required")
    refused(client.get(f"{QUEUE}?namespace=ox"), 400, "invalid_params")
    limited = new_client(creates_per_minute=1)
    enqueue(limited, model="unserved")
    answer = limited.post(WAITING, QUEUE)
    refused(answer, 429, "rate_limited")
    assert int(answer.headers["Retry-After"]) >= 1


def test_the_models(stranger: Client) -> None:
    listed = stranger.get("/api/ai/models").json()
    assert [each["id"] for each in listed["data"]] == ["flux-dev", "unserved", "flux"]
    for name in ("flux-dev", "flux-1-dev", "black-forest-labs/FLUX.1-dev"):
        found = requests.get(f"{stranger.url}/api/ai/models/{name}", timeout=60).json()
        assert found == listed["data"][0]
    schema = listed["data"][0]["request_schema"]
    assert schema == listed["data"][0]["json_request_schema"]
    assert schema["properties"]["prompt"]["default"].startswith("A beautiful landscape painting")
    assert {name: schema["properties"][name]["default"] for name in RESOLVED} == RESOLVED
    assert schema["properties"]["negative_prompt"]["default"] == ALL["negative_prompt"]
    assert stranger.get("/api/ai/models/flux").json() == listed["data"][2]
    found = stranger.get("/api/ai/models/search?search=Without").json()
    assert [each["id"] for each in found["data"]] == ["unserved"]
    refused(stranger.get("/api/ai/models/flux-2"), 404, "resource_not_found")
