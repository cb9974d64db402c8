"""`/files/…`: signed links, ranges, conditions, names, and the end of a picture."""

import re
from typing import Any

import pytest
from sqlalchemy import text

from fluxfarm.database import Database
from fluxfarm.settings import Settings
from tests.api import Client
from tests.contract.played import PlayedWorker, picture

DATA = picture("purple", (300, 200))
SIZE = len(DATA)


@pytest.fixture
def played(database: Database, farm: Settings) -> PlayedWorker:
    return PlayedWorker(database, farm)


@pytest.fixture
def found(client: Client, played: PlayedWorker) -> dict[str, Any]:
    """A prediction whose one picture is `DATA`."""
    prediction = client.create("unserved", seed=99)
    played.succeed(played.claim(), DATA)
    return client.look(prediction)


@pytest.fixture
def url(found: dict[str, Any]) -> str:
    return str(found["output"])


def test_a_link_reads_the_picture_with_or_without_a_key(client: Client, stranger: Client, url: str) -> None:
    for reader in (client, stranger):
        response = reader.get(url)
        assert (response.status_code, response.content) == (200, DATA)
    junk = stranger.get(url, headers={"Authorization": "Bearer junk"})
    assert (junk.status_code, junk.content) == (200, DATA)


def test_what_a_browser_may_do_with_it(stranger: Client, url: str) -> None:
    headers = stranger.get(url).headers
    assert headers["Content-Type"] == "image/webp"
    assert headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert headers["Cache-Control"].startswith("private")
    assert headers["Content-Disposition"].startswith("inline")


def test_a_download_has_a_name(stranger: Client, found: dict[str, Any]) -> None:
    response = stranger.get(found["output"] + "&download=1")
    name = f"unserved_99_{found['id'][:8]}.webp"
    assert response.headers["Content-Disposition"] == f'attachment; filename="{name}"'


def test_a_changed_link_is_refused(stranger: Client, client: Client, url: str, played: PlayedWorker) -> None:
    other = client.create("unserved")
    played.succeed(played.claim(), DATA)
    own = url.split("/")[4]
    changed = [
        url.partition("?")[0],
        re.sub(r"sig=.", "sig=!", url),
        re.sub(r"&sig=.*", "", url),
        re.sub(r"exp=\d+&", "", url),
        re.sub(r"exp=\d+", "exp=99999999999", url),
        re.sub(r"exp=\d+", "exp=1", url),
        re.sub(r"exp=\d+", "exp=%D9%A1", url),
        url.replace(own, other),
        url.replace(own, own.upper()) if own.upper() != own else url.replace(own, own.replace("-", "")),
        url.replace("/0.webp", "/1.webp"),
        url.replace("/0.webp", "/0.png"),
        url.replace("/0.webp", "/input.png"),
        url.replace("/0.webp", "/00.webp"),
        url + "%00&sig=x",
    ]
    for each in changed[:-1]:
        response = stranger.get(each)
        assert (response.status_code, response.json()["code"]) == (403, "link_invalid"), each
    assert stranger.get(changed[-1]).status_code in (200, 403)


def test_it_ends_with_its_row(stranger: Client, url: str, database: Database) -> None:
    assert stranger.get(url).status_code == 200
    with database.session_scope() as session:
        session.execute(text("UPDATE predictions SET expires_at = clock_timestamp()"))
    response = stranger.get(url)
    assert (response.status_code, response.json()["code"]) == (404, "not_found")
    assert stranger.get(url, headers={"If-None-Match": "*"}).status_code == 404


def test_a_link_lives_exactly_as_long_as_the_picture(found: dict[str, Any], database: Database) -> None:
    expires = re.search(r"exp=(\d+)", found["output"])
    assert expires is not None
    with database.session_scope() as session:
        row = session.execute(text("SELECT ceil(extract(epoch FROM expires_at))::bigint FROM predictions")).scalar_one()
    assert int(expires[1]) == row


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-9", 0, 10),
        ("bytes=10-", 10, SIZE),
        ("bytes=-5", SIZE - 5, SIZE),
        (f"bytes=0-{SIZE + 100}", 0, SIZE),
        (f"bytes={SIZE - 1}-", SIZE - 1, SIZE),
        (f"bytes=-{SIZE + 100}", 0, SIZE),
    ],
)
def test_a_range_gives_a_part(stranger: Client, url: str, asked: str, start: int, end: int) -> None:
    response = stranger.get(url, headers={"Range": asked})
    assert (response.status_code, response.content) == (206, DATA[start:end])
    assert response.headers["Content-Range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert response.headers["Content-Length"] == str(end - start)


@pytest.mark.parametrize("asked", ["bytes=0-1,5-6", "pixels=0-1", "bytes=5-1", "bytes=x", "nonsense", "bytes=-0"])
def test_a_range_that_means_nothing_gives_all(stranger: Client, url: str, asked: str) -> None:
    response = stranger.get(url, headers={"Range": asked})
    assert (response.status_code, response.content) == (200, DATA)


def test_a_range_past_the_end_is_416(stranger: Client, url: str) -> None:
    response = stranger.get(url, headers={"Range": f"bytes={SIZE}-"})
    assert response.status_code == 416
    assert response.headers["Content-Range"] == f"bytes */{SIZE}"


def test_if_range_holds_only_for_what_is_stored(stranger: Client, url: str, found: dict[str, Any]) -> None:
    etag = f'"{found["images"][0]["sha256"]}"'
    for condition, status in ((etag, 206), ('"other"', 200), ("Fri, 01 Jan 2027 00:00:00 GMT", 200)):
        response = stranger.get(url, headers={"Range": "bytes=0-9", "If-Range": condition})
        assert response.status_code == status, condition


def test_what_the_caller_has_is_not_sent_again(stranger: Client, url: str) -> None:
    etag = stranger.get(url).headers["ETag"]
    for condition in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        response = stranger.get(url, headers={"If-None-Match": condition})
        assert (response.status_code, response.headers["ETag"]) == (304, etag)
        assert "Content-Length" not in response.headers
    assert stranger.get(url, headers={"If-None-Match": '"other"'}).content == DATA


def test_head_tells_what_get_would(stranger: Client, url: str) -> None:
    head, get = stranger.ask("HEAD", url), stranger.get(url)
    same = ("Content-Length", "Content-Type", "ETag", "Content-Disposition", "Accept-Ranges")
    assert [head.headers[name] for name in same] == [get.headers[name] for name in same]


def test_a_picture_that_vanished_from_the_store_is_404(client: Client, stranger: Client, played: PlayedWorker) -> None:
    for encoding in ("url", "data_uri"):
        prediction = client.create("unserved", output_encoding=encoding)
        object_keys = played.succeed(played.claim(), DATA)
        played.store.delete(object_keys)
        link = client.look(prediction)["output"]
        response = stranger.get(link)
        assert (response.status_code, response.json()["code"]) == (404, "object_missing")
        assert stranger.ask("HEAD", link).status_code == 404


def test_a_store_that_is_away_is_503(client: Client, stranger: Client, url: str, farm: Settings) -> None:
    objects = farm.data_dir / "objects"
    hidden = objects.rename(objects.with_name("hidden"))
    try:
        # A link that leads round in circles fails whoever reads it, root as well.
        objects.symlink_to(objects.name)
        response = stranger.get(url)
        assert (response.status_code, response.json()["code"]) == (503, "unavailable")
        assert int(response.headers["Retry-After"]) >= 1
    finally:
        objects.unlink()
        hidden.rename(objects)
    assert stranger.get(url).status_code == 200
