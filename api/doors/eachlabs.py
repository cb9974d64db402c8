"""The native door: create, read and cancel predictions in the words of Eachlabs' API."""

import uuid
from typing import Any

from flask import Blueprint, Response, g, jsonify, request

from api import body, limits, tracing, uploads
from api.doors import eachlabs_words as words
from api.services import services
from fluxfarm import admission, inputs, lifecycle, lookup
from fluxfarm.admission import Request as Admission
from fluxfarm.catalog import Model
from fluxfarm.errors import FieldError, InvalidInput, LimitState, SafetyCheckerRequired
from fluxfarm.inputs import DataPicture, Order
from fluxfarm.keys import Caller
from fluxfarm.plans import Plan
from fluxfarm.sent import shortened

door = Blueprint("eachlabs", __name__)

FIELDS = ("model", "version", "input")


@door.post("/v1/prediction")
@door.post("/v1/prediction/")
def create() -> Response:
    caller = services().authenticator.caller(request, scope="predict")
    services().authenticator.count_attempt(caller)
    model, order = _asked(body.json_object(request))
    if order.disable_safety_checker and "safety:off" not in caller.scopes:
        raise SafetyCheckerRequired("This key may not set input.disable_safety_checker; leave it out or send false.")
    prediction = uuid.uuid4()
    limits.tell(_admit(caller, model, order, prediction))
    services().tokens.put(model.slug)
    return jsonify(status="success", message="Prediction created successfully", predictionID=str(prediction))


@door.get("/v1/prediction/<prediction>")
def read(prediction: str) -> Response:
    caller = services().authenticator.caller(request, scope="read")
    limits.tell(services().authenticator.count_read(caller))
    with services().database.session_scope() as session:
        view = lookup.prediction(session, body.prediction_id(prediction), caller.tenant_id)
    if view is None:
        raise body.unknown_prediction()
    response = jsonify(words.prediction(view))
    if (seconds := words.retry_after(view)) is not None:
        response.headers["Retry-After"] = str(seconds)
    return response


@door.post("/v1/prediction/<prediction>/cancel")
def cancel(prediction: str) -> Response:
    caller = services().authenticator.caller(request, scope="cancel")
    limits.tell(services().authenticator.count_read(caller))
    wanted = body.prediction_id(prediction)
    with services().database.session_scope() as session:
        lifecycle.cancel(session, wanted, caller.tenant_id)
    with services().database.session_scope() as session:
        view = lookup.prediction(session, wanted, caller.tenant_id)
    if view is None:
        raise body.unknown_prediction()
    return jsonify(words.cancelled(view))


@door.get("/v1/models")
def models() -> Response:
    limits.tell(services().authenticator.count_public_read(request.remote_addr or "unknown"))
    wanted = request.args.get("name", "").lower()
    limit, offset = _whole("limit", 50, 1, 500), _whole("offset", 0, 0, 1_000_000)
    found = [model for slug, model in services().catalog.models.items() if wanted in slug]
    return jsonify([words.model(each) for each in found[offset : offset + limit]])


@door.get("/v1/model")
def model() -> Response:
    limits.tell(services().authenticator.count_public_read(request.remote_addr or "unknown"))
    slug = request.args.get("slug", "")
    if not slug:
        message = "is required, as in /v1/model?slug=flux-dev"
        raise InvalidInput(f"slug {message}", details=(FieldError("slug", message),))
    return jsonify(words.model(services().catalog.model(slug)))


def _asked(sent: dict[str, Any]) -> tuple[Model, Order]:
    wrong = [
        FieldError(shortened(name), f"is not a field here; fields are {', '.join(FIELDS)}", shortened(sent[name]))
        for name in list(sent)[:20]
        if name not in FIELDS
    ]
    slug = sent.get("model")
    if not isinstance(slug, str) or not slug:
        wrong.append(FieldError("model", "is required: the name of a model, such as flux-dev", shortened(slug)))
    if not isinstance(sent.get("version", ""), str | None):
        wrong.append(FieldError("version", "must be text or left out", shortened(sent["version"])))
    if wrong:
        raise InvalidInput("; ".join(f"{each.field}: {each.message}" for each in wrong[:3]), details=tuple(wrong))
    wanted = services().catalog.model(str(slug))
    return wanted, inputs.parse(wanted, sent.get("input"))


def _admit(caller: Caller, wanted: Model, order: Order, prediction: uuid.UUID) -> LimitState:
    """The picture first, since no transaction is held over storage; a refusal takes it away again."""
    kept = body.retention_seconds(request)
    store = services().store
    image_key = uploads.keep(store, caller, prediction, order.image) if isinstance(order.image, DataPicture) else None
    asked = Admission(
        id=prediction,
        caller=caller,
        model=wanted,
        plan=Plan.of(order, image_key=image_key),
        shown_input=order.echo,
        request_id=g.request_id,
        traceparent=tracing.traceparent(request),
        **({} if kept is None else {"retention_seconds": kept}),
    )
    try:
        with services().database.session_scope() as session:
            return admission.admit(session, asked, max_queued=services().settings.max_queued)
    except Exception:
        if image_key is not None:
            store.delete([image_key])
        raise


def _whole(name: str, default: int, least: int, most: int) -> int:
    sent = request.args.get(name)
    if sent is None:
        return default
    if not (sent.isascii() and sent.isdecimal() and len(sent) < 10 and least <= int(sent) <= most):  # noqa: PLR2004
        message = f"must be a whole number from {least} to {most}"
        raise InvalidInput(f"{name}: {message}", details=(FieldError(name, message, sent[:100]),))
    return int(sent)
