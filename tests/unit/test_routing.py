"""Which model of the family `flux` stands for."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from fluxfarm.catalog import Catalog, load_catalog
from fluxfarm.errors import InvalidInput, ModelNotFound
from fluxfarm.inputs import parse
from fluxfarm.routing import choose, schema
from fluxfarm.settings import Settings

CATALOG = load_catalog(Settings())
URL = "https://example.com/a.png"


def refusal(sent: Any, catalog: Catalog = CATALOG) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        choose(catalog, "flux", sent)
    return caught.value


@pytest.mark.parametrize(
    ("sent", "slug"),
    [
        ({"prompt": "x"}, "flux-dev"),
        ({"prompt": "x", "mask": None, "expand_left": 0}, "flux-dev"),
        ({"prompt": "x", "image": URL}, "flux-dev"),
        ({"prompt": "x", "image": URL, "mask": URL}, "flux-fill-dev"),
        ({"prompt": "x", "image": URL, "expand_top": 64}, "flux-fill-dev"),
        ({"prompt": "x", "control_image": URL}, "flux-canny-dev"),
        ({"prompt": "x", "control_image": URL, "guidance": 30}, "flux-canny-dev"),
        ({"prompt": "x", "image": URL, "num_inference_steps": 60, "aspect_ratio": "match_input_image"}, "flux-dev"),
        ({"redux_image": URL}, "flux-redux-dev"),
        ({"prompt": "x", "control_image": URL, "mode": "depth"}, "flux-depth-dev"),
        ({"prompt": "x", "control_image": URL, "mode": "CANNY"}, "flux-canny-dev"),
        ("nonsense", "flux-dev"),
    ],
)
def test_the_pictures_choose(sent: Any, slug: str) -> None:
    chosen = choose(CATALOG, "flux", sent)
    assert chosen.model.slug == slug
    assert (chosen.notice is None) is (slug == "flux-dev")
    assert slug in (chosen.notice or slug)
    if isinstance(sent, dict) and "expand_left" not in sent:
        assert parse(chosen.model, chosen.input)
        assert Draft202012Validator(schema(CATALOG)).is_valid({k: v for k, v in sent.items() if v != "CANNY"})


def test_a_name_of_a_model_is_that_model() -> None:
    chosen = choose(CATALOG, "flux-krea-dev", {"prompt": "x"})
    assert (chosen.model.slug, chosen.input, chosen.notice) == ("flux-krea-dev", {"prompt": "x"}, None)
    with pytest.raises(ModelNotFound):
        choose(CATALOG, "fluxx", {})


def test_pictures_of_two_models_are_refused_by_name() -> None:
    told = refusal({"prompt": "x", "control_image": URL, "mask": URL})
    assert [each.field for each in told.details] == ["input.mask"]
    assert "control_image" in told.message


def test_an_unknown_mode_is_refused() -> None:
    assert "one of canny, depth" in refusal({"control_image": URL, "mode": "pose"}).message


def test_what_is_not_served_is_said() -> None:
    small = load_catalog(Settings(models=("flux-dev",)))
    assert (
        "flux-fill-dev, which is not served here; these are: flux-dev"
        in refusal({"image": URL, "mask": URL}, small).message
    )


def test_its_schema_is_valid_and_tells_of_every_field() -> None:
    found = schema(CATALOG)
    Draft202012Validator.check_schema(found)
    assert found["properties"]["image"]["description"].startswith("Picture to start"), "of the first that takes it"
    assert {"prompt", "mask", "control_image", "expand_left", "mode"} <= found["properties"].keys()
    validator = Draft202012Validator(found)
    assert not validator.is_valid({"image": URL})
    assert not validator.is_valid({"prompt": "x", "zebra": 1})
    words = {name: found["properties"][name]["enum"] for name in ("megapixels", "aspect_ratio")}
    assert words["megapixels"] == ["1", "0.25", "match_input"]
    assert {"16:9", "custom", "match_input_image", None} <= {*words["aspect_ratio"]}, "what any of them takes"
    assert not validator.is_valid({"prompt": "x", "megapixels": "match_input"}), "and what no other does"
