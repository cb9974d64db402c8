"""What a caller may ask of a model: every field declared once; from that its validation, defaults and JSON Schema."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fluxfarm.catalog import Model
from fluxfarm.fields import RefusedError
from fluxfarm.input_fields import fields_of
from fluxfarm.input_rules import SIDES, rules, settle
from fluxfarm.loras import AskedLora, Origin
from fluxfarm.picture_field import DataPicture, Picture
from fluxfarm.refusals import invalid, no_object, unknown_fields, wrong_field
from fluxfarm.size_fields import size_meant, size_notices
from fluxfarm.sizes import Size

__all__ = ["DataPicture", "Order", "parse", "schema"]

PLACE: Final = "input"
"""Of the fields in the body of a create."""

_SETTLED: Final = frozenset({"aspect_ratio", "width", "height", "loras", *(f"expand_{side}" for side in SIDES)})
"""Told to the worker in other words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A valid input: what a prediction has to render."""

    prompt: str | None
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
    pictures: Mapping[str, str | DataPicture]
    """By the name of its field, an http(s) URL or a decoded data URI."""
    guidance: float = 3.5
    """Weights that know none do not mind; those that stand in for them were taught this."""
    negative_prompt: str | None = None
    true_cfg_scale: float = 1.0
    prompt_strength: float = 1.0
    preprocess_image: bool = True
    redux_strength: float = 1.0
    expand: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Pixels of the picture to paint beyond its left, right, top and bottom side."""
    loras: tuple[AskedLora, ...] = ()
    notices: tuple[str, ...]
    echo: Mapping[str, Any] = dataclasses.field(repr=False)
    """The input as the API shows it, each field with its value in force; no picture that came as a data URI."""


def schema(model: Model) -> dict[str, Any]:
    """JSON Schema of the input of `model` in its canonical form.

    `parse` also takes nulls, numbers as text, and a negative prompt of any model where it is blank.
    """
    fields = fields_of(model)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Input of {model.slug}",
        "type": "object",
        "properties": {field.name: {**field.schema(), "x-order": place} for place, field in enumerate(fields)},
        "required": [field.name for field in fields if field.required],
        "additionalProperties": False,
        "allOf": rules(model),
    }


def parse(model: Model, sent: object) -> Order:
    """Read the input of a request.

    Raises:
        InvalidInput: something is wrong; `details` name every wrong field.

    """
    if not isinstance(sent, dict):
        raise no_object(PLACE, sent)
    fields = fields_of(model)
    values: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for field in fields:
        try:
            values[field.name] = field.read(sent.get(field.name))
        except RefusedError as refusal:
            wrong[field.name] = str(refusal)
    settle(model, sent, values, wrong)
    names = [field.name for field in fields]
    errors = [wrong_field(PLACE, name, wrong[name], sent.get(name)) for name in names if name in wrong]
    errors += unknown_fields(PLACE, sent, names)
    if errors:
        raise invalid(errors)
    return _order(values, [field.name for field in fields if isinstance(field.kind, Picture)])


def _order(values: Mapping[str, Any], pictured: Sequence[str]) -> Order:
    echo = {name: None if isinstance(value, DataPicture) else value for name, value in values.items()}
    expand = tuple(values.get(f"expand_{side}", 0) for side in SIDES)
    rest = {name: value for name, value in values.items() if name not in {*_SETTLED, *pictured}}
    return Order(
        **rest,
        size=size_meant(values),
        pictures={name: values[name] for name in pictured if values[name] is not None},
        expand=(expand[0], expand[1], expand[2], expand[3]),
        loras=tuple(_lora(each) for each in values.get("loras", ())),
        notices=(*size_notices(values), *_effects(values)),
        echo=echo,
    )


def _lora(read: Mapping[str, Any]) -> AskedLora:
    origin = next(origin for origin in Origin if origin in read)
    return AskedLora(origin, read[origin], read["scale"], read.get("sha256"))


def _effects(values: Mapping[str, Any]) -> Iterable[str]:
    """What the caller may not expect of what was asked."""
    if values.get("negative_prompt") is not None and values["true_cfg_scale"] > 1:
        yield "The negative prompt doubles the time of each step."
