"""The model `flux`: which model of the family an input asks for, by the pictures that come with it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fluxfarm import inputs
from fluxfarm.catalog import Catalog, Model
from fluxfarm.errors import FieldError, InvalidInput
from fluxfarm.fields import Choice, Field, RefusedError
from fluxfarm.input_rules import SIDES
from fluxfarm.kinds import Control
from fluxfarm.sent import shortened

AUTO: Final = "flux"
TITLE: Final = "FLUX.1, chosen by the input"
DESCRIPTION: Final = (
    "From words alone, or from `image` too: flux-dev. With `mask` or `expand_…`: flux-fill-dev. "
    "With `control_image`: flux-canny-dev, or flux-depth-dev where `mode` says depth. With `redux_image`: "
    "flux-redux-dev."
)
MODE: Final = Field(
    "mode",
    Choice(tuple(Control)),
    "What of `control_image` to follow. No effect without it.",
    default=Control.CANNY.value,
)

BASE: Final = "flux-dev"
"""What is asked for with no more than an image."""
_BY_MODE: Final = {Control.CANNY: "flux-canny-dev", Control.DEPTH: "flux-depth-dev"}
_FILLING: Final = ("mask", *(f"expand_{side}" for side in SIDES))


@dataclass(frozen=True, slots=True)
class Chosen:
    """The model that an input asks for, and the input as that model takes it."""

    model: Model
    input: Any
    notice: str | None = None


def choose(catalog: Catalog, name: str, sent: Any, place: str = "input") -> Chosen:
    """The model of that name; of `flux`, the one that the input asks for, which lies at `place` in the body.

    Raises:
        ModelNotFound: there is none of that name.
        InvalidInput: pictures go with different models, or the model that they need is not served here.

    """
    if name.lower() != AUTO or AUTO in catalog.models:
        return Chosen(catalog.model(name), sent)
    given = {field for field, value in sent.items() if value is not None} if isinstance(sent, dict) else set()
    slug, because = _meant(sent if isinstance(sent, dict) else {}, given, place)
    if slug not in catalog.models:
        there = ", ".join(catalog.models)
        raise _refused(
            place, because or "model", f"needs the model {slug}, which is not served here; these are: {there}"
        )
    rest = {field: value for field, value in sent.items() if field != MODE.name} if isinstance(sent, dict) else sent
    return Chosen(catalog.models[slug], rest, f"flux chose {slug} for {because}." if because else None)


def served(catalog: Catalog) -> bool:
    """Whether `flux` can be asked for."""
    return BASE in catalog.models and AUTO not in catalog.models


def means_it(catalog: Catalog, name: str) -> bool:
    """Whether this is the name of `flux`, and it can be asked for."""
    return name.lower() == AUTO and served(catalog)


def schema(catalog: Catalog, schema_of: Callable[[Model], dict[str, Any]] = inputs.schema) -> dict[str, Any]:
    """JSON Schema of what `flux` takes: an input of one of the models that it chooses among, by `schema_of`."""
    slugs = (BASE, "flux-fill-dev", *_BY_MODE.values(), "flux-redux-dev")
    among = {slug: schema_of(catalog.models[slug]) for slug in slugs if slug in catalog.models}
    names = dict.fromkeys(name for each in among.values() for name in each["properties"])
    properties = {
        name: _of_any([each["properties"][name] for each in among.values() if name in each["properties"]])
        for name in names
    }
    mode = {MODE.name: {**MODE.schema(), "x-order": len(properties)}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Input of {AUTO}",
        "type": "object",
        "properties": {
            name: {**described, "x-order": place} for place, (name, described) in enumerate(properties.items())
        }
        | mode,
        "anyOf": [
            {"title": slug, "properties": each["properties"] | mode, "required": each["required"]}
            | ({"allOf": each["allOf"]} if "allOf" in each else {})
            for slug, each in among.items()
        ],
        "additionalProperties": False,
    }


def _of_any(variants: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What some of the models take of a field, in the words of the first; what differs but is no bound is left out."""
    first, *others = variants
    alike = {name for name in first if all(name in each and each[name] == first[name] for each in others)}
    widest = {
        name: widest_of(each[name] for each in variants)
        for name, widest_of in (("minimum", min), ("maximum", max))
        if all(name in each for each in variants)
    }
    words = dict.fromkeys(word for each in variants for word in each.get("enum", ()))
    choices = {"enum": [*words]} if all("enum" in each for each in variants) else {}
    return {name: first[name] for name in first if name in alike | {"description", "examples"}} | widest | choices


def _meant(sent: Mapping[str, Any], given: set[str], place: str) -> tuple[str, str | None]:
    """The model, and the field that asks for it."""
    asking = {
        "flux-redux-dev": next((name for name in ("redux_image",) if name in given), None),
        "control": next((name for name in ("control_image",) if name in given), None),
        "flux-fill-dev": next((name for name in _FILLING if name in given and sent[name] not in (0, "0")), None),
    }
    asked = {slug: name for slug, name in asking.items() if name is not None}
    if len(asked) > 1:
        first, second, *_ = asked.values()
        raise _refused(place, second, f"goes with another model than {first}; send one of them, or name the model")
    if not asked:
        return BASE, None
    ((slug, name),) = asked.items()
    return (_BY_MODE[_mode(sent, place)] if slug == "control" else slug), name


def _mode(sent: Mapping[str, Any], place: str) -> Control:
    try:
        return Control(MODE.read(sent.get(MODE.name)))
    except RefusedError as refusal:
        raise _refused(place, MODE.name, str(refusal), sent[MODE.name]) from None


def _refused(place: str, name: str, message: str, sent: Any = None) -> InvalidInput:
    field = name if name == "model" or not place else f"{place}.{name}"
    return InvalidInput(f"{field}: {message}", details=(FieldError(field, message, shortened(sent)),))
