"""The models, as Oxen's door lists and describes them."""

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response, jsonify, request

from api import cards
from api.doors import oxen_create
from api.doors.oxen_words import COST_UNIT, DIALECT
from api.services import services
from fluxfarm.catalog import Model
from fluxfarm.fields import Field
from fluxfarm.input_fields import fields_of
from fluxfarm.picture_field import Picture

models = Blueprint("oxen models", __name__)

CREATED = 0
"""When a model was made known is not kept; the shape wants a number."""


@models.get("/api/ai/models")
def every() -> Response:
    services().authenticator.count_public_read(request)
    return _list([*services().catalog.models.values()])


@models.get("/api/ai/models/search")
def search() -> Response:
    services().authenticator.count_public_read(request)
    wanted = request.args.get("search", "").lower()
    found = services().catalog.models.values()
    return _list([each for each in found if any(wanted in name.lower() for name in _names(each))])


@models.get("/api/ai/models/<path:name>")
def one(name: str) -> Response:
    services().authenticator.count_public_read(request)
    return jsonify(_model(services().catalog.model(name)))


def _list(found: list[Model]) -> Response:
    return jsonify(object="list", data=[_model(each) for each in found])


def _names(model: Model) -> tuple[str, ...]:
    return (model.slug, model.title, model.description, *model.aliases)


def _model(model: Model) -> Mapping[str, Any]:
    described = schema(model)
    pictures = [field for field in fields_of(model) if isinstance(field.kind, Picture)]
    endpoint = "/images/edit" if any(field.required for field in pictures) else "/images/generate"
    return {
        "id": model.slug,
        "object": "model",
        "created": CREATED,
        "owned_by": next((name.partition("/")[0] for name in model.aliases if "/" in name), "fluxfarm"),
        "display_name": model.title,
        "description": model.description,
        "aliases": model.aliases,
        "endpoint": endpoint,
        "capabilities": {"input": ["text", *(["image"] if pictures else [])], "output": ["image"]},
        "pricing": {"method": COST_UNIT, "cost_per_image": None},
        "deployments": [],
        "stand_in": model.weights.stand_in,
        "license": model.licence,
        "license_url": model.licence_url,
        "card": cards.told(model.card),
        "request_schema": described,
        "json_request_schema": described,
    }


def schema(model: Model) -> dict[str, Any]:
    """JSON Schema of a whole body, for any of the calls that create."""
    fields: dict[str, Field] = {each.name: each for each in (*oxen_create.SYNC, *oxen_create.QUEUED)}
    own = {name: each.schema() for name, each in fields.items()}
    own["model"] |= {"enum": [model.slug, *model.aliases], "default": model.slug}
    whole = DIALECT.schema(model)
    return {**whole, "properties": {**own, **whole["properties"]}, "required": ["model", *whole["required"]]}
