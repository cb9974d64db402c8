"""The models, as Oxen's door lists and describes them."""

from collections.abc import Mapping, Sequence
from typing import Any

from flask import Blueprint, Response, jsonify, request

from api import cards
from api.doors import oxen_create
from api.doors.oxen_words import COST_UNIT, DIALECT
from api.services import services
from fluxfarm import routing
from fluxfarm.catalog import Catalog, Model
from fluxfarm.input_fields import fields_of
from fluxfarm.picture_field import Picture

models = Blueprint("oxen models", __name__)

SEARCHED = ("id", "display_name", "description", "aliases")
CREATED = 0
"""When a model was made known is not kept; the shape wants a number."""


@models.get("/api/ai/models")
def every() -> Response:
    services().authenticator.count_public_read(request)
    return _list(_all())


@models.get("/api/ai/models/search")
def search() -> Response:
    services().authenticator.count_public_read(request)
    wanted = request.args.get("search", "").lower()
    return _list([each for each in _all() if any(wanted in str(each[name]).lower() for name in SEARCHED)])


@models.get("/api/ai/models/<path:name>")
def one(name: str) -> Response:
    services().authenticator.count_public_read(request)
    catalog = services().catalog
    return jsonify(_chosen() if routing.means_it(catalog, name) else _model(catalog.model(name)))


def _all() -> list[Mapping[str, Any]]:
    catalog = services().catalog
    return [*map(_model, catalog.models.values()), *([_chosen()] if routing.served(catalog) else [])]


def _list(found: list[Mapping[str, Any]]) -> Response:
    return jsonify(object="list", data=found)


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


def _chosen() -> Mapping[str, Any]:
    """The model that stands for whichever its input asks for; a generation is one of that."""
    catalog = services().catalog
    own = {"id": routing.AUTO, "display_name": routing.TITLE, "description": routing.DESCRIPTION, "aliases": []}
    described = chosen_schema(catalog)
    schemas = {"request_schema": described, "json_request_schema": described}
    return {**_model(catalog.models[routing.BASE]), **own, **schemas}


def chosen_schema(catalog: Catalog) -> dict[str, Any]:
    """JSON Schema of a body for that model."""
    return _body([routing.AUTO], routing.schema(catalog, DIALECT.schema))


def schema(model: Model) -> dict[str, Any]:
    """JSON Schema of a whole body, for any of the calls that create."""
    return _body([model.slug, *model.aliases], DIALECT.schema(model))


def _body(names: Sequence[str], fields: dict[str, Any]) -> dict[str, Any]:
    """The model's fields, and those of the calls themselves."""
    own = {each.name: each.schema() for each in oxen_create.ALL}
    own["model"] |= {"enum": [*names], "default": names[0]}
    among = {"anyOf": [_body(names, each) for each in fields["anyOf"]]} if "anyOf" in fields else {}
    properties = {**own, **fields["properties"]}
    return {**fields, "properties": properties, "required": ["model", *fields.get("required", ())], **among}
