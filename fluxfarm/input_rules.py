"""How the fields of one input go together: what is refused of it, and the same as JSON Schema."""

from collections.abc import Mapping, MutableMapping
from typing import Any

from fluxfarm.catalog import Model
from fluxfarm.fields import given
from fluxfarm.kinds import SOURCES, Kind
from fluxfarm.size_fields import MATCH, area_rule, settle_area, settle_shape, size_rules
from fluxfarm.sizes import BY_RATIO

SIDES = ("left", "right", "top", "bottom")


def settle(
    model: Model, sent: Mapping[str, Any], values: MutableMapping[str, Any], wrong: MutableMapping[str, str]
) -> None:
    """Fill in what follows from other fields, and put what does not go together into `wrong`."""
    if model.kind is Kind.FILL:
        settle_area(values, wrong)
        _settle_fill(values, wrong)
        return
    settle_shape(SOURCES[model.kind], sent, values, wrong)
    settle_area(values, wrong)
    if values.get("preprocess_image") and not model.finds_control:
        wrong["preprocess_image"] = "must be false: what would find that in a picture does not come with these weights"
    if model.kind is Kind.TEXT and sent.get("mask") is not None and sent.get("image") is None:
        wrong.setdefault("mask", "needs image: it says what of it to paint anew")


def rules(model: Model) -> list[dict[str, Any]]:
    """What `settle` refuses, as JSON Schemas that all have to hold."""
    if model.kind is Kind.FILL:
        extended = {"aspect_ratio": {"enum": [*BY_RATIO]}}
        return [*({"not": given(**extended, **{f"expand_{side}": {"minimum": 1}})} for side in SIDES), area_rule()]
    masked = {"if": given(mask={"type": "string"}), "then": given(image={"type": "string"})}
    given_map = {"properties": {"preprocess_image": {"const": False}}}
    own = [masked] if model.kind is Kind.TEXT else []
    own += [area_rule()] if model.kind is Kind.CONTROL else []
    own += [given_map] if model.kind is Kind.CONTROL and not model.finds_control else []
    return [*size_rules(SOURCES[model.kind]), *own]


def _settle_fill(values: Mapping[str, Any], wrong: MutableMapping[str, str]) -> None:
    expanded = [name for name in (f"expand_{side}" for side in SIDES) if values.get(name)]
    if expanded and values.get("aspect_ratio") not in (None, MATCH):
        wrong["aspect_ratio"] = f"conflicts with {expanded[0]}; leave out one of them"
