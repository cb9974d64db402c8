"""Errors on the wire: the only place that knows which HTTP number a code has.

Every error is `{"status", "error", "code", "details"}`; never an HTML page, never a traceback.
"""

import logging
import math
from typing import Any

from flask import Flask, Response, jsonify
from werkzeug.exceptions import HTTPException

from api import limits
from fluxfarm import errors
from fluxfarm.errors import FluxfarmError, LimitReached

log = logging.getLogger("fluxfarm")

NUMBERS: dict[type[FluxfarmError], int] = {
    errors.InvalidInput: 400,
    errors.ModelNotFound: 404,
    errors.NotFound: 404,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.LimitReached: 429,
    errors.Unavailable: 503,
}
HTTP_CODES = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "body_too_large",
    415: "unsupported_media_type",
    416: "range_not_satisfiable",
}
NO_SUCH_PATH = "There is nothing at this path; /docs lists what there is."


def error_body(status: int, message: str, code: str, details: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"status": status, "error": message, "code": code, "details": details or []}


def register(app: Flask) -> None:
    """Answer every error of this application in the one shape."""
    app.register_error_handler(FluxfarmError, _domain_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)


def _domain_error(error: FluxfarmError) -> tuple[Response, int]:
    status = next((number for kind, number in NUMBERS.items() if isinstance(error, kind)), 500)
    if status == 500:  # noqa: PLR2004 (no number was found for it)
        return _unexpected(error)
    details = [{"field": d.field, "message": d.message, "sent": d.sent} for d in error.details]
    response = jsonify(error_body(status, error.message, error.code, details))
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    if isinstance(error, LimitReached) and error.limits is not None:
        limits.tell(error.limits)
    if status == 401:  # noqa: PLR2004 (Unauthenticated)
        response.headers["WWW-Authenticate"] = 'Bearer realm="fluxfarm"'
    return response, status


def _http_error(error: HTTPException) -> tuple[Response, int]:
    status = error.code or 500
    message = NO_SUCH_PATH if status == 404 else (error.description or error.name)  # noqa: PLR2004
    response = jsonify(error_body(status, message, HTTP_CODES.get(status, "http_error")))
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    return response, status


def _unexpected(error: Exception) -> tuple[Response, int]:
    log.error("a request failed", exc_info=error)
    body = error_body(500, "Something broke on our side; the request id is in X-Request-Id.", "internal_error")
    return jsonify(body), 500
