"""What each door says of a model's fields: names, defaults, bounds; and that its schema says what it reads."""

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from fluxfarm.catalog import Catalog, Model, load_catalog
from fluxfarm.dialects import Dialect, Wording
from fluxfarm.errors import InvalidInput, ModelNotFound
from fluxfarm.settings import Settings

DOORS = Path(__file__).parents[2] / "api/doors"
FAMILY = (
    *("flux-dev", "flux-krea-dev", "flux-schnell", "flux-canny-dev", "flux-depth-dev", "flux-fill-dev"),
    *("flux-redux-dev", "flux-kontext-dev"),
)
NOT_AT_NIM = ("flux-fill-dev", "flux-redux-dev", "flux-kontext-dev")
PICTURE = "https://example.com/house.png"
SHOWN = ("aspect_ratio", "width", "height", "num_inference_steps", "guidance", "output_format", "output_quality")


def dialect(door: str) -> Dialect:
    return Dialect.read(DOORS / f"{door}.toml")


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_catalog(Settings(models=FAMILY))


def minimal(door: str, model: Model) -> dict[str, Any]:
    """The least that the door takes: a prompt, and the pictures that the model cannot do without."""
    needed = [each for each in dialect(door).spoken(model) if each.field.required]
    return {each.said: "a fox" if each.said == "prompt" else PICTURE for each in needed}


@pytest.mark.parametrize(
    ("door", "shape", "steps", "guidance", "file"),
    [
        ("eachlabs", ("1:1", None, None), 28, 3.5, ("webp", 80)),
        ("oxen", ("16:9", None, None), 30, 3, ("webp", 80)),
        ("nim", ("custom", 1024, 1024), 50, 3.5, ("jpg", 90)),
    ],
)
def test_what_the_least_call_means(
    catalog: Catalog, door: str, shape: tuple[Any, ...], steps: int, guidance: float, file: tuple[str, int]
) -> None:
    for slug, meant in {"flux-dev": guidance, "flux-krea-dev": 4.5}.items():
        order = dialect(door).order(catalog.model(slug), {"prompt": "a fox"})
        print(door, slug, {name: order.echo[name] for name in SHOWN}, order.size)  # noqa: T201 (it is asked for)
        found = tuple(order.echo[name] for name in SHOWN)
        assert found == (*shape, steps, meant, *file)
    told = dialect(door).order(catalog.model("flux-krea-dev"), {"prompt": "a fox", GUIDANCE[door]: 3})
    assert told.guidance == 3


GUIDANCE = {"eachlabs": "guidance", "oxen": "guidance", "nim": "cfg_scale"}


def flat(types: str | list[str]) -> list[str]:
    return types if isinstance(types, list) else [types]


@pytest.mark.parametrize(
    ("door", "slug"), [(door, slug) for door in GUIDANCE for slug in FAMILY if door != "nim" or slug not in NOT_AT_NIM]
)
def test_the_schema_says_what_is_read(catalog: Catalog, door: str, slug: str) -> None:
    model = catalog.model(slug)
    schema = dialect(door).schema(model)
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(minimal(door, model))
    for name, described in schema["properties"].items():
        said = {"description", "examples"} | ({"default"} if name not in schema["required"] else set())
        ranged = {"minimum", "maximum"} if {"integer", "number"} & {*flat(described["type"])} else set()
        assert said | ranged <= described.keys(), name
    echo = dialect(door).told(dialect(door).order(model, minimal(door, model)).echo)
    for name, described in schema["properties"].items():
        if described.get("default") is not None and name not in ("prompt", "seed"):
            said = described["default"]
            assert echo[name] == (None if said == " " else said), name


def test_a_models_own_bounds_are_the_widest(catalog: Catalog) -> None:
    wide = Dialect(fields={"num_inference_steps": Wording(minimum=0, maximum=1000)})
    for slug, most in {"flux-dev": 100, "flux-schnell": 4}.items():
        described = wide.schema(catalog.model(slug))["properties"]["num_inference_steps"]
        assert (described["minimum"], described["maximum"]) == (1, most)
    # Its own default lies outside what the door would allow.
    nim = dialect("nim").schema(catalog.model("flux-canny-dev"))["properties"]["cfg_scale"]
    assert (nim["minimum"], nim["maximum"], nim["default"]) == (0, 100, 30)


@pytest.mark.parametrize(
    ("door", "sent", "named"),
    [
        ("eachlabs", {"prompt": "a fox", "num_inference_steps": 51}, {"input.num_inference_steps"}),
        ("oxen", {"prompt": "a fox", "aspect_ratio": "21:9", "guidance": 11}, {"aspect_ratio", "guidance"}),
        ("oxen", {"prompt": "a fox", "image_size": "1"}, {"image_size"}),
        ("oxen", {"prompt": "a fox", "megapixels": "1", "num_outputs": 2}, {"megapixels", "num_outputs"}),
        ("nim", {"prompt": " ", "steps": 4, "cfg_scale": 9.5}, {"prompt", "steps", "cfg_scale"}),
        ("nim", {"prompt": "a fox", "width": 800, "height": 1440}, {"width", "height"}),
        ("nim", {"prompt": "a fox", "guidance": 3, "aspect_ratio": "1:1"}, {"guidance", "aspect_ratio"}),
        ("nim", {"prompt": "a fox", "samples": 5}, {"samples"}),
        ("nim", ["a fox"], {"body"}),
    ],
)
def test_what_is_wrong_is_named_as_the_door_does(catalog: Catalog, door: str, sent: Any, named: set[str]) -> None:
    with pytest.raises(InvalidInput) as refusal:
        dialect(door).order(catalog.model("flux-dev"), sent)
    assert {detail.field for detail in refusal.value.details} == named


def test_what_means_left_out(catalog: Catalog) -> None:
    order = dialect("nim").order(catalog.model("flux-dev"), {"prompt": "a fox", "seed": 0})
    assert order.seed is None
    assert dialect("nim").order(catalog.model("flux-dev"), {"prompt": "a fox", "seed": 7}).seed == 7


@pytest.mark.parametrize("slug", FAMILY)
def test_oxens_blank_negative_prompt_is_none_to_every_model(catalog: Catalog, slug: str) -> None:
    sent = {**minimal("oxen", catalog.model(slug)), "negative_prompt": " "}
    assert dialect("oxen").order(catalog.model(slug), sent).negative_prompt is None


def test_a_doors_shape_is_for_pictures_from_words(catalog: Catalog) -> None:
    oxen = dialect("oxen")
    assert oxen.order(catalog.model("flux-dev"), {"prompt": "a fox", "image": PICTURE}).size is None
    assert oxen.order(catalog.model("flux-canny-dev"), {"prompt": "a fox", "control_image": PICTURE}).size is None
    shape = oxen.schema(catalog.model("flux-canny-dev"))["properties"]["aspect_ratio"]
    assert shape["default"] is None


def test_words_of_a_door_are_told_again(catalog: Catalog) -> None:
    oxen = dialect("oxen")
    order = oxen.order(catalog.model("flux-dev"), {"prompt": "a fox", "image_size": "optimize_for_speed"})
    assert order.megapixels == "0.25"
    assert order.num_inference_steps == 30, "pixels only"
    assert oxen.told(order.echo)["image_size"] == "optimize_for_speed"
    assert not oxen.told(order.echo).keys() & {"megapixels", "num_outputs", "width"}
    offered = oxen.schema(catalog.model("flux-fill-dev"))["properties"]["image_size"]["enum"]
    assert offered == ["optimize_for_quality", "optimize_for_speed"], "the model has more, and the door no word for it"


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("flux-1-dev", "flux-dev"),
        ("black-forest-labs/FLUX.1-dev", "flux-dev"),
        ("black-forest-labs/flux.1-dev", "flux-dev"),
        ("black-forest-labs/FLUX.1-Krea-dev", "flux-krea-dev"),
        ("Flux-Dev", "flux-dev"),
    ],
)
def test_other_names(catalog: Catalog, name: str, slug: str) -> None:
    assert catalog.model(name).slug == slug


def test_an_unknown_name_is_told_the_nearest(catalog: Catalog) -> None:
    with pytest.raises(ModelNotFound, match="did you mean 'flux-dev'"):
        catalog.model("flux-dve")
    with pytest.raises(ModelNotFound, match="did you mean 'flux-krea-dev'"):
        catalog.model("black-forest-labs/FLUX.1-Krea")
