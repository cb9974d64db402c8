"""The native door: create, read and cancel predictions in the words of Eachlabs' API."""

import uuid
from contextlib import ExitStack
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
    model, order, kept = _asked(body.json_object(request))
    if order.disable_safety_checker and "safety:off" not in caller.scopes:
        raise SafetyCheckerRequired("This key may not set input.disable_safety_checker; leave it out or send false.")
    prediction = uuid.uuid4()
    limits.tell(_admit(caller, model, order, prediction, kept))
    services().tokens.put(model.slug)
    return jsonify(status="success", message="Prediction created successfully", predictionID=str(prediction))


@door.get("/v1/prediction/<prediction>")
def read(prediction: str) -> Response:
    caller = services().authenticator.caller(request, scope="read")
    services().authenticator.count_read(caller)
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
    services().authenticator.count_read(caller)
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
    services().authenticator.count_public_read(request)
    wanted = request.args.get("name", "").lower()
    limit, offset = _whole("limit", 50, 1, 500), _whole("offset", 0, 0, 1_000_000)
    found = [model for slug, model in services().catalog.models.items() if wanted in slug]
    return jsonify([words.model(each) for each in found[offset : offset + limit]])


@door.get("/v1/model")
def model() -> Response:
    services().authenticator.count_public_read(request)
    slug = request.args.get("slug", "")
    if not slug:
        message = "is required, as in /v1/model?slug=flux-dev"
        raise body.invalid([FieldError("slug", message)])
    return jsonify(words.model(services().catalog.model(slug)))


def _asked(sent: dict[str, Any]) -> tuple[Model, Order, int | None]:
    """What is to be rendered and for how many seconds it is kept at most; names all that is wrong at once."""
    wrong = _wrong_fields(sent)
    slug, wanted, order, kept = sent.get("model"), None, None, None
    if isinstance(slug, str) and slug:
        wanted = services().catalog.model(slug)
        try:
            order = inputs.parse(wanted, sent.get("input"))
        except InvalidInput as refusal:
            wrong += refusal.details
    try:
        kept = body.retention_seconds(request)
    except InvalidInput as refusal:
        wrong += refusal.details
    if wrong or wanted is None or order is None:
        raise body.invalid(wrong)
    return wanted, order, kept


def _wrong_fields(sent: dict[str, Any]) -> list[FieldError]:
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
    return wrong


def _admit(caller: Caller, wanted: Model, order: Order, prediction: uuid.UUID, kept: int | None) -> LimitState:
    """The picture first, since no transaction is held over storage; a refusal takes it away again."""
    objects = services().objects
    image_key = uploads.keep(objects, caller, prediction, order.image) if isinstance(order.image, DataPicture) else None
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
    with ExitStack() as undo:
        if image_key is not None:
            undo.callback(objects.delete, image_key)
        with services().database.session_scope() as session:
            state = admission.admit(session, asked, max_queued=services().settings.max_queued)
        undo.pop_all()
    return state


def _whole(name: str, default: int, least: int, most: int) -> int:
    sent = request.args.get(name)
    if sent is None:
        return default
    if not (sent.isascii() and sent.isdecimal() and len(sent) < 10 and least <= int(sent) <= most):  # noqa: PLR2004
        message = f"must be a whole number from {least} to {most}"
        raise body.invalid([FieldError(name, message, shortened(sent))])
    return int(sent)
