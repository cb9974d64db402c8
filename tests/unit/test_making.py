"""What is told of the weights that made a picture: a hash of all that it depends on, wherever that lies."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from fluxfarm.catalog import Model, load_catalog
from fluxfarm.settings import Settings
from tests.processes import wait_until
from worker.making import makings

CATALOGUE = """
[weights.base]
location = "./base"
licence = "apache-2.0"
native_side = 64

[weights.mine]
location = "./mine"
base = "base"
depth_estimator = "./estimator"
licence = "apache-2.0"
native_side = 64
"""
PARTS = ("base", "mine", "estimator")


class Loaded:
    device = "cpu"
    made_with = {"scheduler": "Euler", "dtype": "float32"}  # noqa: RUF012 (as the protocol has it)


def laid_out(directory: Path, changed: str = "") -> Model:
    for part in PARTS:
        (directory / part).mkdir(parents=True)
        (directory / part / "model.safetensors").write_text(f"{part} {part == changed}")
    (directory / "catalog.toml").write_text(CATALOGUE)
    chosen = Settings(catalog=directory / "catalog.toml", weights=(("flux-depth-dev", "mine"),))
    return load_catalog(chosen).model("flux-depth-dev")


def hashed(model: Model) -> str:
    loaded: Any = Loaded()
    made = makings([model], [loaded])[model.slug]
    assert str(model.weights.beside) not in str(made.told())
    found: str = wait_until(lambda: made.sha256)
    assert made.told()["weights"]["sha256"] == found
    return found


def test_no_path_of_the_machine_is_told(tmp_path: Path) -> None:
    laid_out(tmp_path)
    chosen = Settings(weights=(("flux-dev", str(tmp_path / "mine")),))
    loaded: Any = Loaded()
    told = makings([load_catalog(chosen).model("flux-dev")], [loaded])["flux-dev"].told()
    assert told["weights"]["name"] == "mine"
    assert str(tmp_path) not in str(told)


def test_the_same_weights_have_the_same_hash_wherever_they_lie(tmp_path: Path) -> None:
    assert hashed(laid_out(tmp_path / "here")) == hashed(laid_out(tmp_path / "there"))


@pytest.mark.parametrize("part", PARTS)
def test_all_that_a_picture_depends_on_counts(tmp_path: Path, part: str) -> None:
    assert hashed(laid_out(tmp_path / "here")) != hashed(laid_out(tmp_path / "other", changed=part))


def test_weights_that_are_not_here_have_none(tmp_path: Path) -> None:
    model = laid_out(tmp_path / "here")
    gone = dataclasses.replace(model.weights, location="nobody/nothing", base=None, depth_estimator=None)
    loaded: Any = Loaded()
    made = makings([dataclasses.replace(model, weights=gone)], [loaded])[model.slug]
    assert made.told()["weights"]["sha256"] is None
