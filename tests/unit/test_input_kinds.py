"""What models of each kind take: the same declaration makes their validation and their JSON Schema."""

import base64
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from api.doors.eachlabs_again import beside
from fluxfarm.catalog import Model, load_catalog, stand_ins, tried_out
from fluxfarm.errors import InvalidInput
from fluxfarm.inputs import parse, schema
from fluxfarm.plans import Plan
from fluxfarm.safety_policy import Ruling
from fluxfarm.settings import Settings

MODELS = load_catalog(Settings(models=tuple(stand_ins(Settings())))).models
URL = "https://example.com/a.png"
PNG = "data:image/png;base64," + base64.b64encode(b"\x89PNG").decode()
NEEDED: Mapping[str, dict[str, Any]] = {
    "text": {"prompt": "x"},
    "control": {"prompt": "x", "control_image": URL},
    "fill": {"prompt": "x", "image": URL},
    "redux": {"redux_image": URL},
    "kontext": {"prompt": "x", "image": URL},
}
OF_ONE_KIND = {
    "flux-canny-dev": {"control_image": PNG, "preprocess_image": False},
    "flux-fill-dev": {"mask": PNG, "expand_left": 64, "expand_top": 2048},
    "flux-dev": {"image": PNG, "mask": URL, "prompt_strength": 0.5, "negative_prompt": "a cat", "true_cfg_scale": 2},
}


def needed(model: Model) -> dict[str, Any]:
    return dict(NEEDED[model.kind])


def refused(model: Model, **fields: Any) -> dict[str, str]:
    with pytest.raises(InvalidInput) as caught:
        parse(model, {**needed(model), **fields})
    return {error.field.removeprefix("input."): error.message for error in caught.value.details}


def accepts(model: Model, sent: object) -> bool:
    try:
        parse(model, sent)
    except InvalidInput:
        return False
    return True


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda model: model.slug)
def test_every_field_tells_of_itself(model: Model) -> None:
    found = schema(model)
    Draft202012Validator.check_schema(found)
    for described in found["properties"].values():
        assert described["description"]
        assert all(Draft202012Validator(described).is_valid(value) for value in described["examples"])
    assert set(found["required"]) == needed(model).keys()


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda model: model.slug)
def test_each_takes_what_it_needs_and_refuses_to_go_without(model: Model) -> None:
    parsed = parse(model, needed(model))
    assert parsed.echo.keys() == schema(model)["properties"].keys()
    assert Draft202012Validator(schema(model)).is_valid(parsed.echo)
    for name in needed(model):
        assert "is required" in refused(model, **{name: None})[name]


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda model: model.slug)
@settings(max_examples=60, derandomize=True, database=None, deadline=None)
@given(data=st.data())
def test_validation_and_schema_accept_the_same(model: Model, data: st.DataObject) -> None:
    validator = Draft202012Validator(schema(model))
    values = st.sampled_from(
        [None, URL, PNG, "1:1", "match_input_image", "match_input", "custom", "x", 0, 1, 64, 512, 0.5, True]
    )
    names = st.sampled_from([*schema(model)["properties"], "mask", "control_image", "negative_prompt"])
    drawn = data.draw(st.dictionaries(names, values, max_size=5))
    # Null means left out, which the schema tells of where nothing else is the default.
    sent = {**needed(model), **{name: value for name, value in drawn.items() if value is not None}}
    assert accepts(model, sent) == validator.is_valid(sent), sent


@pytest.mark.parametrize("slug", OF_ONE_KIND)
def test_fields_of_one_kind_are_refused_by_name_elsewhere(slug: str) -> None:
    model = MODELS[slug]
    assert parse(model, {**needed(model), **OF_ONE_KIND[slug]})
    schnell = MODELS["flux-schnell"]
    assert "is not a field of this model" in refused(schnell, guidance=3)["guidance"]
    assert "is not a field of this model" in refused(MODELS["flux-fill-dev"], negative_prompt="x")["negative_prompt"]


def test_defaults_and_bounds_are_each_models_own() -> None:
    guidance = {slug: schema(model)["properties"].get("guidance", {}).get("default") for slug, model in MODELS.items()}
    assert guidance.items() >= {
        "flux-dev": 3.5,
        "flux-krea-dev": 4.5,
        "flux-schnell": None,
        "flux-canny-dev": 30,
        "flux-depth-dev": 10,
        "flux-fill-dev": 30,
    }.items()  # fmt: skip
    assert "from 1 to 4" in refused(MODELS["flux-schnell"], num_inference_steps=5)["num_inference_steps"]


def test_a_mask_needs_its_picture() -> None:
    assert refused(MODELS["flux-dev"], mask=URL) == {"mask": "needs image: it says what of it to paint anew"}


def test_a_picture_is_extended_by_its_sides_or_to_a_shape() -> None:
    fill = MODELS["flux-fill-dev"]
    both = {"expand_right": 10, "aspect_ratio": "16:9"}
    assert refused(fill, **both) == {"aspect_ratio": "conflicts with expand_right; leave out one of them"}
    assert parse(fill, {**needed(fill), "expand_left": 7, "expand_bottom": "9"}).expand == (7, 0, 0, 9)
    assert parse(fill, {**needed(fill), "aspect_ratio": "16:9"}).size is not None


@pytest.mark.parametrize("slug", ["flux-canny-dev", "flux-depth-dev", "flux-fill-dev"])
def test_a_picture_that_is_followed_may_keep_its_area(slug: str) -> None:
    model = MODELS[slug]
    plan = Plan.of(parse(model, {**needed(model), "megapixels": "match_input"}), kept={}, ruling=Ruling())
    assert (plan.megapixels, plan.width) == ("match_input", None)
    expected = Plan.of(parse(model, needed(model)), kept={}, ruling=Ruling())
    assert plan.pixel_steps(model) == expected.pixel_steps(model), "until it is looked at"
    shaped = refused(model, megapixels="match_input", aspect_ratio="16:9")
    assert shaped == {"megapixels": '"match_input" goes with the aspect_ratio "match_input_image" alone'}
    assert "must be one of 1, 0.25, not" in refused(MODELS["flux-dev"], megapixels="match_input")["megapixels"]


@pytest.mark.parametrize(
    ("first", "instead"),
    [
        ({"expand_right": 64}, {"aspect_ratio": "16:9"}),
        ({"expand_right": 64, "megapixels": "match_input"}, {"aspect_ratio": "16:9"}),
        ({"aspect_ratio": "16:9"}, {"expand_top": "64"}),
        ({"expand_right": 64}, {"aspect_ratio": "match_input_image", "expand_top": 0}),
    ],
)
def test_a_picture_is_extended_again_in_other_words(first: dict[str, Any], instead: dict[str, Any]) -> None:
    fill = MODELS["flux-fill-dev"]
    echo = parse(fill, {**needed(fill), **first}).echo
    again = parse(fill, {**beside(instead, echo), **instead})
    assert {name: str(again.echo[name]) for name in instead} == {name: str(value) for name, value in instead.items()}
    assert again.echo["expand_right"] == (64 if instead.get("aspect_ratio") == "match_input_image" else 0)


@pytest.mark.parametrize("blank", [None, "", " ", " \n "])
def test_a_blank_negative_prompt_is_none_and_costs_nothing(blank: str | None) -> None:
    flux = MODELS["flux-dev"]
    plain, away = (
        Plan.of(parse(flux, {"prompt": "x", "negative_prompt": text}), kept={}, ruling=Ruling())
        for text in (blank, "a cat")
    )
    assert (plain.negative_prompt, plain.guided_away) == (None, False)
    assert away.pixel_steps(flux) == 2 * plain.pixel_steps(flux)
    assert parse(flux, {"prompt": "x", "negative_prompt": "a cat"}).notices != ()


@pytest.mark.parametrize("slug", ["flux-canny-dev", "flux-fill-dev", "flux-redux-dev"])
def test_a_blank_negative_prompt_is_none_to_those_that_know_none_too(slug: str) -> None:
    model = MODELS[slug]
    for blank in (None, "", " "):
        assert parse(model, {**needed(model), "negative_prompt": blank}).negative_prompt is None
    for text in ("a cat", 3):
        assert "is not a field of this model" in refused(model, negative_prompt=text)["negative_prompt"]


@pytest.mark.parametrize(
    ("slug", "beside"),
    [("flux-dev", 512), ("flux-schnell", 256), ("flux-redux-dev", 512 + 729), ("flux-kontext-dev", 512)],
)
def test_a_step_costs_all_that_the_transformer_goes_over(slug: str, beside: int) -> None:
    model = load_catalog(Settings(models=(slug,))).model(slug)
    order = parse(model, {**needed(model), "width": 1024, "height": 768, "num_inference_steps": 4, "num_outputs": 3})
    changed = 1024 * 1024 if slug == "flux-kontext-dev" else 0
    expected = (1024 * 768 + changed + 256 * beside) * 4 * 3
    assert Plan.of(order, kept={}, ruling=Ruling()).pixel_steps(model) == expected


def test_what_small_weights_make_of_a_likeness_is_counted() -> None:
    small = load_catalog(tried_out(Settings(models=("flux-redux-dev",)))).model("flux-redux-dev").weights
    encoder = json.loads((Path(small.source) / "image_encoder" / "config.json").read_text())
    assert small.likeness_tokens == (encoder["image_size"] // encoder["patch_size"]) ** 2


def test_a_plan_comes_back_from_what_is_stored() -> None:
    fill = MODELS["flux-fill-dev"]
    plan = Plan.of(
        parse(fill, {**needed(fill), "mask": PNG, "expand_left": 3}),
        kept={"mask": "tenants/x/mask.png"},
        ruling=Ruling(),
    )
    assert Plan.from_json(plan.to_json()) == plan
    assert plan.picture_names == ("image", "mask")


def test_what_nothing_can_find_must_be_given() -> None:
    whole = MODELS["flux-depth-dev"]
    small = dataclasses.replace(whole, weights=dataclasses.replace(whole.weights, depth_estimator=None))
    assert parse(small, needed(small)).preprocess_image is False
    assert "must be false" in refused(small, preprocess_image=True)["preprocess_image"]
    validator = Draft202012Validator(schema(small))
    assert not validator.is_valid({**needed(small), "preprocess_image": True})
    assert validator.is_valid(needed(small))
    assert parse(whole, needed(whole)).preprocess_image is True


def test_stand_ins_find_a_depth_themselves() -> None:
    small = load_catalog(Settings(weights=tuple(stand_ins(Settings()).items()))).models["flux-depth-dev"]
    assert parse(small, needed(small)).preprocess_image is True
    assert Draft202012Validator(schema(small)).is_valid({**needed(small), "preprocess_image": True})


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda model: model.slug)
def test_every_kind_but_redux_takes_loras(model: Model) -> None:
    pinned = {"url": "https://example.com/b.safetensors", "scale": -1, "sha256": "0" * 64}
    sent = [{"url": "https://example.com/a.safetensors"}, pinned]
    if model.kind == "redux":
        assert refused(model, loras=sent)["loras"].startswith("is not a field")
        return
    plan = Plan.of(parse(model, {**needed(model), "loras": sent}), kept={}, ruling=Ruling())
    assert plan == Plan.from_json(json.loads(json.dumps(plan.to_json())))
    assert [(each.origin, each.where, each.scale, each.sha256) for each in plan.loras] == [
        ("url", "https://example.com/a.safetensors", 1.0, None),
        ("url", "https://example.com/b.safetensors", -1.0, "0" * 64),
    ]
    assert plan.needs_fetch


URL_OF_ONE = "https://example.com/a.safetensors"


@pytest.mark.parametrize(
    "sent",
    [
        "style",
        {},
        [{}],
        [None],
        [{"scale": 1}],
        [{"url": URL_OF_ONE, "scale": 3.1}],
        [{"url": URL_OF_ONE, "weight": 1}],
        [{"url": URL_OF_ONE, "sha256": "A" * 64}],
        [{"url": URL_OF_ONE, "sha256": 3}],
        [{"url": "file:///etc/passwd"}],
        [{"url": 3}],
        [{"file": "a.safetensors"}],
        [{"url": URL_OF_ONE}] * 5,
    ],
)
def test_what_is_no_list_of_loras_is_refused_by_both(sent: object) -> None:
    model = MODELS["flux-dev"]
    assert "loras" in refused(model, loras=sent)
    assert not Draft202012Validator(schema(model)).is_valid({"prompt": "x", "loras": sent})


def test_what_says_a_lora_is_described_with_examples(tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.toml"
    catalog.write_text('[loras.style]\nlocation = "./style.safetensors"\n')
    model = load_catalog(Settings(models=("flux-dev",), lora_dir=tmp_path, catalog=catalog)).model("flux-dev")
    one = schema(model)["properties"]["loras"]["items"]["properties"]
    assert [*one] == ["url", "file", "name", "scale", "sha256"]
    for described in one.values():
        assert described["description"].endswith(".")
        assert Draft202012Validator(described).is_valid(described["examples"][0])


def test_a_file_is_named_from_the_operators_directory_down(tmp_path: Path) -> None:
    model = load_catalog(Settings(models=("flux-dev",), lora_dir=tmp_path)).model("flux-dev")
    valid = Draft202012Validator(schema(model))
    for name, good in {
        "a.safetensors": True,
        "b/a-1.safetensors": True,
        "../a.safetensors": False,
        "/a": False,
    }.items():
        sent = {"prompt": "x", "loras": [{"file": name}]}
        assert accepts(model, sent) is valid.is_valid(sent) is good
    forbidden = load_catalog(Settings(models=("flux-dev",), loras="none")).model("flux-dev")
    assert "loras" not in schema(forbidden)["properties"]
