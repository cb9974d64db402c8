"""What NVIDIA's door says of itself: whether it lives and is ready, what it serves, and how busy it is."""

from importlib.metadata import version
from typing import Any, Final

from flask import Blueprint, Response, jsonify, request

from api import cards, gauges
from api.doors import nim_create
from api.services import services
from fluxfarm import lookup
from fluxfarm.catalog import Model
from fluxfarm.errors import Unavailable

health = Blueprint("nim health", __name__)

SPOKEN: Final = "1.0.0"
"""The version of the dialect."""


@health.get("/v1/health/live")
def live() -> Response:
    return _said("live", "The process lives.")


@health.get("/v1/health/ready")
def ready() -> tuple[Response, int]:
    """200 once a worker can draw what the door is asked for, 503 before."""
    try:
        with services().database.session_scope() as session:
            workers = lookup.live_workers(session)
    except Unavailable:
        return _said("not ready", "The database is away."), 503
    if not any(workers.get(model.slug) for model in nim_create.offered(services().catalog)):
        return _said("not ready", "No worker serves a model of this door yet."), 503
    return _said("ready", "Predictions can be taken."), 200


@health.get("/v1/version")
def release() -> Response:
    return jsonify(release=version("fluxfarm"), api=SPOKEN)


@health.get("/v1/metadata")
def metadata() -> Response:
    services().authenticator.count_public_read(request)
    models = [_model(model) for model in nim_create.offered(services().catalog)]
    return jsonify(version=version("fluxfarm"), modelInfo=models, assetInfo=[model["version"] for model in models])


@health.get("/v1/metrics")
def metrics() -> Response:
    services().authenticator.count_public_read(request)
    with services().database.session_scope() as session:
        workers, queues = lookup.live_workers(session), lookup.queues(session)
    return gauges.answer(gauges.busy(workers, queues))


def _said(status: str, message: str) -> Response:
    return jsonify(object="health.response", message=message, status=status)


def _model(model: Model) -> dict[str, Any]:
    return {
        "shortName": model.slug,
        "modelUrl": model.licence_url,
        "title": model.title,
        "description": model.description,
        "version": model.version,
        "aliases": model.aliases,
        "license": model.licence,
        "stand_in": model.weights.stand_in,
        "card": cards.told(model.card),
        "request_schema": nim_create.schema(model),
    }
