"""NVIDIA's door: pictures in one call, in the words of the visual generative NIM for FLUX.1 [dev]."""

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

from flask import Blueprint, Response, jsonify, request

from api import body, creating, held, polls
from api.asked import Asked
from api.doors import nim_create
from api.doors import nim_words as words
from api.held import WithoutPictures
from api.polls import Wish
from api.seen import Answer
from api.services import services
from fluxfarm.errors import FieldError
from fluxfarm.sent import shortened

door = Blueprint("nim", __name__)

POLL_SECONDS: Final = "NVCF-POLL-SECONDS"
REQUEST_ID: Final = "nvcf-reqid"
STATUS: Final = "nvcf-status"
UNSAID_SECONDS: Final = 60
"""For which a poll is held; a first call is held to the end, if that may be."""


@door.post("/v1/infer")
def infer() -> Response:
    return _infer(nim_create.BASE)


@door.post("/v1/genai/<publisher>/<name>")
def of_publisher(publisher: str, name: str) -> Response:
    return _infer(f"{publisher}/{name}")


@door.get("/v2/nvcf/pexec/status/<prediction>")
def status(prediction: str) -> Response:
    caller = services().authenticator.caller(request, scope="read")
    services().authenticator.count_read(caller)
    wished = Wish(_seconds(UNSAID_SECONDS))
    wanted = body.prediction_id(prediction)
    return _answered(wanted, polls.look(wanted, caller.tenant_id, caller.key_id, wished, words.told).answer)


def _infer(name: str) -> Response:
    """Programs for NIM take any status but 200 for a failure, so the call is held for as long as it may be."""
    caller = services().authenticator.caller(request, scope="predict")
    services().authenticator.require(caller, "read")

    def read(sent: Mapping[str, Any], wrong: Sequence[FieldError]) -> list[Asked]:
        return nim_create.read(caller, sent, wrong)

    seconds = _seconds(_longest())
    created = creating.made(caller, read, path={nim_create.ASKED: name}).created[0]
    response = _answered(created.id, held.look(caller, created.id, seconds, words.told))
    if created.replayed:
        response.headers["Idempotent-Replayed"] = "true"
    return response


def _answered(prediction: uuid.UUID, answer: Answer | None) -> Response:
    """The artifacts; or that they are to be asked for, by the id in the header."""
    ended = answer is not None and answer.ended
    body = json.loads(answer.body) if answer is not None and ended else {"reqId": str(prediction)}
    if "code" in body:
        raise WithoutPictures(body["code"], body["message"], prediction)
    response = jsonify(body)
    response.headers[REQUEST_ID] = str(prediction)
    response.headers[STATUS] = "fulfilled" if ended else "pending-evaluation"
    if not ended:
        response.status_code = 202
        response.headers["Retry-After"] = str((answer and answer.retry_after) or 1)
    return response


def _seconds(unsaid: int) -> int:
    """How long the call may be held, by its header; raises `InvalidInput` if that is no number."""
    sent = request.headers.get(POLL_SECONDS)
    if sent is None:
        return unsaid
    if not polls.DIGITS.fullmatch(sent.strip()):
        raise body.invalid([FieldError(POLL_SECONDS, "must be whole seconds", shortened(sent))])
    return min(int(sent), _longest())


def _longest() -> int:
    return int(services().settings.hold_seconds)
