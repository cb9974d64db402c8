"""The native door: create, read and cancel predictions in the words of Eachlabs' API."""

import uuid
from collections.abc import Callable
from functools import partial

from flask import Blueprint, Response, jsonify, request

from api import body, creating, deletes, links, pace, polls
from api.bodiless import bodiless
from api.creating import Created
from api.doors import eachlabs_again, eachlabs_create, eachlabs_dry_run, eachlabs_history
from api.doors import eachlabs_words as words
from api.polls import Looked, Wish
from api.services import services
from fluxfarm import history, lifecycle, lookup, routing
from fluxfarm.errors import FieldError, NotFound, Unavailable
from fluxfarm.keys import Caller
from fluxfarm.lookup import PredictionView

door = Blueprint("eachlabs", __name__)

SOON = "1"
"""Seconds."""

Seconds = Callable[[Caller], int | None]
"""How long a caller wishes to wait for what it creates; None for a plain create."""


@door.post("/v1/prediction")
@door.post("/v1/prediction/")
def create() -> Response:
    return _create(lambda: None, _preferred)


@door.put("/v1/prediction/<prediction>")
def create_by_own_id(prediction: str) -> Response:
    return _create(lambda: body.own_id(prediction), _preferred)


@door.post("/v1/prediction/run")
def run() -> Response:
    return _create(lambda: None, _to_run)


@door.post("/v1/prediction/<prediction>/again")
def again(prediction: str) -> Response:
    wanted = body.prediction_id(prediction)
    return _create(lambda: None, _preferred, wanted)


@door.get("/v1/prediction/<prediction>")
def read(prediction: str) -> Response:
    caller = services().authenticator.caller(request, scope="read")
    services().authenticator.count_read(caller)
    wished = polls.wish(request)
    looked = polls.look(body.prediction_id(prediction), caller.tenant_id, caller.key_id, wished, told)
    known = request.if_none_match.contains_weak(looked.answer.etag)
    return _answered(looked, bodiless(304) if known else None)


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


@door.delete("/v1/prediction/<prediction>")
def delete(prediction: str) -> Response:
    caller = services().authenticator.caller(request, scope="cancel")
    services().authenticator.count_read(caller)
    wanted = body.prediction_id(prediction)
    deletes.delete(wanted, caller.tenant_id)
    return jsonify(status="success", message="Prediction deleted successfully", predictionID=str(wanted))


@door.get("/v1/executions")
def executions() -> Response:
    caller = services().authenticator.caller(request, scope="read")
    services().authenticator.count_read(caller)
    asked = eachlabs_history.asked(request)
    with services().database.read_scope() as connection:
        page = history.page(
            connection, caller.tenant_id, asked.wanted, limit=asked.limit, offset=asked.offset, seen=asked.seen
        )
    return jsonify(eachlabs_history.told(page, asked))


@door.get("/v1/models")
def models() -> Response:
    services().authenticator.count_public_read(request)
    wanted = request.args.get("name", "").lower()
    limit, offset = body.whole(request, "limit", 50, 1, 500), body.whole(request, "offset", 0, 0, 1_000_000)
    catalog = services().catalog
    found = [words.model(model) for slug, model in catalog.models.items() if wanted in slug]
    if routing.served(catalog) and wanted in routing.AUTO:
        found.append(words.chosen_model(catalog))
    return jsonify(found[offset : offset + limit])


@door.get("/v1/model")
def model() -> Response:
    services().authenticator.count_public_read(request)
    slug = request.args.get("slug", "")
    if not slug:
        message = "is required, as in /v1/model?slug=flux-dev"
        raise body.invalid([FieldError("slug", message)])
    catalog = services().catalog
    if routing.means_it(catalog, slug):
        return jsonify(words.chosen_model(catalog))
    return jsonify(words.model(catalog.model(slug)))


def _preferred(caller: Caller) -> int | None:
    """A preference that may not be met is left aside."""
    return polls.preferred_seconds(request) if "read" in caller.scopes else None


def _to_run(caller: Caller) -> int:
    services().authenticator.require(caller, "read")
    return polls.wait_seconds(request, unsaid=polls.LONGEST_WAIT_SECONDS)


def _create(own_id: Callable[[], uuid.UUID | None], seconds: Seconds, of: uuid.UUID | None = None) -> Response:
    """Create what the body asks for, or what `of` was; or find what came of it before.

    Then, if its caller wishes to wait, wait and answer as a read would.
    """
    authenticator = services().authenticator
    caller = authenticator.caller(request, scope="predict")
    read_body = partial(eachlabs_again.sent, of) if of else partial(body.json_object, request)
    if (flood := authenticator.flood(caller)) is not None:
        return _waited(caller, creating.again(caller, own_id, flood, read_body).created[0], seconds(caller))
    with authenticator.counted_refusals(caller):
        dry_run, wait_seconds = body.flag(request, "dry_run"), seconds(caller)
    if dry_run:
        authenticator.count_read(caller)
        checked = eachlabs_create.check(caller, read_body(), own_id(), of)
        return jsonify(eachlabs_dry_run.told(checked))
    with authenticator.counted_refusals(caller):
        created = eachlabs_create.create(caller, read_body(), own_id(), of)
    if created.replayed:
        authenticator.count_replay(caller)
    return _waited(caller, created, wait_seconds)


def _waited(caller: Caller, created: Created, seconds: int | None) -> Response:
    """What takes longer is to be polled."""
    if seconds is None:
        return _created(created)
    try:
        looked = polls.look(created.id, caller.tenant_id, caller.key_id, Wish(seconds), told)
    except (Unavailable, NotFound):
        # It was created, and its caller must get to know the id.
        response = _created(created, 202)
        response.headers["Retry-After"] = SOON
        return response
    if not looked.answer.ended:
        response = _created(created, 202)
        response.headers["Retry-After"] = _retry_after(looked)
        return response
    response = _answered(looked)
    _tell_replay(created, response)
    return response


def _created(created: Created, number: int = 200) -> Response:
    message = "Prediction created successfully"
    urls = links.prediction_links(created.id, created.row_id)
    response = jsonify(status="success", message=message, predictionID=str(created.id), urls=urls)
    response.status_code = number
    _tell_replay(created, response)
    return response


def _tell_replay(created: Created, response: Response) -> None:
    if created.replayed:
        response.headers["Idempotent-Replayed"] = "true"


def _answered(looked: Looked, response: Response | None = None) -> Response:
    answer = looked.answer
    response = response or Response(answer.body, mimetype="application/json")
    response.set_etag(answer.etag, weak=True)
    if not answer.ended:
        response.headers["Retry-After"] = _retry_after(looked)
    return response


def _retry_after(looked: Looked) -> str:
    return SOON if looked.waited else str(looked.answer.retry_after)


def told(view: PredictionView) -> tuple[str, int | None]:
    """The body of a read, and when to ask again."""
    return jsonify(words.prediction(view)).get_data(as_text=True), pace.retry_after(view)
