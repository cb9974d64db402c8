"""Previews among the events of a prediction: for those who ask, in order, and without harm to what is told beside."""

import base64
import io
from collections.abc import Iterator

import numpy as np
import pytest
import requests
from numpy.typing import NDArray
from PIL import Image

from fluxfarm.lifecycle import Claimed
from fluxfarm.previews import Preview, Previews
from fluxfarm.queue import redis_client
from fluxfarm.settings import Settings
from tests.api import Client, until
from tests.contract.followed import Heard, Reader
from tests.contract.played import Telling, picture

STEPS = 5
DATA = base64.b64encode(picture()).decode()


@pytest.fixture
def previews(farm: Settings) -> Iterator[Previews]:
    client = redis_client(farm)
    yield Previews(client)
    client.close()


def events(client: Client, prediction: str, query: str = "?previews=1") -> str:
    return f"{client.url}/v1/prediction/{prediction}/events{query}"


def show(previews: Previews, held: Claimed, step: int) -> None:
    previews.tell(held.id, held.key_id, Preview(held.attempt, 1, step, STEPS, 64, 64, DATA))


def names(heard: list[Heard]) -> list[str]:
    return [each.name for each in heard]


def test_a_render_is_seen_while_it_is_made(client: Client, worker: None) -> None:
    asked = {"prompt": "a large red circle in the center on a blue background", "output_format": "png"}
    created = client.try_create(**{**asked, "num_inference_steps": 50, "num_outputs": 4, "seed": 3}).json()
    with Reader(created["urls"]["events"] + "&previews=1") as reader, Reader(created["urls"]["events"]) as other:
        heard, unasked = reader.rest(), other.rest()
    seen = [each for each in heard if each.name == "preview"]
    finals = [pixels(requests.get(image["url"], timeout=30).content) for image in heard[-1].data["images"]]
    assert seen
    for each in seen:
        head, _, data = each.data["data"].partition(",")
        assert (head, each.data["media_type"]) == ("data:image/webp;base64", "image/webp")
        drawn = pixels(base64.b64decode(data))
        assert drawn.shape == (each.data["height"], each.data["width"], 3)
        assert likeness(drawn, finals[each.data["image"] - 1]) > 0.5
        assert each.data["steps"] == 50
        assert len(each.data["data"]) < 8000
    assert "preview" not in names(unasked)
    assert [each.id for each in heard if each.name not in ("preview", "queued")] == [
        each.id for each in unasked if each.name != "queued"
    ]


def pixels(data: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as opened:
        return np.asarray(opened.convert("RGB"))


def likeness(small: NDArray[np.uint8], large: NDArray[np.uint8]) -> float:
    shrunk = np.asarray(Image.fromarray(large).resize(small.shape[1::-1], Image.Resampling.BOX))
    return float(np.corrcoef(small.ravel(), shrunk.ravel())[0, 1])


def test_they_are_wished_for_by_whoever_follows_them_alone(
    client: Client, telling: Telling, previews: Previews
) -> None:
    prediction = client.create("unserved")
    held = telling.claim()
    with Reader(events(client, prediction, ""), key=client.key) as reader:
        reader.until("started")
        assert not previews.wished(held.id)
    with Reader(events(client, prediction), key=client.key) as reader:
        reader.until("started")
        until(lambda: previews.wished(held.id), lambda: "nobody wished for previews")


def test_they_stand_behind_their_step_and_do_not_disturb_a_return(
    client: Client, telling: Telling, previews: Previews
) -> None:
    prediction = client.create("unserved", num_inference_steps=STEPS)
    held = telling.claim()
    with Reader(events(client, prediction), key=client.key) as reader:
        heard = reader.until("started")
        show(previews, held, 1)
        telling.make_step(held, 1, steps=STEPS)
        heard += reader.until("preview")
        telling.make_step(held, 2, steps=STEPS)
        show(previews, held, 2)
        heard += reader.until("preview")
    assert names(heard)[-4:] == ["progress", "preview", "progress", "preview"]
    assert [each.data["step"] for each in heard[-4:]] == [1, 1, 2, 2]
    assert [each.id for each in heard[-4::2]] == [each.id for each in heard[-3::2]]
    telling.make_step(held, 3, steps=STEPS)
    with Reader(events(client, prediction), key=client.key, last=heard[-1].id) as reader:
        heard = [reader.next()]
        telling.make_step(held, 4, steps=STEPS)
        show(previews, held, 4)
        heard += reader.until("preview")
        telling.succeed(held, picture())
        heard += reader.rest()
    assert [(each.name, each.data.get("step")) for each in heard[:-1]] == [
        ("progress", 3),
        ("progress", 4),
        ("preview", 4),
    ]
    assert names(heard)[-1] == "succeeded"


def test_one_of_a_lost_attempt_is_not_shown(client: Client, telling: Telling, previews: Previews) -> None:
    prediction = client.create("unserved", num_inference_steps=STEPS)
    lost = telling.claim()
    with Reader(events(client, prediction), key=client.key) as reader:
        heard = reader.until("started")
        telling.make_step(lost, 1, steps=STEPS)
        telling.hand_back(lost)
        heard += reader.until("queued")
        show(previews, lost, 1)
        held = telling.claim()
        telling.make_step(held, 1, steps=STEPS)
        show(previews, lost, 1)
        telling.make_step(held, 2, steps=STEPS)
        show(previews, held, 2)
        heard += reader.until("preview")
        telling.succeed(held, picture())
        heard += reader.rest()
    assert [each.data["step"] for each in heard if each.name == "preview"] == [2]


def test_a_wish_that_is_not_clear_is_refused(client: Client, telling: Telling) -> None:
    refused = client.get(f"/v1/prediction/{client.create('unserved')}/events?previews=maybe")
    assert (refused.status_code, refused.json()["details"][0]["field"]) == (400, "previews")
