"""What a join token carries to another machine, and what that machine makes of it."""

import base64
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from fluxfarm.catalog import load_catalog
from fluxfarm.errors import SettingsError
from fluxfarm.local.join_token import CARRIED, JoinToken, make_token
from fluxfarm.local.joining import make_member
from fluxfarm.settings import Settings

SHARED = {"FLUXFARM_DATABASE_URL": "postgresql://w:secret@10.0.0.1:15432/f", "FLUXFARM_REDIS_URL": "redis://10.0.0.1"}


def token(**environment: str) -> JoinToken:
    told = {**SHARED, **{f"FLUXFARM_{name.upper()}": value for name, value in environment.items()}}
    return make_token(Settings.from_environment(told), told, url="http://farm", host="main")


def test_is_one_word_that_comes_back_whole() -> None:
    made = token(weights="flux-dev=flux-tiny", lease_seconds="7")
    assert re.fullmatch(r"[A-Za-z0-9_-]+", made.encode())
    assert JoinToken.decode(made.encode()) == made
    assert JoinToken.decode(f" {made.encode()[:40]}\n{made.encode()[40:]}\n") == made


def test_shows_no_secret_when_printed() -> None:
    assert "secret" not in repr(token(s3_bucket="b", s3_secret_access_key="secret"))


@pytest.mark.parametrize("text", ["", "x", "hello-world", "bnVsbA", "WzFd", "e30", "ü"])
def test_refuses_what_is_no_token(text: str) -> None:
    with pytest.raises(SettingsError, match="no join token, or only a part of one"):
        JoinToken.decode(text)


def test_refuses_a_token_of_another_form() -> None:
    content = json.loads(base64.urlsafe_b64decode(token().encode() + "=="))
    for other in ({**content, "version": 2}, {**content, "more": 1}):
        with pytest.raises(SettingsError, match="another release"):
            JoinToken.decode(base64.urlsafe_b64encode(json.dumps(other).encode()).decode())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"database_url": "postgresql://127.0.0.1/f"}, "database is reached from this machine alone"),
        ({"redis_url": "redis://localhost"}, "Redis is reached from this machine alone"),
        (
            {"s3_bucket": "b", "s3_endpoint_url": "http://127.0.0.1:9000"},
            "S3_ENDPOINT_URL is reached from this machine",
        ),
    ],
)
def test_is_not_made_for_a_farm_that_nobody_else_reaches(settings: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        token(**settings)


def test_carries_what_holds_for_every_worker_and_leaves_out_what_belongs_to_a_machine() -> None:
    made = token(safety_checker="some/checker", device="cuda:3", dtype="float16", link_secrets="0123456789abcdef")
    assert made.settings == {
        "FLUXFARM_SAFETY_CHECKER": "some/checker",
        "FLUXFARM_MODELS": ",".join(load_catalog(Settings()).models),
    }
    assert {name for name in CARRIED if not hasattr(Settings(), name)} == set()


def test_the_token_decides_and_the_machine_adds_its_own(tmp_path: Path) -> None:
    made = token(weights="flux-dev=flux-tiny", lease_seconds="7")
    own = {
        "FLUXFARM_WEIGHTS": "flux-dev=/elsewhere",
        "FLUXFARM_DATABASE_URL": "postgresql://own/f",
        "FLUXFARM_DTYPE": "float16",
        "PGHOST": "own",
    }
    member = make_member(made, own, data_dir=tmp_path, store=tmp_path)
    assert member.settings.weights == (("flux-dev", "flux-tiny"),)
    assert member.settings.database_url == made.database_url
    assert (member.settings.lease_seconds, member.settings.dtype) == (7, "float16")
    assert member.settings.objects_directory == tmp_path
    assert "PGHOST" not in member.environment
    assert Settings.from_environment(member.environment) == member.settings


def test_the_operators_catalogue_travels_along(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text('[weights.own]\nlocation = "somebody/own"\nnative_side = 512\nlicence = "apache-2.0"\n')
    made = token(catalog=str(file), weights="flux-dev=own")
    member = make_member(made, {"FLUXFARM_CATALOG": "/none"}, data_dir=tmp_path, store=tmp_path)
    assert member.catalog.model("flux-dev").weights.location == "somebody/own"


def test_a_bucket_needs_no_directory_and_takes_none(tmp_path: Path) -> None:
    made = token(s3_bucket="pictures", s3_endpoint_url="http://10.0.0.1:9000", s3_secret_access_key="k")
    member = make_member(made, {}, data_dir=tmp_path, store=None)
    assert (member.settings.s3_bucket, member.settings.s3_secret_access_key) == ("pictures", "k")
    with pytest.raises(SettingsError, match="leave --store out"):
        make_member(made, {}, data_dir=tmp_path, store=tmp_path)


def test_without_a_place_for_pictures_it_says_what_to_mount(tmp_path: Path) -> None:
    made = replace(token(), objects="/srv/farm/objects")
    with pytest.raises(SettingsError, match="mount the directory /srv/farm/objects of main"):
        make_member(made, {}, data_dir=tmp_path, store=None)
