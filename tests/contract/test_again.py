"""A prediction once more: by its seed, but for what is said otherwise; and the model that an input chooses."""

import base64
import uuid

import pytest
import requests

from fluxfarm.database import Database
from fluxfarm.settings import Settings
from tests.api import Client
from tests.contract.conftest import NewClient
from tests.contract.played import PlayedWorker, picture

URI = "data:image/png;base64," + base64.b64encode(picture(form="PNG")).decode()


def again(client: Client, prediction: str, body: object = None, **headers: str) -> requests.Response:
    path = f"/v1/prediction/{prediction}/again"
    return client.ask("POST", path, headers=headers, **({} if body is None else {"json": body}))


def test_the_same_again_draws_the_same_pixels(client: Client) -> None:
    first = client.render(num_inference_steps=2, output_format="png", width=512, height=256)
    second = client.wait(again(client, first["id"]).json()["predictionID"])
    assert second["id"] != first["id"]
    assert [each["seed"] for each in second["images"]] == [each["seed"] for each in first["images"]]
    assert [each["sha256"] for each in second["images"]] == [each["sha256"] for each in first["images"]]
    other = client.wait(again(client, first["id"], {"input": {"prompt": "a blue square"}}).json()["predictionID"])
    assert other["images"][0]["seed"] == first["images"][0]["seed"]
    assert other["images"][0]["sha256"] != first["images"][0]["sha256"]


def test_what_is_said_goes_before_what_was_sent(client: Client) -> None:
    first = client.create("unserved", width=512, height=256, guidance=2, seed=5, num_outputs=2)
    said = {"input": {"aspect_ratio": "16:9", "seed": None, "guidance": 4}, "priority": "low"}
    told = client.look(again(client, first, said).json()["predictionID"])
    assert (told["model"], told["input"]["guidance"], told["input"]["num_outputs"]) == ("unserved", 4, 2)
    assert (told["input"]["aspect_ratio"], told["input"]["width"]) == ("16:9", None)
    pinned = client.look(again(client, first).json()["predictionID"])
    assert (pinned["input"]["seed"], pinned["input"]["width"]) == (5, 512)


def test_another_model_has_defaults_of_its_own(client: Client) -> None:
    first = client.create("flux-dev", num_inference_steps=2)
    told = client.look(again(client, first, {"model": "unserved"}).json()["predictionID"])
    assert (told["model"], told["input"]["num_inference_steps"], told["input"]["guidance"]) == ("unserved", 2, 4.5)
    said = {"model": "unserved", "input": {"guidance": 3.5}}
    assert client.look(again(client, first, said).json()["predictionID"])["input"]["guidance"] == 3.5


def test_a_picture_sent_as_data_is_kept_for_each(client: Client, database: Database, farm: Settings) -> None:
    played = PlayedWorker(database, farm)
    first = client.create("unserved", image=URI)
    second = again(client, first).json()["predictionID"]
    shown = [client.look(each)["input"]["image"] for each in (first, second)]
    assert shown[0] != shown[1]
    client.ask("POST", f"/v1/prediction/{first}/cancel")
    client.ask("DELETE", f"/v1/prediction/{first}")
    played.succeed(played.claim(), picture())
    assert requests.get(shown[1], timeout=60).status_code == 200


def test_it_is_safe_to_send_again(client: Client) -> None:
    first, other = client.create("unserved"), client.create("unserved")
    key = {"Idempotency-Key": str(uuid.uuid4())}
    answers = [again(client, first, {"input": {"guidance": 3}}, **key) for _ in range(2)]
    assert answers[0].json()["predictionID"] == answers[1].json()["predictionID"]
    assert answers[1].headers["Idempotent-Replayed"] == "true"
    assert again(client, other, {"input": {"guidance": 3}}, **key).status_code == 422


def test_nonsense_and_strangers_are_refused(client: Client, new_client: NewClient) -> None:
    first = client.create("unserved")
    assert again(new_client(), first).status_code == 404
    assert again(client, str(uuid.uuid4())).status_code == 404
    for wrong, name in (({"inputs": {}}, "inputs"), ({"input": []}, "input"), ({"input": {"zebra": 1}}, "input.zebra")):
        answer = again(client, first, wrong)
        assert answer.status_code == 400
        assert [each["field"] for each in answer.json()["details"]] == [name]


@pytest.mark.parametrize("sent", [{}, {"image": URI}])
def test_flux_is_the_model_that_its_input_asks_for(client: Client, sent: dict[str, str]) -> None:
    created = client.post({"model": "flux", "input": {"prompt": "a red circle", "num_inference_steps": 2, **sent}})
    told = client.wait(created.json()["predictionID"])
    assert (told["status"], told["model"]) == ("success", "flux-dev")


def test_notices_of_what_was_asked_are_told_with_it(client: Client) -> None:
    sent = {"negative_prompt": "text", "width": 512, "height": 512, "megapixels": "0.25"}
    notices = client.look(client.create("unserved", **sent))["notices"]
    assert any("negative prompt doubles the time" in each for each in notices)
    assert any("megapixels has no effect" in each for each in notices)


def test_flux_is_listed_and_described(client: Client) -> None:
    assert "flux" in [each["slug"] for each in client.get("/v1/models").json()]
    assert "mode" in client.get("/v1/model?slug=flux").json()["request_schema"]["properties"]
