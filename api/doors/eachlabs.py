"""The native door: create, read and cancel predictions in the words of Eachlabs' API."""

import uuid
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, g, jsonify, request

from api import body, limits, links, test_outcome, tracing, uploads
from api.doors import eachlabs_words as words
from api.services import services
from fluxfarm import inputs, lifecycle, lookup
from fluxfarm.admission import Request as Admission
from fluxfarm.catalog import Model
from fluxfarm.errors import FieldError, InvalidInput, LimitState, SafetyCheckerRequired
from fluxfarm.inputs import DataPicture, Order
from fluxfarm.keys import Caller
from fluxfarm.lookup import PredictionView
from fluxfarm.plans import Plan
from fluxfarm.sent import shortened

door = Blueprint("eachlabs", __name__)

FIELDS = ("model", "version", "priority", "input")
PRIORITIES = ("normal", "low")


@door.post("/v1/prediction")
@door.post("/v1/prediction/")
def create() -> Response:
    caller = services().authenticator.caller(request, scope="predict")
    with services().authenticator.counted_refusals(caller):
        asked = _asked(body.json_object(request))
        if asked.order.disable_safety_checker and "safety:off" not in caller.scopes:
            message = "This key may not set input.disable_safety_checker; leave it out or send false."
            raise SafetyCheckerRequired(message)
        prediction = uuid.uuid4()
        limits.tell(_admit(caller, asked, prediction))
    return jsonify(status="success", message="Prediction created successfully", predictionID=str(prediction))


@door.get("/v1/prediction/<prediction>")
def read(prediction: str) -> Response:
    caller = services().authenticator.caller(request, scope="read")
    services().authenticator.count_read(caller)
    answer = services().seen.answer(body.prediction_id(prediction), caller.tenant_id, links.absolute(""), _told)
    if answer is None:
        raise body.unknown_prediction()
    response = Response(answer.body, mimetype="application/json")
    if answer.retry_after is not None:
        response.headers["Retry-After"] = str(answer.retry_after)
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
    limit, offset = body.whole(request, "limit", 50, 1, 500), body.whole(request, "offset", 0, 0, 1_000_000)
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


def _told(view: PredictionView) -> tuple[str, int | None]:
    return jsonify(words.prediction(view)).get_data(as_text=True), words.retry_after(view)


@dataclass(frozen=True, slots=True)
class Asked:
    """A create as its caller meant it."""

    model: Model
    order: Order
    low_priority: bool
    retention_seconds: int | None
    test_outcome: str | None


def _asked(sent: dict[str, Any]) -> Asked:
    """Read a create; names all that is wrong with it at once."""
    wrong = _wrong_fields(sent)
    slug, wanted, order, kept, outcome = sent.get("model"), None, None, None, None
    if isinstance(slug, str) and slug:
        wanted = services().catalog.model(slug)
        try:
            order = inputs.parse(wanted, sent.get("input"))
        except InvalidInput as refusal:
            wrong += refusal.details
        try:
            outcome = test_outcome.wanted(request, wanted)
        except InvalidInput as refusal:
            wrong += refusal.details
    try:
        kept = body.retention_seconds(request)
    except InvalidInput as refusal:
        wrong += refusal.details
    if wrong or wanted is None or order is None:
        raise body.invalid(wrong)
    return Asked(wanted, order, sent.get("priority") == "low", kept, outcome)


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
    if sent.get("priority") not in (None, *PRIORITIES):
        wrong.append(FieldError("priority", "must be normal or low, or left out", shortened(sent["priority"])))
    return wrong


def _admit(caller: Caller, asked: Asked, prediction: uuid.UUID) -> LimitState:
    """The picture first, since no transaction is held over storage; a refusal takes it away again."""
    objects = services().objects
    picture = asked.order.image
    image_key = uploads.keep(objects, caller, prediction, picture) if isinstance(picture, DataPicture) else None
    admitted = Admission(
        id=prediction,
        caller=caller,
        model=asked.model,
        plan=Plan.of(asked.order, image_key=image_key, test_outcome=asked.test_outcome),
        shown_input=asked.order.echo,
        request_id=g.request_id,
        traceparent=tracing.traceparent(request),
        low_priority=asked.low_priority,
        retention_seconds=asked.retention_seconds,
    )
    with ExitStack() as undo:
        if image_key is not None:
            undo.callback(objects.delete, image_key)
        state = services().creates.admit(admitted)
        undo.pop_all()
    return state
