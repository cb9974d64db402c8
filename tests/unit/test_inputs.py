"""What flux-dev takes, refuses and says about it; that its JSON Schema and its validation are one thing."""

import base64
import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from fluxfarm.catalog import load_catalog
from fluxfarm.errors import InvalidInput
from fluxfarm.inputs import DataPicture, Order, parse, schema
from fluxfarm.settings import Settings
from fluxfarm.sizes import BY_RATIO, Size

FLUX = load_catalog(Settings(models=("flux-dev",))).model("flux-dev")
SCHEMA = schema(FLUX)
VALIDATOR = Draft202012Validator(SCHEMA)
URL = "https://example.com/a.png"
PNG = "data:image/png;base64," + base64.b64encode(b"\x89PNG").decode()
SAMPLE = {
    "seed": None,
    "image": None,
    "prompt": "your prompt here",
    "guidance": "3.5",
    "num_outputs": "1",
    "aspect_ratio": "1:1",
    "output_format": "webp",
    "output_quality": "80",
    "prompt_strength": "0.8",
    "num_inference_steps": "28",
    "disable_safety_checker": False,
}
repeatable = settings(max_examples=150, derandomize=True, database=None, deadline=None)


def order(**fields: Any) -> Order:
    return parse(FLUX, {"prompt": "a red circle", **fields})


def errors_of(sent: object) -> dict[str, str]:
    """The refused fields (without `input.`) and their messages."""
    with pytest.raises(InvalidInput) as caught:
        parse(FLUX, sent)
    return {error.field.removeprefix("input."): error.message for error in caught.value.details}


def errors(**fields: Any) -> dict[str, str]:
    return errors_of({"prompt": "a red circle", **fields})


def accepts(sent: object) -> bool:
    try:
        parse(FLUX, sent)
    except InvalidInput:
        return False
    return True


def test_a_prompt_is_enough() -> None:
    assert dict(order().echo) == {
        "prompt": "a red circle",
        "negative_prompt": None,
        "true_cfg_scale": 3.0,
        "image": None,
        "mask": None,
        "prompt_strength": 0.8,
        "aspect_ratio": "1:1",
        "megapixels": "1",
        "width": None,
        "height": None,
        "num_outputs": 1,
        "num_inference_steps": 28,
        "guidance": 3.5,
        "loras": [],
        "seed": None,
        "output_format": "webp",
        "output_quality": 80,
        "output_encoding": "url",
        "disable_safety_checker": False,
    }


def test_the_documented_sample_is_taken_and_echoed_in_numbers() -> None:
    parsed = parse(FLUX, SAMPLE)

    assert parsed.echo == parse(FLUX, {"prompt": "your prompt here"}).echo
    assert (parsed.guidance, parsed.num_outputs, parsed.num_inference_steps) == (3.5, 1, 28)
    assert [type(parsed.echo[name]) for name in ("guidance", "num_outputs", "output_quality")] == [float, int, int]
    assert parsed.notices == ()


def test_the_samples_placeholder_is_refused_in_words_that_help() -> None:
    assert errors_of({**SAMPLE, "image": "your_file.image/jpeg"}) == {
        "image": "not a URL, data URI or file; leave it out for text-to-image"
    }


def test_every_field_may_be_null_but_the_prompt() -> None:
    assert order(**dict.fromkeys(SCHEMA["properties"].keys() - {"prompt"})) == order()
    assert errors(prompt=None) == {"prompt": "is required: text of 1 to 10000 characters"}


@pytest.mark.parametrize("sent", [None, [], "prompt", 1, True])
def test_the_input_must_be_an_object(sent: object) -> None:
    assert errors_of(sent) == {"input": "must be a JSON object of fields"}


@pytest.mark.parametrize("prompt", ["x", " x ", "x" * 10_000, "日本語\n🦊", "\t\nx"])
def test_a_prompt_is_kept_as_sent(prompt: str) -> None:
    assert order(prompt=prompt).prompt == prompt


@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        ("", "not blank"),
        (" \n\u3000", "not blank"),
        ("x" * 10_001, "it has 10001"),
        ("a\0b", "NUL"),
        ("a\ud800", "surrogate"),
        (5, "text of 1 to 10000 characters"),
        (["x"], "text of 1 to 10000 characters"),
    ],
)
def test_a_wrong_prompt_is_refused(prompt: object, told: str) -> None:
    assert told in errors(prompt=prompt)["prompt"]


@pytest.mark.parametrize(
    ("name", "sent", "meant"),
    [
        ("guidance", "3.5", 3.5),
        ("guidance", 0, 0.0),
        ("guidance", "10", 10.0),
        ("guidance", "-0", 0.0),
        ("prompt_strength", 1, 1.0),
        ("num_inference_steps", "28", 28),
        ("num_inference_steps", "28.0", 28),
        ("num_inference_steps", 28.0, 28),
        ("num_inference_steps", 50, 50),
        ("seed", 2**32 - 1, 2**32 - 1),
        ("seed", "4294967295", 2**32 - 1),
        ("seed", -0.0, 0),
        ("output_quality", "0", 0),
        ("num_outputs", 4, 4),
        ("megapixels", 1, "1"),
        ("megapixels", 0.25, "0.25"),
        ("megapixels", "0.25", "0.25"),
        ("output_format", "jpeg", "jpg"),
        ("output_format", "JPEG", "jpg"),
        ("output_format", "WebP", "webp"),
        ("output_format", "png", "png"),
        ("output_encoding", "data_uri", "data_uri"),
        ("disable_safety_checker", True, True),
    ],
)
def test_a_value_is_understood(name: str, sent: object, meant: object) -> None:
    parsed = order(**{name: sent})

    for read in (getattr(parsed, name), parsed.echo[name]):
        assert (repr(read), type(read)) == (repr(meant), type(meant))


NO_NUMBER = [
    *[
        "NaN",
        "Infinity",
        "1e999",
        "1e3",
        "1e0",
        "",
        " 5",
        "5 ",
        "0x10",
        "\uff11\uff12",
        "1_0",
        "+1",
        "1.",
        ".5",
        "-",
        "one",
    ],
    *["9" * 5000, "1\n", True, False, [], {}, float("nan"), float("inf"), float("-inf"), 10**400, -(10**5000), 1e300],
]


@pytest.mark.parametrize(
    "sent", NO_NUMBER, ids=lambda sent: ascii(sent)[:12] if isinstance(sent, str) else type(sent).__name__
)
@pytest.mark.parametrize("name", ["guidance", "num_inference_steps"])
def test_what_is_no_plain_decimal_is_no_number(name: str, sent: object) -> None:
    assert errors(**{name: sent}).keys() == {name}


@pytest.mark.parametrize(
    ("name", "sent", "message"),
    [
        ("guidance", 10.1, "must be a number from 0 to 10, not 10.1"),
        ("guidance", "-0.1", 'must be a number from 0 to 10, not "-0.1"'),
        ("guidance", 10**400, "must be a number from 0 to 10, not a number of about 401 digits"),
        ("prompt_strength", 1.01, "must be a number from 0 to 1, not 1.01"),
        ("num_inference_steps", 0, "must be a whole number from 1 to 100, not 0"),
        ("num_inference_steps", "28.5", 'must be a whole number from 1 to 100, not "28.5"'),
        ("num_outputs", 5, "must be a whole number from 1 to 4, not 5"),
        ("seed", -1, "must be a whole number from 0 to 4294967295, not -1"),
        ("seed", 2**32, "must be a whole number from 0 to 4294967295, not 4294967296"),
        ("output_quality", 101, "must be a whole number from 0 to 100, not 101"),
        ("output_format", "gif", 'must be one of webp, jpg, png, not "gif"'),
        ("output_encoding", "base64", 'must be one of url, data_uri, not "base64"'),
        ("megapixels", 2, "must be one of 1, 0.25, not 2"),
        ("megapixels", True, "must be one of 1, 0.25, not true"),
        ("disable_safety_checker", "false", 'must be true or false as a JSON boolean, not "false"'),
        ("disable_safety_checker", 0, "must be true or false as a JSON boolean, not 0"),
    ],
)
def test_a_refusal_says_what_was_sent_and_what_is_allowed(name: str, sent: object, message: str) -> None:
    assert errors(**{name: sent}) == {name: message}


@pytest.mark.parametrize(
    "url", [URL, "HTTP://h", "http://[::1]:8080/x?y#z", "https://h.example:443/ä?q=a@b", "http://h/" + "x" * 2039]
)
def test_a_url_is_kept_as_sent(url: str) -> None:
    parsed = order(image=url)

    assert parsed.pictures == {"image": url}
    assert parsed.echo["image"] == url


@pytest.mark.parametrize(
    "image",
    [
        *["", " ", "a.png", "/etc/passwd", "your_file.image/jpeg", " " + URL, "ftp://h/a.png", "file:///etc/passwd"],
        *["http://", "http:///a", "http://:80/", "http://h:99999/", "http://h:x/", "http://h:0/", "http://[::1/"],
        *["http://user@h/", "http://user:pw@h/", "http://good\\@evil/", "http://h/a b", "http://h/\n", "http://h/\0"],
        *["http://h/\ud800", "http://h/" + "x" * 2040, 5, True, [URL], {"url": URL}],
    ],
    ids=lambda image: ascii(image)[:25],
)
def test_what_is_no_address_of_a_picture_is_refused(image: object) -> None:
    assert errors(image=image).keys() == {"image"}


@pytest.mark.parametrize("media_type", ["image/png", "image/jpeg", "image/webp"])
def test_a_data_uri_is_decoded_and_not_echoed(media_type: str) -> None:
    parsed = order(image=f"data:{media_type};base64,AAEC/w==")

    assert parsed.pictures == {"image": DataPicture(media_type, b"\x00\x01\x02\xff")}
    assert parsed.echo["image"] is None
    assert parsed.echo["aspect_ratio"] == "match_input_image"


@pytest.mark.parametrize(
    "image",
    [
        *[
            "data:",
            "data:,",
            "data:image/png",
            "data:image/png,AAAA",
            "data:image/gif;base64,AAAA",
            "data:;base64,AAAA",
        ],
        *[
            "data:image/png;base64,",
            "data:image/png;base64,AAA",
            "data:image/png;base64,A===",
            "data:image/png;base64,====",
        ],
        *[
            "data:image/png;base64,AA=A",
            "data:image/png;base64,AAAA=",
            "data:image/png;base64,AAAA====",
            "data:image/png;base64,AA AA",
            "data:image/png;base64,AAAA    ",
        ],
        *["data:image/png;base64,AAAA\n", "data:image/png;base64,AA-_", "data:image/png;base64,ÄÄÄÄ"],
        *["data:image/png;charset=utf-8;base64,AAAA", "data:image/png;base64;AAAA", "data:" + "x" * 200 + ",AAAA"],
    ],
    ids=lambda image: ascii(image)[:40],
)
def test_a_wrong_data_uri_is_refused(image: str) -> None:
    assert "data URI" in errors(image=image)["image"]


@pytest.mark.parametrize(
    ("fields", "ratio", "size"),
    [
        ({}, "1:1", Size(1024, 1024)),
        ({"aspect_ratio": "16:9"}, "16:9", Size(1344, 768)),
        ({"aspect_ratio": "9:21", "megapixels": 0.25}, "9:21", Size(320, 768)),
        ({"width": 256, "height": 1440}, "custom", Size(256, 1440)),
        ({"width": "512", "height": 512.0, "aspect_ratio": "custom"}, "custom", Size(512, 512)),
        ({"image": URL}, "match_input_image", None),
        ({"image": PNG, "aspect_ratio": "match_input_image"}, "match_input_image", None),
        ({"image": URL, "aspect_ratio": "4:5"}, "4:5", Size(896, 1088)),
        ({"image": URL, "width": 640, "height": 480}, "custom", Size(640, 480)),
    ],
)
def test_the_size_that_is_meant(fields: dict[str, Any], ratio: str, size: Size | None) -> None:
    parsed = order(**fields)

    assert (parsed.echo["aspect_ratio"], parsed.size) == (ratio, size)


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ({"width": 512}, {"height": "is missing: width and height go together, or leave out both"}),
        ({"height": 512, "width": None}, {"width": "is missing: width and height go together, or leave out both"}),
        ({"aspect_ratio": "custom"}, {"aspect_ratio": '"custom" needs width and height'}),
        ({"aspect_ratio": "match_input_image"}, {"aspect_ratio": '"match_input_image" needs image'}),
        (
            {"aspect_ratio": "1:1", "width": 512, "height": 512},
            {"aspect_ratio": 'conflicts with width and height; leave it out, or say "custom"'},
        ),
        (
            {"aspect_ratio": "match_input_image", "image": URL, "width": 512, "height": 512},
            {"aspect_ratio": 'conflicts with width and height; leave it out, or say "custom"'},
        ),
        ({"aspect_ratio": "match_input_image", "image": "x"}, {"image": errors(image="x")["image"]}),
    ],
)
def test_sizes_that_do_not_go_together_are_refused(fields: dict[str, Any], refused: dict[str, str]) -> None:
    assert errors(**fields) == refused


def test_a_refused_pair_names_the_nearest_legal_one() -> None:
    allowed = "must be a whole number from 256 to 1440 in steps of 16"
    nearest = "; the nearest legal pair is width 1008 and height 1440"

    assert errors(width=1000, height="2000") == {
        "width": f"{allowed}, not 1000{nearest}",
        "height": f'{allowed}, not "2000"{nearest}',
    }
    assert errors(width=1000, height=1440) == {"width": f"{allowed}, not 1000{nearest}"}
    assert errors(width="wide", height=512) == {"width": f'{allowed}, not "wide"'}


def test_megapixels_without_effect_get_a_notice() -> None:
    assert order(width=512, height=512, megapixels=0.25).notices
    assert not order(width=512, height=512, megapixels=1).notices


def test_values_without_effect_that_the_sample_sends_get_no_notice() -> None:
    parsed = order(output_format="png", output_quality=10, prompt_strength=0.3)

    assert (parsed.output_quality, parsed.prompt_strength, parsed.notices) == (10, 0.3, ())


def test_unknown_fields_are_refused_with_the_nearest_name() -> None:
    refused = errors(num_output=2, guidance_scale=3, zebra=None)

    assert refused["num_output"] == "is not a field of this model; did you mean num_outputs?"
    assert refused["guidance_scale"] == "is not a field of this model; did you mean guidance?"
    assert refused["zebra"].startswith("is not a field of this model; the fields are prompt, negative_prompt, ")


def test_a_flood_of_unknown_fields_is_cut_short() -> None:
    refused = errors(**{f"f{n}" * 1000: n for n in range(5000)})

    assert len(refused) == 21
    assert refused["input"] == "has 4980 more fields that this model does not have"


def test_every_wrong_field_is_named_at_once_and_summed_up() -> None:
    sent = {"guidance": 11, "seed": "x", "image": "x", "width": 1, "output_format": 1, "promt": "x"}

    with pytest.raises(InvalidInput) as caught:
        parse(FLUX, sent)

    named = [error.field for error in caught.value.details]
    assert named == [
        f"input.{name}"
        for name in (*("prompt", "image", "width", "height"), *("guidance", "seed", "output_format", "promt"))
    ]
    assert caught.value.message.startswith("input.prompt: is required: ")
    assert caught.value.message.endswith("; and 5 more")


@pytest.mark.parametrize(
    ("sent", "repeated"),
    [
        (11, 11),
        ("x" * 500, "x" * 100 + "…"),
        (["x" * 500], '["' + "x" * 98 + "…"),
        ("a\ud800", "a\\ud800"),
        (float("nan"), "NaN"),
        ([[[]]], "[[[]]]"),
        ([10**5000], "…"),
        (10**400, "a number of about 401 digits"),
        ("data:image/gif;base64,AAAABBBB", "data:image/gif;base64,…"),
        ({"url": "data:image/gif;base64,AAAABBBB"}, '{"url": "data:image/gif;base64,…"}'),
        ("https://user:secret@h/x", "https://…@h/x"),
    ],
)
def test_what_was_sent_is_repeated_in_short_and_without_secrets(sent: object, repeated: object) -> None:
    for name in ("image", "guidance", "unheard_of"):
        with pytest.raises(InvalidInput) as caught:
            order(**{name: sent})

        assert caught.value.details[0].sent == repeated
        assert "secret" not in caught.value.message
        assert "BBBB" not in caught.value.message


def test_a_value_too_deep_to_write_is_refused_like_any_other() -> None:
    deep: list[Any] = []
    for _ in range(50_000):
        deep = [deep]

    assert errors(guidance=deep).keys() == {"guidance"}


def test_the_schema_is_a_valid_one_and_so_are_its_defaults_and_examples() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    for described in SCHEMA["properties"].values():
        validator = Draft202012Validator(described)
        values = [*described["examples"], *([described["default"]] if "default" in described else [])]
        assert values
        assert all(validator.is_valid(value) for value in values)


def test_the_schema_says_what_a_form_needs() -> None:
    properties = SCHEMA["properties"]

    assert [described["x-order"] for described in properties.values()] == list(range(19))
    assert SCHEMA["required"] == ["prompt"]
    assert SCHEMA["additionalProperties"] is False
    assert properties["guidance"].items() >= {"type": "number", "minimum": 0, "maximum": 10, "default": 3.5}.items()
    assert properties["num_inference_steps"].items() >= {"type": "integer", "maximum": 100, "default": 28}.items()
    assert properties["aspect_ratio"]["enum"] == [*BY_RATIO, "match_input_image", "custom", None]
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA


def maybe_wrong(right: st.SearchStrategy[Any], *wrong: Any) -> st.SearchStrategy[Any]:
    """Mostly a right value, sometimes one of the wrong ones or of another type."""
    return st.one_of(right, right, right, st.sampled_from([*wrong, True, [], {}, "no such thing"]))


sides = maybe_wrong(st.integers(16, 90).map(lambda n: n * 16), None, 255, 256.5, 1000, 1456, 512.0)
canonical = st.fixed_dictionaries(
    {},
    optional={
        "prompt": maybe_wrong(st.text(min_size=1).filter(str.strip), "", " \n", "a\0", "\0", "x" * 10_001, 5, None),
        "image": maybe_wrong(
            st.sampled_from([URL, PNG, None]),
            "",
            "ftp://h/",
            "http://u@h/",
            "http://",
            PNG[:-1],
            PNG + "=",
            PNG + "====",
            "x:y",
        ),
        "negative_prompt": maybe_wrong(st.text().filter(lambda text: "\0" not in text), "a\0", "x" * 10_001, 5, None),
        "true_cfg_scale": maybe_wrong(st.floats(1, 10), 0.5, 10.5, None),
        "mask": maybe_wrong(st.sampled_from([URL, PNG, None]), "", "ftp://h/"),
        "prompt_strength": maybe_wrong(st.floats(0, 1), -0.1, 1.1, 0, 1),
        "aspect_ratio": maybe_wrong(st.sampled_from([*BY_RATIO, "match_input_image", "custom", None]), "1:3", 1),
        "megapixels": maybe_wrong(st.sampled_from(["1", "0.25"]), "2"),
        "width": sides,
        "height": sides,
        "num_outputs": maybe_wrong(st.integers(1, 4), 0, 5, 1.0, 1.5),
        "num_inference_steps": maybe_wrong(st.integers(1, 50), 0, 51, 28.0, 28.5),
        "guidance": maybe_wrong(st.floats(0, 10), -1, 10.5, 10, 1e308, 10**400),
        "seed": maybe_wrong(st.integers(0, 2**32 - 1), -1, 2**32, None, 7.0, 7.5, 10**400),
        "output_format": maybe_wrong(st.sampled_from(["webp", "jpg", "png"]), "gif", 1),
        "output_quality": maybe_wrong(st.integers(0, 100), -1, 101),
        "output_encoding": maybe_wrong(st.sampled_from(["url", "data_uri"]), "base64"),
        "disable_safety_checker": maybe_wrong(st.booleans(), "true", 0).filter(lambda sent: sent is not None),
        "unheard_of": st.just(1),
    },
)
legal = st.fixed_dictionaries(
    {"prompt": st.text(min_size=1).filter(lambda text: text.strip() and "\0" not in text)},
    optional={
        "prompt_strength": st.floats(0, 1),
        "megapixels": st.sampled_from(["1", "0.25", 1, 0.25]),
        "num_outputs": st.sampled_from([1, "2", 3.0]),
        "guidance": st.one_of(st.floats(0, 10), st.just("3.5"), st.none()),
        "seed": st.one_of(st.integers(0, 2**32 - 1), st.none()),
        "output_format": st.sampled_from(["webp", "JPEG", "png", None]),
        "output_quality": st.integers(0, 100).map(str),
    },
)
shapes = st.sampled_from(
    [
        {},
        {"aspect_ratio": "3:2"},
        {"width": 640, "height": "480"},
        {"image": URL},
        {"image": PNG},
        {"image": URL, "aspect_ratio": "1:1"},
        {"image": PNG, "width": 640, "height": 480},
    ]
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@settings(repeatable, max_examples=400)
@given(canonical)
@example({"prompt": "x", "aspect_ratio": "1:1", "width": None, "height": None})
@example({"prompt": "x", "aspect_ratio": "custom", "width": 512, "height": 512})
@example({"prompt": "x", "aspect_ratio": "1:1", "width": 512, "height": 512})
@example({"prompt": "x", "aspect_ratio": "match_input_image", "image": None})
@example({"prompt": "x", "width": 512, "height": None})
@example({"prompt": "x", "height": 512})
@example({"prompt": "x", "mask": URL})
@example({"prompt": "x", "mask": URL, "image": PNG})
@example({"prompt": "x", "aspect_ratio": "custom"})
def test_validation_and_schema_accept_the_same(sent: dict[str, Any]) -> None:
    assert accepts(sent) == VALIDATOR.is_valid(sent)


@repeatable
@given(legal, shapes)
def test_an_echo_is_valid_and_echoes_itself(fields: dict[str, Any], shape: dict[str, Any]) -> None:
    first = parse(FLUX, {**fields, **shape})
    sent_again = {**first.echo, "image": shape.get("image")}

    assert VALIDATOR.is_valid(sent_again)
    assert parse(FLUX, sent_again) == first


@repeatable
@given(anything)
def test_nothing_but_invalid_input_comes_out_of_any_json(sent: object) -> None:
    accepts(sent)


@repeatable
@given(st.dictionaries(st.sampled_from([*SCHEMA["properties"]]), anything))
def test_nothing_but_invalid_input_comes_out_of_any_values(sent: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse(FLUX, {**sent, "image": 0})

    for error in caught.value.details:
        json.dumps([error.message, error.sent], ensure_ascii=False, allow_nan=False).encode()
