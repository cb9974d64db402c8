"""An API whose pictures lie in an S3 store that checks signatures, with and without an address clients can reach."""

import base64
import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from fluxfarm.database import Database
from fluxfarm.settings import Settings
from tests.api import Client, Description, serving
from tests.contract.played import PlayedWorker, picture
from tests.servers import S3Server, rclone_s3

DATA = picture("orange", (300, 200))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with rclone_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="module")
def settings_of_s3(farm: Settings, store: S3Server) -> Settings:
    return dataclasses.replace(
        farm,
        s3_endpoint_url=store.endpoint,
        s3_access_key_id=store.access_key,
        s3_secret_access_key=store.secret_key,
        s3_bucket=store.bucket,
        api_workers=1,
    )


@pytest.fixture(scope="module")
def streaming(settings_of_s3: Settings, logs: Path) -> Iterator[str]:
    with serving(settings_of_s3, logs) as api:
        yield api.url


@pytest.fixture(scope="module")
def redirecting(settings_of_s3: Settings, store: S3Server, logs: Path) -> Iterator[str]:
    settings = dataclasses.replace(settings_of_s3, s3_public_endpoint_url=store.endpoint)
    with serving(settings, logs) as api:
        yield api.url


@pytest.fixture
def played(database: Database, settings_of_s3: Settings) -> PlayedWorker:
    return PlayedWorker(database, settings_of_s3)


def test_pictures_go_in_and_come_out(streaming: str, client: Client, played: PlayedWorker) -> None:
    with Client(streaming, client.described, client.key) as of_s3, Client(streaming, client.described) as stranger:
        uri = "data:image/png;base64," + base64.b64encode(picture("blue", form="PNG")).decode()
        # Several in a row, so that connections to the store are used again.
        for _ in range(3):
            prediction = of_s3.create("unserved", image=uri)
            assert stranger.get(of_s3.look(prediction)["input"]["image"]).content == picture("blue", form="PNG")
            played.succeed(played.claim(), DATA)
            found = of_s3.look(prediction)
            assert hashlib.sha256(stranger.get(found["output"]).content).hexdigest() == found["images"][0]["sha256"]
        part = stranger.get(found["output"], headers={"Range": "bytes=5-14"})
        assert (part.status_code, part.content) == (206, DATA[5:15])
        assert stranger.ask("HEAD", found["output"]).headers["Content-Length"] == str(len(DATA))


def test_data_uris_are_read_from_it(streaming: str, client: Client, played: PlayedWorker) -> None:
    with Client(streaming, client.described, client.key) as of_s3:
        prediction = of_s3.create("unserved", output_encoding="data_uri")
        played.succeed(played.claim(), DATA)
        assert base64.b64decode(of_s3.look(prediction)["output"].partition(",")[2]) == DATA


def test_what_vanished_is_404(streaming: str, client: Client, played: PlayedWorker) -> None:
    with Client(streaming, client.described, client.key) as of_s3:
        prediction = of_s3.create("unserved")
        played.store.delete(played.succeed(played.claim(), DATA))
        assert of_s3.get(of_s3.look(prediction)["output"]).status_code == 404


def test_readers_without_a_key_are_sent_to_the_store(redirecting: str, client: Client, played: PlayedWorker) -> None:
    with Client(redirecting, client.described, client.key) as of_s3, Client(redirecting, client.described) as stranger:
        prediction = of_s3.create("unserved", seed=4)
        played.succeed(played.claim(), DATA)
        url = of_s3.look(prediction)["output"]
        response = stranger.get(url + "&download=1")
        assert response.status_code == 302
        with requests.get(response.headers["Location"], timeout=10) as file:
            assert (file.status_code, file.content) == (200, DATA)
            assert file.headers["Content-Type"] == "image/webp"
            assert f"unserved_4_{prediction[:8]}.webp" in file.headers["Content-Disposition"]
        with requests.get(
            response.headers["Location"].replace("X-Amz-Signature=", "X-Amz-Signature=0"), timeout=10
        ) as bad:
            assert bad.status_code == 403


@pytest.mark.parametrize("header", ["X-API-Key", "Authorization"])
def test_a_request_that_carries_a_key_is_never_redirected(
    redirecting: str, client: Client, played: PlayedWorker, header: str
) -> None:
    with Client(redirecting, client.described, client.key) as of_s3, Client(redirecting, client.described) as stranger:
        prediction = of_s3.create("unserved")
        played.succeed(played.claim(), DATA)
        response = stranger.get(of_s3.look(prediction)["output"], headers={header: "Bearer whatever"})
        assert (response.status_code, response.content) == (200, DATA)


def test_a_store_that_is_away_is_503(
    settings_of_s3: Settings, client: Client, logs: Path, described: Description, played: PlayedWorker
) -> None:
    settings: Any = dataclasses.replace(settings_of_s3, s3_endpoint_url="http://127.0.0.1:1")
    prediction = client.create("unserved")
    played.succeed(played.claim(), DATA)
    uri = "data:image/png;base64," + base64.b64encode(picture("blue", form="PNG")).decode()
    with serving(settings, logs) as api, Client(api.url, described, client.key) as of_s3:
        found = of_s3.look(prediction)
        for response in (of_s3.get(found["output"]), of_s3.try_create("unserved", image=uri)):
            assert (response.status_code, response.json()["code"]) == (503, "unavailable")
        assert of_s3.try_create("unserved").status_code == 200
