"""An API whose pictures lie in an S3 store that checks signatures, at an address that clients can reach."""

import base64
import dataclasses
import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from api.waiting import MOST_LOOKS
from fluxfarm.announce import Announcer
from fluxfarm.database import Database
from fluxfarm.settings import Settings
from tests.api import Api, Client, serving, until
from tests.contract.conftest import NewClient
from tests.contract.played import PlayedWorker, picture
from tests.contract.test_long_poll import LONG, held
from tests.processes import Proxy
from tests.servers import S3Server, rclone_s3

DATA = picture("orange", (300, 200))
SENT = picture("blue", form="PNG")
SENT_URI = "data:image/png;base64," + base64.b64encode(SENT).decode()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with rclone_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="module")
def s3_settings(farm: Settings, store: S3Server) -> Settings:
    return dataclasses.replace(
        farm,
        s3_endpoint_url=store.endpoint,
        s3_public_endpoint_url=store.endpoint,
        s3_access_key_id=store.access_key,
        s3_secret_access_key=store.secret_key,
        s3_bucket=store.bucket,
        api_workers=1,
    )


@pytest.fixture(scope="module")
def s3_api(s3_settings: Settings, logs: Path) -> Iterator[Api]:
    with serving(s3_settings, logs) as api:
        yield api


@pytest.fixture
def owner(s3_api: Api, client: Client) -> Iterator[Client]:
    with Client(s3_api.url, client.described, client.key) as of_s3:
        yield of_s3


@pytest.fixture
def reader(s3_api: Api, client: Client) -> Iterator[Client]:
    with Client(s3_api.url, client.described) as without_key:
        yield without_key


@pytest.fixture
def played(database: Database, s3_settings: Settings) -> PlayedWorker:
    return PlayedWorker(database, s3_settings)


def test_pictures_go_in_and_come_out(owner: Client, played: PlayedWorker) -> None:
    # Several times, so that connections to the store are used again.
    for _ in range(3):
        prediction = owner.create("unserved", image=SENT_URI)
        played.succeed(played.claim(), DATA)
        found = owner.look(prediction)
        assert owner.get(found["input"]["image"]).content == SENT
        assert hashlib.sha256(owner.get(found["output"]).content).hexdigest() == found["images"][0]["sha256"]
    part = owner.get(found["output"], headers={"Range": "bytes=5-14"})
    assert (part.status_code, part.content) == (206, DATA[5:15])
    assert owner.ask("HEAD", found["output"]).headers["Content-Length"] == str(len(DATA))


def test_a_store_that_hangs_holds_up_nobody_else(
    s3_settings: Settings, store: S3Server, logs: Path, client: Client, new_client: NewClient, announcer: Announcer
) -> None:
    told = Database(s3_settings.require_database_url(), pool_size=1, tell=announcer.tell)
    worker = PlayedWorker(told, s3_settings)
    with Proxy(urlsplit(store.endpoint).port or 0) as proxy, ExitStack() as stack:
        far = dataclasses.replace(s3_settings, s3_endpoint_url=f"http://127.0.0.1:{proxy.port}")
        api = stack.enter_context(serving(far, logs))
        slow = [client.create("unserved", output_encoding="data_uri") for _ in range(MOST_LOOKS + 1)]
        here = Client(api.url, client.described, client.key)
        stuck = [stack.enter_context(held(here, each, LONG)) for each in slow]
        other = new_client()
        there = Client(api.url, client.described, other.key)
        prediction = other.create("unserved")
        poll = stack.enter_context(held(there, prediction, LONG))
        until(lambda: "doorbell is heard" in api.log.read_text(), api.log.read_text)
        proxy.freeze()
        claims = {str(claimed.id): claimed for claimed in [worker.claim() for _ in [*slow, prediction]]}
        for each in [*slow, prediction]:
            worker.succeed(claims[each], DATA)
        assert poll.result().json()["status"] == "success"
        assert not any(each.done() for each in stuck)
        proxy.cut()
    told.close()


def test_data_uris_are_read_from_it(owner: Client, played: PlayedWorker) -> None:
    prediction = owner.create("unserved", output_encoding="data_uri")
    played.succeed(played.claim(), DATA)
    assert base64.b64decode(owner.look(prediction)["output"].partition(",")[2]) == DATA


def test_what_vanished_is_404(owner: Client, played: PlayedWorker) -> None:
    prediction = owner.create("unserved")
    played.store.delete(played.succeed(played.claim(), DATA))
    assert owner.get(owner.look(prediction)["output"]).status_code == 404


def test_readers_without_a_key_are_sent_to_the_store(owner: Client, reader: Client, played: PlayedWorker) -> None:
    prediction = owner.create("unserved", seed=4)
    played.succeed(played.claim(), DATA)
    response = reader.get(owner.look(prediction)["output"] + "&download=1")
    assert response.status_code == 302
    link = response.headers["Location"]
    with requests.get(link, timeout=60) as file:
        assert (file.status_code, file.content) == (200, DATA)
        assert file.headers["Content-Type"] == "image/webp"
        assert f"unserved_4_{prediction[:8]}.webp" in file.headers["Content-Disposition"]
    with requests.get(link.replace("X-Amz-Signature=", "X-Amz-Signature=0"), timeout=60) as forged:
        assert forged.status_code == 403


@pytest.mark.parametrize("header", ["X-API-Key", "Authorization"])
def test_a_request_that_carries_a_key_is_never_redirected(
    owner: Client, reader: Client, played: PlayedWorker, header: str
) -> None:
    prediction = owner.create("unserved")
    played.succeed(played.claim(), DATA)
    response = reader.get(owner.look(prediction)["output"], headers={header: "Bearer whatever"})
    assert (response.status_code, response.content) == (200, DATA)


def test_a_store_that_is_away_is_503(s3_settings: Settings, client: Client, logs: Path, played: PlayedWorker) -> None:
    settings = dataclasses.replace(s3_settings, s3_endpoint_url="http://127.0.0.1:1", s3_public_endpoint_url=None)
    prediction = client.create("unserved")
    played.succeed(played.claim(), DATA)
    with serving(settings, logs) as api, Client(api.url, client.described, client.key) as owner:
        found = owner.look(prediction)
        for response in (owner.get(found["output"]), owner.try_create("unserved", image=SENT_URI)):
            assert (response.status_code, response.json()["code"]) == (503, "unavailable")
        assert owner.try_create("unserved").status_code == 200
