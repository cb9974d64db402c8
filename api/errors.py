"""Errors on the wire: the only place that knows which HTTP number a code has.

Every error is `{"status", "error", "code", "details"}`; never an HTML page, never a traceback.
"""

import logging
import math
from typing import Any

from flask import Flask, Response, jsonify
from werkzeug.exceptions import HTTPException

from api import limits
from api.codes import ERRORS
from fluxfarm.errors import FluxfarmError, LimitReached

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


def error_body(status: int, message: str, code: str, details: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"status": status, "error": message, "code": code, "details": details or [], "docs": f"/docs#{code}"}


def register(app: Flask) -> None:
    """Answer every error of this application in the one shape."""
    app.register_error_handler(FluxfarmError, _domain_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)


def _domain_error(error: FluxfarmError) -> tuple[Response, int]:
    if error.code not in ERRORS or error.code == FluxfarmError.code:
        return _unexpected(error)
    status = ERRORS[error.code][0]
    details = [{"field": d.field, "message": d.message, "sent": d.sent} for d in error.details]
    response = jsonify(error_body(status, error.message, error.code, details))
    retry_after = RETRY_SECONDS if status == 503 else None  # noqa: PLR2004 (a part is away)
    if error.retry_after is not None:
        retry_after = max(1, math.ceil(error.retry_after))
    if retry_after is not None:
        response.headers["Retry-After"] = str(retry_after)
    if isinstance(error, LimitReached) and error.limits is not None:
        limits.tell(error.limits)
    if status == 401:  # noqa: PLR2004 (no valid key)
        response.headers["WWW-Authenticate"] = 'Bearer realm="fluxfarm"'
    return response, status


def _http_error(error: HTTPException) -> tuple[Response, int]:
    status = error.code or 500
    if status not in HTTP_CODES:
        return _unexpected(error)
    message = MESSAGES.get(status) or error.description or error.name
    response = jsonify(error_body(status, message, HTTP_CODES[status]))
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    return response, status


def _unexpected(error: Exception) -> tuple[Response, int]:
    log.error("a request failed", exc_info=error)
    return jsonify(error_body(500, INTERNAL, FluxfarmError.code)), 500
