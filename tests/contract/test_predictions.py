"""What becomes of a prediction, as a client sees it, from the queue to its pictures."""

import base64
import hashlib
import io
import re
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fluxfarm.database import Database
from fluxfarm.settings import Settings
from tests.api import Client, until
from tests.contract.conftest import NewClient
from tests.contract.played import PlayedWorker, picture

TQDM = re.compile(r"^\s*(\d+)%\|.*\|\s*(\d+)/(\d+)", re.MULTILINE)
"""What the clients of this field look for."""


@pytest.fixture
def played(database: Database, farm: Settings) -> PlayedWorker:
    return PlayedWorker(database, farm)


def pixels(client: Client, url: str) -> Any:
    with Image.open(io.BytesIO(client.get(url).content)) as image:
        return np.asarray(image.convert("RGB"), dtype=float)


def data_uri(color: str) -> str:
    return "data:image/png;base64," + base64.b64encode(picture(color, (128, 128), "PNG")).decode()


def test_one_that_waits(client: Client) -> None:
    _, second = (client.create("unserved", num_inference_steps=28, num_outputs=4) for _ in range(2))
    # The queue is looked at once a second.
    until(lambda: client.look(second)["queue"]["position"] == 2, lambda: str(client.look(second)["queue"]))
    response = client.get(f"/v1/prediction/{second}")
    found = response.json()
    assert found["id"] == second
    assert found["status"] == "starting"
    assert found["queue"] == {"position": 2, "eta_seconds": None, "waiting_for": "worker"}
    assert 1 <= int(response.headers["Retry-After"]) <= 30
    assert found["output"] is None
    assert found["images"] == []
    assert found["logs"] == ""
    assert found["error"] is found["error_code"] is found["started_at"] is found["expires_at"] is None
    assert found["progress"] == {"step": 0, "steps": 28, "image": 0, "images": 4, "stage": "starting"}
    assert found["metrics"]["predict_time"] == 0
    links = {name: link.partition("?")[0] for name, link in found["urls"].items()}
    assert links == {name: f"{client.url}/v1/prediction/{second}{rest}" for name, rest in URLS.items()}


def test_what_is_rendered_is_expected_at_its_own_pace(client: Client, played: PlayedWorker) -> None:
    prediction = client.create("unserved", num_inference_steps=28, num_outputs=2)
    held = played.claim()
    played.step(held, image=1, step=5, steps=28)
    queue = client.look(prediction)["queue"]
    # Half a second for five steps; it was noted just now.
    assert queue == {"position": 0, "eta_seconds": pytest.approx(0.1 * (23 + 28), abs=0.05), "waiting_for": None}


URLS = {"get": "", "cancel": "/cancel", "events": "/events"}


def test_one_that_is_rendered(client: Client, played: PlayedWorker) -> None:
    prediction = client.create("unserved", num_outputs=2, num_inference_steps=28)
    played.step(played.claim(), image=2, step=7, steps=28)
    response = client.get(f"/v1/prediction/{prediction}")
    found = response.json()
    assert found["status"] == "processing"
    assert found["progress"] == {"step": 7, "steps": 28, "image": 2, "images": 2, "stage": "step"}
    assert TQDM.findall(found["logs"]) == [("100", "28", "28"), ("25", "7", "28")]
    assert found["queue"]["position"] == 0
    assert int(response.headers["Retry-After"]) >= 1
    assert found["started_at"] is not None


def test_one_that_succeeded(client: Client, worker: None) -> None:
    prediction = client.create(seed=7, aspect_ratio="16:9", prompt="a lighthouse")
    found = client.wait(prediction)
    response = client.get(f"/v1/prediction/{prediction}")
    assert found["status"] == "success"
    assert "Retry-After" not in response.headers
    assert found["output"] == found["images"][0]["url"]
    assert found["images"][0]["seed"] == 7
    assert found["images"][0]["safety"] == "unchecked"
    assert found["queue"] is None
    assert found["error"] is None
    assert found["progress"]["stage"] == "done"
    assert found["logs"].startswith("Using seed: 7\n")
    assert TQDM.findall(found["logs"]) == [("100", "2", "2")]
    assert "tand-in" in " ".join(found["notices"])
    assert found["metrics"]["total_time"] >= found["metrics"]["predict_time"] > 0
    times = [datetime.fromisoformat(found[f"{name}_at"]) for name in ("created", "started", "completed", "expires")]
    assert times == sorted(times)
    assert times[3] - times[2] == timedelta(days=30)


def test_the_answer_tells_the_truth_about_each_file(client: Client, stranger: Client, worker: None) -> None:
    for form in ("webp", "jpg", "png"):
        image = client.render(output_format=form, width=640, height=480)["images"][0]
        file = stranger.get(image["url"])
        assert file.headers["Content-Type"] == image["content_type"] == f"image/{'jpeg' if form == 'jpg' else form}"
        assert len(file.content) == image["bytes"] == int(file.headers["Content-Length"])
        assert hashlib.sha256(file.content).hexdigest() == image["sha256"]
        with Image.open(io.BytesIO(file.content)) as opened:
            assert opened.size == (image["width"], image["height"])


def test_several_pictures_have_seeds_and_files_of_their_own(client: Client, stranger: Client, worker: None) -> None:
    found = client.render(num_outputs=4, seed=2**32 - 2)
    assert found["output"] == [image["url"] for image in found["images"]]
    assert [image["seed"] for image in found["images"]] == [2**32 - 2, 2**32 - 1, 0, 1]
    assert len({stranger.get(url).content for url in found["output"]}) == 4


def test_the_same_seed_gives_the_same_bytes(client: Client, stranger: Client, worker: None) -> None:
    first, again = (client.render(seed=5)["images"][0] for _ in range(2))
    third = client.render(seed=4, num_outputs=2)["images"][1]
    other = client.render(seed=6)["images"][0]
    files = [stranger.get(image["url"]).content for image in (first, again, third, other)]
    assert files[0] == files[1] == files[2] != files[3]


def test_the_picture_counts_for_as_much_as_its_strength_leaves(client: Client, worker: None) -> None:
    def rendered(color: str, strength: float) -> Any:
        return pixels(
            client,
            client.render(image=data_uri(color), prompt_strength=strength, seed=3, num_inference_steps=10)["output"],
        )

    red, blue = (rendered(color, 1.0) for color in ("red", "blue"))
    assert (red == blue).all()
    red, blue = (rendered(color, 0.1) for color in ("red", "blue"))
    assert abs(red - blue).mean() > 10


def test_an_input_picture_gives_its_shape_and_what_was_cut_is_told(client: Client, worker: None) -> None:
    wide = "data:image/png;base64," + base64.b64encode(picture("red", (256, 128), "PNG")).decode()
    matched = client.render(image=wide)
    assert matched["input"]["aspect_ratio"] == "match_input_image"
    assert matched["images"][0]["width"] == 2 * matched["images"][0]["height"]
    assert matched["images"][0]["crop"] is None
    cut = client.render(image=wide, aspect_ratio="1:1")["images"][0]
    assert cut["crop"] == {"left": 64, "top": 0, "right": 192, "bottom": 128}


def test_one_that_failed(client: Client, worker: None) -> None:
    found = client.wait(client.create(image="http://127.0.0.1/secret.png"))
    assert found["status"] == "error"
    assert found["error_code"] == "input_forbidden"
    assert found["error"] == "image: its URL leads to an address that is not public"
    assert found["output"] is None
    assert found["images"] == []
    assert found["completed_at"] is not None


def test_one_that_its_owner_cancelled_while_it_waited(client: Client) -> None:
    prediction = client.create("unserved")
    answer = client.ask("POST", f"/v1/prediction/{prediction}/cancel").json()
    assert answer == {
        "status": "cancelled",
        "canceling": False,
        "message": "Prediction canceled successfully",
        "predictionID": prediction,
    }
    assert client.look(prediction)["status"] == "cancelled"
    again = client.ask("POST", f"/v1/prediction/{prediction}/cancel").json()
    assert again["status"] == "cancelled"


def test_one_that_its_owner_wishes_to_end_while_it_is_rendered(client: Client, played: PlayedWorker) -> None:
    prediction = client.create("unserved")
    held = played.claim()
    answer = client.ask("POST", f"/v1/prediction/{prediction}/cancel").json()
    assert (answer["status"], answer["canceling"]) == ("processing", True)
    assert client.look(prediction)["canceling"] is True
    played.succeed(held, picture())
    assert client.ask("POST", f"/v1/prediction/{prediction}/cancel").json()["status"] == "cancelled"


def test_pictures_may_come_as_data_uris(client: Client, worker: None) -> None:
    found = client.render(output_encoding="data_uri", output_format="png", num_outputs=2)
    assert found["output"] == [image["url"] for image in found["images"]]
    for image in found["images"]:
        start, _, data = image["url"].partition(",")
        assert start == "data:image/png;base64"
        assert hashlib.sha256(base64.b64decode(data)).hexdigest() == image["sha256"]


def test_a_shorter_life_may_be_asked_for(client: Client, played: PlayedWorker) -> None:
    prediction = client.create("unserved", headers={"Expires-After": "1h"})
    played.succeed(played.claim(), picture())
    found = client.look(prediction)
    life = datetime.fromisoformat(found["expires_at"]) - datetime.fromisoformat(found["completed_at"])
    assert life == timedelta(hours=1)


def test_a_longer_life_than_the_tenants_is_not_given(client: Client, played: PlayedWorker) -> None:
    prediction = client.create("unserved", headers={"Expires-After": "365d"})
    played.succeed(played.claim(), picture())
    found = client.look(prediction)
    life = datetime.fromisoformat(found["expires_at"]) - datetime.fromisoformat(found["completed_at"])
    assert life == timedelta(days=30)


def test_unknown_foreign_and_impossible_ids_get_one_answer(new_client: NewClient) -> None:
    owner, other = new_client("one"), new_client("two")
    theirs = owner.create("unserved")
    unknown = ("00000000-0000-0000-0000-000000000000", "x", "%00", "None", "é" * 300)
    answers = [other.get(f"/v1/prediction/{each}") for each in (theirs, *unknown)]
    answers += [other.ask("POST", f"/v1/prediction/{each}/cancel") for each in (theirs, *unknown)]
    assert {(answer.status_code, answer.content) for answer in answers} == {(404, answers[0].content)}
    assert owner.look(theirs)["status"] == "starting"


def test_another_key_of_the_same_tenant_sees_it(new_client: NewClient) -> None:
    one, other = new_client("same"), new_client("same")
    assert other.look(one.create("unserved"))["status"] == "starting"


def test_models_are_listed_and_described(stranger: Client) -> None:
    listed = stranger.get("/v1/models").json()
    assert [each["slug"] for each in listed] == ["flux-dev", "unserved", "flux"]
    assert stranger.get("/v1/model?slug=flux-dev").json() == listed[0]
    assert listed[0]["stand_in"] is True
    assert listed[0]["card"]["parameters_billions"] == 12
    assert listed[0]["card"]["device_memory_gib"]["none"] > listed[0]["card"]["device_memory_gib"]["model"]
    assert listed[1]["card"] is None
    assert listed[0]["request_schema"]["properties"]["num_inference_steps"]["default"] == 28
    assert [each["slug"] for each in stranger.get("/v1/models?name=SERVED").json()] == ["unserved"]
    assert stranger.get("/v1/models?limit=1&offset=1").json() == listed[1:2]
    assert stranger.get("/v1/models?offset=5").json() == []


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/model", 400, "invalid_input"),
        ("/v1/model?slug=", 400, "invalid_input"),
        ("/v1/model?slug=flux-deva", 404, "model_not_found"),
        ("/v1/model?slug=%00%ff", 404, "model_not_found"),
        ("/v1/models?limit=0", 400, "invalid_input"),
        ("/v1/models?limit=501", 400, "invalid_input"),
        ("/v1/models?limit=x", 400, "invalid_input"),
        ("/v1/models?offset=-1", 400, "invalid_input"),
        ("/v1/models?offset=%D9%A1", 400, "invalid_input"),
    ],
)
def test_wrong_questions_about_models(stranger: Client, path: str, status: int, code: str) -> None:
    response = stranger.get(path)
    assert (response.status_code, response.json()["code"]) == (status, code)
