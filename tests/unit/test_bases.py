"""Weights that lie over a base: where that lies, as the settings say it of the model that the base is for."""

from pathlib import Path

import pytest

from fluxfarm.catalog import Catalog, load_catalog
from fluxfarm.settings import Settings

DEV, REDUX = "/models/FLUX.1-dev", "/models/FLUX.1-Redux-dev"


def catalog(**weights: str) -> Catalog:
    chosen = tuple((slug.replace("_", "-"), location) for slug, location in weights.items())
    return load_catalog(Settings(models=("flux-dev", "flux-redux-dev"), weights=chosen))


def test_a_base_is_where_its_own_model_is() -> None:
    found = catalog(flux_dev=DEV, flux_redux_dev=REDUX)
    redux = found.model("flux-redux-dev")
    assert redux.weights.source == REDUX
    assert redux.drawn_with == found.model("flux-dev").weights, "or both would be loaded"
    assert redux.drawn_with.source == DEV
    assert catalog(flux_dev=DEV).model("flux-redux-dev").drawn_with.source == DEV


@pytest.mark.parametrize("other", ["flux-tiny", "/models/flux1-dev.safetensors"])
def test_what_is_no_whole_base_stands_in_for_none(other: str) -> None:
    redux = catalog(flux_dev=other, flux_redux_dev=REDUX).model("flux-redux-dev")
    assert redux.drawn_with.source == "black-forest-labs/FLUX.1-dev"


def test_another_base_is_another_version() -> None:
    versions = {catalog(**weights).model("flux-redux-dev").version for weights in ({}, {"flux_dev": DEV})}
    assert len(versions) == 2


def test_an_operators_weights_follow_too(tmp_path: Path) -> None:
    path = tmp_path / "catalog.toml"
    path.write_text("""
[weights.mine]
location = "./mine.safetensors"
base = "flux-dev"
licence = "flux-1-dev"
native_side = 1024
""")
    chosen = (("flux-dev", DEV), ("flux-krea-dev", "mine"))
    found = load_catalog(Settings(catalog=path, models=("flux-krea-dev",), weights=chosen)).model("flux-krea-dev")
    assert found.weights.base is not None
    assert (found.weights.source, found.weights.base.source) == (str(tmp_path / "mine.safetensors"), DEV)


def test_what_lies_beside_a_catalogue_stays_there_wherever_the_weights_lie(tmp_path: Path) -> None:
    path = tmp_path / "catalog.toml"
    path.write_text("""
[weights.flux-depth-dev]
location = "black-forest-labs/FLUX.1-Depth-dev"
depth_estimator = "./depth"
checkers = ["./checker"]
licence = "flux-1-dev"
native_side = 1024
""")
    chosen = (("flux-depth-dev", "/models/FLUX.1-Depth-dev"),)
    found = load_catalog(Settings(catalog=path, models=("flux-depth-dev",), weights=chosen)).model("flux-depth-dev")
    assert found.weights.source == "/models/FLUX.1-Depth-dev"
    assert found.weights.depth_source == str(tmp_path / "depth")
    assert found.weights.checker_sources == (str(tmp_path / "checker"),)
