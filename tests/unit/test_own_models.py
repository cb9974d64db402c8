"""Models of an operator's own, by the very catalogue that the documents show, and which processes serve them."""

from pathlib import Path
from typing import Any

import pytest

from fluxfarm import starting
from fluxfarm.catalog import Catalog, load_catalog, tried_out
from fluxfarm.errors import SettingsError
from fluxfarm.inputs import parse
from fluxfarm.local.plan import together
from fluxfarm.settings import Settings

OPERATIONS = Path(__file__).parents[2] / "docs/operations.md"
BUILT_IN = load_catalog(Settings()).models.keys()


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """The example, written to a file."""
    _, _, after = OPERATIONS.read_text().partition("## A model of your own")
    path = tmp_path / "catalog.toml"
    path.write_text(after.partition("```toml\n")[2].partition("```")[0])
    return path


def up(**chosen: Any) -> Catalog:
    """What `fluxfarm up` serves."""
    return load_catalog(tried_out(Settings(**chosen)))


def test_the_example_of_the_documents_is_served(own: Path) -> None:
    model = up(catalog=own, weights=(("flux-dev", "/models/FLUX.1-dev"),)).model("house-style")
    assert model.weights.source == str(own.parent / "house-style.safetensors")
    assert model.weights.base is not None
    assert model.weights.base.source == "/models/FLUX.1-dev"
    assert parse(model, {"prompt": "x"}).guidance == 4
    with pytest.raises(SettingsError, match="house-style: its weights are under the FLUX"):
        starting.require(model, Settings())


def test_it_stands_beside_the_others_unless_others_are_named(own: Path) -> None:
    assert up(catalog=own).models.keys() == {*BUILT_IN, "house-style"}
    named = (("flux-schnell", "/models/FLUX.1-schnell"),)
    assert up(catalog=own, weights=named).models.keys() == {"flux-schnell", "house-style"}
    assert up(catalog=own, models=("flux-dev",)).models.keys() == {"flux-dev"}


def test_two_processes_serve_the_whole_family_on_small_weights_and_one_each_that_is_whole(own: Path) -> None:
    groups = together(up())
    assert len(groups) == 2
    assert {slug for group in groups for slug in group} == BUILT_IN
    assert together(up(catalog=own)) == [*groups, ("house-style",)]


@pytest.mark.parametrize("like", ["flux-dev", "flux-krea-dev"])
def test_its_card_may_be_like_one_that_comes_with_the_release(own: Path, like: str) -> None:
    assert load_catalog(Settings(catalog=own)).model("house-style").card is None
    cards = own.parent / "cards"
    cards.mkdir()
    (cards / "house-style.toml").write_text(f'like = "{like}"\ngood_for = ["Our own drawings."]\n')
    card, theirs = (load_catalog(Settings(catalog=own)).model(slug).card for slug in ("house-style", like))
    assert card is not None
    assert theirs is not None
    assert (card.good_for, card.parts) == (("Our own drawings.",), theirs.parts)


def test_a_card_of_a_built_in_name_may_be_like_the_built_in_one(own: Path) -> None:
    own.write_text(own.read_text().replace("[models.house-style]", "[models.flux-dev]"))
    (own.parent / "cards").mkdir()
    (own.parent / "cards/flux-dev.toml").write_text('like = "flux-dev"\noutputs = "Ask our lawyers."\n')
    card = load_catalog(Settings(catalog=own)).model("flux-dev").card
    assert card is not None
    assert (card.outputs, card.parameters_billions) == ("Ask our lawyers.", 12)
