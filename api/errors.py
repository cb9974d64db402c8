"""Errors on the wire: the only place that knows which HTTP number a code has.

Every error is `{"status", "error", "code", "details"}`, or what the door says instead; never an HTML page, never a
traceback.
"""

import logging
import math
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from flask import Flask, Response, current_app, jsonify, request
from werkzeug.exceptions import HTTPException

from api import limits
from api.codes import ERRORS, number_and_meaning
from api.held import WithoutPictures
from fluxfarm.errors import FieldError, FluxfarmError, LimitReached

log = logging.getLogger("fluxfarm")

HTTP_CODES = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "body_too_large",
    415: "unsupported_media_type",
    416: "range_not_satisfiable",
}
MESSAGES = {
    404: "There is nothing at this path; /docs lists what there is.",
    405: "This path does not take this method; the header Allow lists those it takes.",
    413: "The body is larger than this service takes.",
}
INTERNAL = "Something broke on our side; the request id is in X-Request-Id."
RETRY_SECONDS = 2
"""After this long a part that was away may be back."""


NAME = "error manners"


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error, as any door may tell it."""

    status: int
    """The HTTP number."""
    message: str
    code: str
    details: tuple[FieldError, ...] = ()
    prediction: uuid.UUID | None = None
    """What a held call was for."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How a door tells of errors on the paths that begin so."""

    prefixes: tuple[str, ...]
    body: Callable[[Refusal], Mapping[str, Any]]
    numbers: Mapping[str, int] = field(default_factory=dict)
    """HTTP numbers of codes that are others there."""


def error_body(status: int, message: str, code: str, details: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"status": status, "error": message, "code": code, "details": details or [], "docs": f"/docs#{code}"}


def register(app: Flask, manners: tuple[Manner, ...] = ()) -> None:
    """Answer every error of this application in the one shape, or in the manner of the door."""
    app.extensions[NAME] = manners
    app.register_error_handler(FluxfarmError, _domain_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)


def _domain_error(error: FluxfarmError) -> tuple[Response, int]:
    refusal = _refusal(error)
    if refusal is None:
        return _unexpected(error)
    status = refusal.status
    response, number = _told(refusal)
    retry_after = RETRY_SECONDS if status == 503 else None  # noqa: PLR2004 (a part is away)
    if error.retry_after is not None:
        retry_after = max(1, math.ceil(error.retry_after))
    if retry_after is not None:
        response.headers["Retry-After"] = str(retry_after)
    if isinstance(error, LimitReached) and error.limits is not None:
        limits.tell(error.limits)
    if status == 401:  # noqa: PLR2004 (no valid key)
        response.headers["WWW-Authenticate"] = 'Bearer realm="fluxfarm"'
    return response, number


def _refusal(error: FluxfarmError) -> Refusal | None:
    """None if no client should ever have met it."""
    if isinstance(error, WithoutPictures):
        status, _ = number_and_meaning(error.reason)
        return Refusal(status, error.message, error.reason, prediction=error.prediction)
    if error.code not in ERRORS or error.code == FluxfarmError.code:
        return None
    return Refusal(ERRORS[error.code][0], error.message, error.code, error.details)


def _http_error(error: HTTPException) -> tuple[Response, int]:
    status = error.code or 500
    if status not in HTTP_CODES:
        return _unexpected(error)
    message = MESSAGES.get(status) or error.description or error.name
    response, number = _told(Refusal(status, message, HTTP_CODES[status]))
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    return response, number


def _unexpected(error: Exception) -> tuple[Response, int]:
    log.error("a request failed", exc_info=error)
    return _told(Refusal(500, INTERNAL, FluxfarmError.code))


def _told(refusal: Refusal) -> tuple[Response, int]:
    """In the manner of the door that was asked, or in our own."""
    manners: tuple[Manner, ...] = current_app.extensions[NAME]
    for manner in manners:
        if request.path.startswith(manner.prefixes):
            said = replace(refusal, status=manner.numbers.get(refusal.code, refusal.status))
            return jsonify(manner.body(said)), said.status
    details = [{"field": d.field, "message": d.message, "sent": d.sent} for d in refusal.details]
    return jsonify(error_body(refusal.status, refusal.message, refusal.code, details)), refusal.status
