"""Oxen's door: pictures in one call, or from a queue, in the words of Oxen's inference API."""

import json
from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response, jsonify, request

from api import body, creating, held, polls
from api.doors import oxen_create, oxen_lists
from api.doors import oxen_words as words
from api.held import WithoutPictures
from api.services import services
from fluxfarm import history, lifecycle
from fluxfarm.keys import Caller
from fluxfarm.status import Status

door = Blueprint("oxen", __name__)


@door.post("/api/ai/images/generate")
def generate() -> Response:
    caller = _waiting_caller()
    return _pictures(caller, creating.made(caller, lambda sent, wrong: oxen_create.drawn(caller, sent, wrong)))


@door.post("/api/ai/images/edit")
def edit() -> Response:
    caller = _waiting_caller()
    return _pictures(caller, creating.made(caller, lambda sent, wrong: oxen_create.edited(caller, sent, wrong)))


@door.post("/api/ai/queue")
def enqueue() -> Response:
    caller = services().authenticator.caller(request, scope="predict")
    made = creating.made(caller, lambda sent, wrong: oxen_create.queued(caller, sent, wrong), oxen_create.count)
    told = [{"generation_id": str(each.id), "status": Status.QUEUED.value} for each in made.created]
    return _replayed(made, jsonify(generations=told, **_namespace(made)))


@door.get("/api/ai/queue/<generation>")
def read(generation: str) -> Response:
    caller = _reader()
    wished = polls.wish(request)
    looked = polls.look(body.prediction_id(generation), caller.tenant_id, caller.key_id, wished, words.told)
    response = Response(looked.answer.body, mimetype="application/json")
    if not looked.answer.ended:
        response.headers["Retry-After"] = str(1 if looked.waited else looked.answer.retry_after)
    return response


@door.delete("/api/ai/queue/<generation>")
def cancel(generation: str) -> Response:
    caller = services().authenticator.caller(request, scope="cancel")
    services().authenticator.count_read(caller)
    wanted = body.prediction_id(generation)
    with services().database.session_scope() as session:
        lifecycle.cancel(session, wanted, caller.tenant_id)
    polls.look(wanted, caller.tenant_id, caller.key_id, polls.Wish(), words.told)
    return jsonify(status="success", generation_id=str(wanted))


@door.get("/api/ai/queue")
def queue() -> Response:
    caller = _reader()
    wanted = oxen_lists.active(request)
    with services().database.read_scope() as connection:
        page = history.page(connection, caller.tenant_id, wanted, limit=oxen_lists.MOST_AT_ONCE)
    return jsonify(count=page.total, generations=[words.listed(each) for each in page.entries])


@door.get("/api/ai/generations")
def generations() -> Response:
    caller = _reader()
    asked = oxen_lists.asked(request)
    with services().database.read_scope() as connection:
        page = history.page(connection, caller.tenant_id, asked.wanted, limit=asked.size, offset=asked.offset)
        cost = history.device_seconds(connection, caller.tenant_id, asked.wanted)
    return jsonify(oxen_lists.told(page, asked, cost))


def _reader() -> Caller:
    caller = services().authenticator.caller(request, scope="read")
    services().authenticator.count_read(caller)
    return caller


def _waiting_caller() -> Caller:
    caller = services().authenticator.caller(request, scope="predict")
    services().authenticator.require(caller, "read")
    return caller


def _pictures(caller: Caller, made: creating.Made) -> Response:
    """Wait for the one picture; raises `WithoutPictures` if it does not come, or not in time."""
    created, form = made.created[0], made.sent.get("response_format") or "url"
    render = words.told_with_data if str(form).lower() == "b64_json" else words.told
    answer = held.pictures(caller, created, held.seconds(request), render)
    generation: dict[str, Any] = json.loads(answer.body)
    if generation["error_code"] is not None:
        raise WithoutPictures(generation["error_code"], generation["error_message"], created.id)
    told = {
        "model": made.sent["model"],
        "created": generation["enqueued_at"],
        "images": generation["images"],
        "generation_id": generation["generation_id"],
        "notices": generation["notices"],
    }
    return _replayed(made, jsonify(**told, **_namespace(made)))


def _namespace(made: creating.Made) -> Mapping[str, Any]:
    said = made.sent.get("target_namespace")
    return {} if said is None else {"target_namespace": said}


def _replayed(made: creating.Made, response: Response) -> Response:
    if any(each.replayed for each in made.created):
        response.headers["Idempotent-Replayed"] = "true"
    return response
