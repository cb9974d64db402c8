"""`POST /v1/prediction/<id>/again`: the same once more, by the same seed, but for what its caller says otherwise."""

import uuid
from collections.abc import Mapping
from typing import Any, Final

from flask import request

from api import body
from api.files import MEDIA_TYPES
from api.services import services
from fluxfarm import lookup
from fluxfarm.errors import FieldError, InvalidInput, NotFound, ObjectMissing
from fluxfarm.input_fields import fields_of
from fluxfarm.input_rules import SIDES
from fluxfarm.keys import Caller
from fluxfarm.lookup import PredictionView
from fluxfarm.sent import shortened
from fluxfarm.sizes import BY_RATIO, OWN_AREA

FIELDS: Final = ("model", "priority", "input")
_SHAPE: Final = frozenset({"aspect_ratio", "width", "height"})
_EXPANDED: Final = frozenset(f"expand_{side}" for side in SIDES)


def sent(prediction: uuid.UUID) -> dict[str, Any]:
    """What was sent, with the id of what is asked for again, by which a repetition is known; raises `InvalidInput`."""
    empty = not request.content_length and "Transfer-Encoding" not in request.headers
    found = {} if empty else body.json_object(request)
    wrong = [
        FieldError(shortened(name), f"is not a field here; fields are {', '.join(FIELDS)}", shortened(found[name]))
        for name in list(found)[:20]
        if name not in FIELDS
    ]
    if not isinstance(found.get("input", {}), dict):
        wrong.append(FieldError("input", "must be a JSON object of fields", shortened(found["input"])))
    if wrong:
        raise body.invalid(wrong)
    return {**found, "again": str(prediction)}


def asked(caller: Caller, prediction: uuid.UUID, said: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a create that asks for it again.

    Raises:
        NotFound: there is no such prediction of this tenant, or not any more.
        InvalidInput: a picture that it was made from is gone.

    """
    with services().database.read_scope() as connection:
        view = lookup.prediction(connection, prediction, caller.tenant_id)
    if view is None:
        raise NotFound("There is no such prediction.")
    instead = dict(said.get("input", {}))
    kept = beside(instead, view.input)
    if said.get("model") not in (None, view.model):
        kept = _chosen(view.model, kept)
    pictures = {name: _picture(view, name) for name in view.plan.picture_keys if name not in instead}
    asked_for = {**kept, "seed": view.plan.seeds[0], **pictures, **_loras(view), **instead}
    # One that another model does not have can only be left out.
    whole = {name: value for name, value in asked_for.items() if value is not None}
    priority = {"priority": said["priority"]} if "priority" in said else {}
    return {"model": said.get("model") or view.model, "input": whole, **priority}


def beside(instead: Mapping[str, Any], sent: Mapping[str, Any]) -> dict[str, Any]:
    """What was sent, but for what says the size in words that do not go with those that are said instead."""
    left_out = _SHAPE if _SHAPE & instead.keys() else frozenset()
    if instead.get("aspect_ratio") in BY_RATIO:
        left_out |= _EXPANDED | ({"megapixels"} if sent.get("megapixels") == OWN_AREA else set())
    elif any(instead.get(name) not in (None, 0, "0") for name in _EXPANDED):
        left_out |= {"aspect_ratio"}
    return {name: value for name, value in sent.items() if name not in left_out}


def _chosen(slug: str, kept: Mapping[str, Any]) -> dict[str, Any]:
    """What is not as this model has it by itself: another one has defaults of its own."""
    model = services().catalog.models.get(slug)
    defaults = {field.name: field.default for field in fields_of(model)} if model else {}
    return {name: value for name, value in kept.items() if name not in defaults or value != defaults[name]}


def _loras(view: PredictionView) -> dict[str, Any]:
    """The LoRAs that it was drawn with, and none that has since taken the place of one."""
    made_with = (view.result.made_with if view.result else None) or {}
    if not (hashes := made_with.get("loras")):
        return {}
    asked = zip(view.input["loras"], hashes, strict=True)
    return {"loras": [{**lora, "sha256": sha256} for lora, sha256 in asked]}


def _picture(view: PredictionView, name: str) -> str:
    key = view.plan.picture_keys[name]
    try:
        return services().objects.data_uri(key, MEDIA_TYPES[key.rpartition(".")[2]])
    except ObjectMissing:
        wrong = FieldError(f"input.{name}", "is gone from the store: send it again")
        raise InvalidInput(f"{wrong.field} {wrong.message}", details=(wrong,)) from None
