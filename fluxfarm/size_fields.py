"""The fields by which a caller says how large a picture shall be, how they go together, and the size that they mean."""

from collections.abc import Mapping, MutableMapping
from typing import Any, Final

from fluxfarm.fields import Choice, Field, Whole, given, whole_number
from fluxfarm.kinds import SOURCES, Kind
from fluxfarm.sizes import BY_RATIO, LARGEST, OWN_AREA, SIDE_DIVISORS, SMALLEST, STEP, Size, for_ratio, nearest_legal

MATCH: Final = "match_input_image"
CUSTOM: Final = "custom"
SQUARE: Final = "1:1"

_SIDES = {"width", "height"}
_SIDE = Whole(SMALLEST, LARGEST, step=STEP)


def _megapixels(description: str, *more: str) -> Field:
    return Field("megapixels", Choice((*SIDE_DIVISORS, *more), also={1: "1", 0.25: "0.25"}), description, default="1")


_AREA: Final = _megapixels("Area of the picture, about, in megapixels. No effect with `width` and `height`.")
_AREA_OR_OWN: Final = _megapixels(
    f"Area of the picture, about, in megapixels; `{OWN_AREA}`: that of `control_image`, as far as its sides go. No "
    "effect with `width` and `height`.",
    OWN_AREA,
)
EXTENDED: Final = (
    Field(
        "aspect_ratio",
        Choice((*BY_RATIO, MATCH)),
        f"Shape to extend the picture to, on the sides that it lacks. `{MATCH}`: its own, and what `expand_…` adds.",
        default=MATCH,
        example="16:9",
    ),
    _megapixels(
        f"Area of the picture, about, in megapixels; `{OWN_AREA}`: that of `image` with what is added, as far as its "
        "sides go.",
        OWN_AREA,
    ),
)
"""Of a model that goes on beyond a picture's sides."""
_WIDTH: Final = Field("width", _SIDE, "Width in pixels; goes together with `height`.", example=1024)
_HEIGHT: Final = Field("height", _SIDE, "Height in pixels; goes together with `width`.", example=768)


def size_fields(source: str | None) -> tuple[Field, ...]:
    """Of a model that draws at a size of its caller's choice, or at that of the picture in the field `source`."""
    like = f"`{MATCH}` with `{source}`, " if source else ""
    ratio = Field(
        "aspect_ratio",
        Choice((*BY_RATIO, *([MATCH] if source else []), CUSTOM)),
        f"Shape of the picture. Left out: {like}`{CUSTOM}` with `width` and `height`, else `{SQUARE}`.",
        example="16:9",
    )
    return ratio, _AREA_OR_OWN if source == SOURCES[Kind.CONTROL] else _AREA, _WIDTH, _HEIGHT


def settle_shape(
    source: str | None, sent: Mapping[str, Any], values: MutableMapping[str, Any], wrong: MutableMapping[str, str]
) -> None:
    """Put the aspect ratio in force into `values`, and what does not go together into `wrong`."""
    given = {name for name in (source, *_SIDES) if name and sent.get(name) is not None}
    for side in _SIDES - given if given & _SIDES else ():
        wrong[side] = "is missing: width and height go together, or leave out both"
    for side in wrong.keys() & given & _SIDES:
        wrong[side] += _nearest_pair(sent)
    if "aspect_ratio" in wrong:
        return
    ratio = values["aspect_ratio"]
    if ratio is None:
        values["aspect_ratio"] = CUSTOM if given & _SIDES else MATCH if source in given else SQUARE
    elif given & _SIDES and ratio != CUSTOM:
        wrong["aspect_ratio"] = f'conflicts with width and height; leave it out, or say "{CUSTOM}"'
    elif ratio == CUSTOM and not given & _SIDES:
        wrong["aspect_ratio"] = f'"{CUSTOM}" needs width and height'
    elif ratio == MATCH and source not in given:
        wrong["aspect_ratio"] = f'"{MATCH}" needs {source}'


def settle_area(values: Mapping[str, Any], wrong: MutableMapping[str, str]) -> None:
    """Put into `wrong` an area that is the source's own where the shape is not."""
    if values.get("megapixels") == OWN_AREA and values.get("aspect_ratio") in BY_RATIO:
        wrong["megapixels"] = f'"{OWN_AREA}" goes with the aspect_ratio "{MATCH}" alone'


def area_rule() -> dict[str, Any]:
    """What `settle_area` refuses, as a JSON Schema that has to hold."""
    return {"not": given(aspect_ratio={"enum": [*BY_RATIO]}, megapixels={"const": OWN_AREA})}


def size_rules(source: str | None) -> list[dict[str, Any]]:
    """What `settle_shape` refuses, as JSON Schemas that all have to hold."""
    whole = {"type": "integer"}
    matching = {"if": given(aspect_ratio={"const": MATCH}), "then": given(**{source or "": {"type": "string"}})}
    return [
        {"if": given(width=whole), "then": given(height=whole)},
        {"if": given(height=whole), "then": given(width=whole)},
        {"if": given(aspect_ratio={"const": CUSTOM}), "then": given(width=whole)},
        *([matching] if source else []),
        {"not": given(aspect_ratio={"enum": [*BY_RATIO, MATCH]}, width=whole)},
    ]


def size_meant(values: Mapping[str, Any]) -> Size | None:
    """The size that settled values mean; None for that of the input picture."""
    ratio = values["aspect_ratio"]
    if ratio == MATCH:
        return None
    if ratio == CUSTOM:
        return Size(values["width"], values["height"])
    return for_ratio(ratio, values["megapixels"])


def size_notices(values: Mapping[str, Any]) -> tuple[str, ...]:
    if values["aspect_ratio"] == CUSTOM and values["megapixels"] != "1":
        return ("megapixels has no effect together with width and height.",)
    return ()


def _nearest_pair(sent: Mapping[str, Any]) -> str:
    width, height = whole_number(sent.get("width")), whole_number(sent.get("height"))
    if width is None or height is None:
        return ""
    nearest = nearest_legal(width, height)
    return f"; the nearest legal pair is width {nearest.width} and height {nearest.height}"
