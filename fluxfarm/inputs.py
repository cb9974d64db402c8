"""What a caller may ask of a model: every field declared once; from that its validation, defaults and JSON Schema."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from fluxfarm.catalog import Model
from fluxfarm.errors import FieldError, InvalidInput
from fluxfarm.fields import Choice, Field, Flag, Number, RefusedError, Text, Whole
from fluxfarm.picture_field import DataPicture, Picture
from fluxfarm.sent import shortened
from fluxfarm.size_fields import SIZE_FIELDS, settle_shape, size_meant, size_notices, size_rules
from fluxfarm.sizes import Size

__all__ = ["DataPicture", "Order", "parse", "schema"]

_SHAPE: Final = frozenset({"aspect_ratio", "width", "height"})
_MOST_UNKNOWN: Final = 20
"""Unknown fields that a refusal names; a body may hold a million, and looking for near names takes time."""
_MOST_SUMMED_UP: Final = 3


@dataclass(frozen=True, slots=True)
class Order:
    """A valid input: what a prediction has to render."""

    prompt: str
    image: str | DataPicture | None
    """An http(s) URL, or a decoded data URI."""
    prompt_strength: float
    guidance: float
    num_inference_steps: int
    num_outputs: int
    seed: int | None
    """None: to be drawn at admission."""
    size: Size | None
    """None: that of the input picture (`sizes.matching`)."""
    megapixels: str
    output_format: str
    output_quality: int
    output_encoding: str
    disable_safety_checker: bool
    notices: tuple[str, ...]
    echo: Mapping[str, Any]
    """The input as the API shows it, each field with its value in force; no `image` where it came as a data URI."""


_SUBJECT: Final = (
    Field(
        "prompt",
        Text(longest=10_000),
        "What the picture shows, in words.",
        example="a lighthouse on a cliff at dusk, oil painting",
        required=True,
    ),
    Field(
        "image",
        Picture(),
        "Picture to start from: an http(s) URL, or a data URI of a PNG, JPEG or WebP. Left out: text-to-image.",
        example="https://example.com/sketch.png",
    ),
    Field(
        "prompt_strength",
        Number(0, 1),
        "How far to go from `image` towards the prompt; 1 keeps nothing of it. No effect without `image`.",
        default=0.8,
    ),
)
_SERIES: Final = (
    Field(
        "num_outputs",
        Whole(1, 4),
        "Pictures to make, each with a seed one higher than that of the one before.",
        default=1,
    ),
)
_RESULT: Final = (
    Field(
        "seed",
        Whole(0, 2**32 - 1),
        "The same seed and input give the same pictures. Left out: a random one, which the answer names.",
        example=42,
    ),
    Field(
        "output_format",
        Choice(("webp", "jpg", "png"), also={"jpeg": "jpg"}),
        "Format of the picture files.",
        default="webp",
    ),
    Field(
        "output_quality",
        Whole(0, 100),
        "Quality of WebP and JPEG files. No effect on PNG.",
        default=80,
    ),
    Field(
        "output_encoding",
        Choice(("url", "data_uri")),
        "How the answer carries the pictures: as links, or as data URIs.",
        default="url",
    ),
    Field(
        "disable_safety_checker",
        Flag(),
        "Skip the safety check of the pictures; needs a key that may.",
        default=False,
    ),
)


def _fields(model: Model) -> tuple[Field, ...]:
    """The fields of a model that draws from text, or from text and a picture."""
    sampling = (
        Field(
            "num_inference_steps",
            Whole(int(model.steps.minimum), int(model.steps.maximum)),
            "Denoising steps; more take longer and show more detail.",
            default=int(model.steps.default),
        ),
        Field(
            "guidance",
            Number(model.guidance.minimum, model.guidance.maximum),
            "How closely to follow the prompt.",
            default=float(model.guidance.default),
        ),
    )
    return (*_SUBJECT, *SIZE_FIELDS, *_SERIES, *sampling, *_RESULT)


def schema(model: Model) -> dict[str, Any]:
    """JSON Schema of the input of `model` in its canonical form; `parse` also takes nulls, and numbers as text."""
    fields = _fields(model)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Input of {model.slug}",
        "type": "object",
        "properties": {field.name: {**field.schema(), "x-order": place} for place, field in enumerate(fields)},
        "required": [field.name for field in fields if field.required],
        "additionalProperties": False,
        "allOf": size_rules(),
    }


def parse(model: Model, sent: object) -> Order:
    """Read the input of a request.

    Raises:
        InvalidInput: something is wrong; `details` name every wrong field.

    """
    if not isinstance(sent, dict):
        raise _invalid([FieldError("input", "must be a JSON object of fields", shortened(sent))])
    fields = _fields(model)
    values: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for field in fields:
        try:
            values[field.name] = field.read(sent.get(field.name))
        except RefusedError as refusal:
            wrong[field.name] = str(refusal)
    settle_shape(sent, values, wrong)
    names = [field.name for field in fields]
    errors = [_error(name, wrong[name], sent.get(name)) for name in names if name in wrong]
    errors += _unknown(sent, names)
    if errors:
        raise _invalid(errors)
    return _order(values)


def _order(values: Mapping[str, Any]) -> Order:
    echo = {**values, "image": values["image"] if isinstance(values["image"], str) else None}
    rest = {name: value for name, value in values.items() if name not in _SHAPE}
    return Order(**rest, size=size_meant(values), notices=size_notices(values), echo=echo)


def _unknown(sent: Mapping[str, Any], names: Sequence[str]) -> Iterable[FieldError]:
    for name in islice((name for name in sent if name not in names), _MOST_UNKNOWN):
        near = difflib.get_close_matches(name[:100], names, n=1)
        known = f"did you mean {near[0]}?" if near else f"the fields are {', '.join(names)}"
        yield _error(str(shortened(name)), f"is not a field of this model; {known}", sent[name])
    more = sum(name not in names for name in sent) - _MOST_UNKNOWN
    if more > 0:
        yield FieldError("input", f"has {more} more fields that this model does not have")


def _error(name: str, message: str, value: Any) -> FieldError:
    return FieldError(f"input.{name}", message, shortened(value))


def _invalid(errors: Sequence[FieldError]) -> InvalidInput:
    told = [f"{error.field}: {error.message}" for error in errors[:_MOST_SUMMED_UP]]
    more = len(errors) - len(told)
    return InvalidInput("; ".join(told) + (f"; and {more} more" if more else ""), details=tuple(errors))
