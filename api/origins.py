"""Pages of other origins that may call this API: those the operator names, and none by default.

Never with credentials: a page sends its key itself, or follows a signed link, and no cookie means anything here.
"""

from flask import Flask, Request, Response, request

from api.bodiless import bodiless

ANY = "*"
METHODS = "GET, POST, PUT, DELETE"
SENT = (
    *("Authorization", "Content-Type", "X-API-Key", "X-Request-Id", "X-Test-Outcome", "Prefer", "If-None-Match"),
    *("Idempotency-Key", "Expires-After", "Cancel-After", "Last-Event-ID", "traceparent", "NVCF-POLL-SECONDS"),
)
SHOWN = (
    *("ETag", "Retry-After", "X-Request-Id", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"),
    *("X-Concurrency-Limit", "X-Concurrency-Remaining", "Idempotent-Replayed", "Content-Disposition"),
    *("nvcf-reqid", "nvcf-status"),
)
REMEMBERED_SECONDS = 7200
"""As long as browsers do at most."""


def register(app: Flask, allowed: tuple[str, ...]) -> None:
    """Let pages of these origins call; `*` stands for all."""
    if not allowed:
        return

    def preflight() -> Response | None:
        asked = request.headers.get("Access-Control-Request-Method")
        return _permission() if request.method == "OPTIONS" and asked and _may(request, allowed) else None

    def add_headers(response: Response) -> Response:
        if ANY not in allowed:
            response.vary.add("Origin")
        if _may(request, allowed):
            origin = ANY if ANY in allowed else request.headers["Origin"]
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = ", ".join(SHOWN)
        return response

    app.before_request(preflight)
    app.after_request(add_headers)


def _may(request: Request, allowed: tuple[str, ...]) -> bool:
    origin = request.headers.get("Origin")
    return origin is not None and (ANY in allowed or origin in allowed)


def _permission() -> Response:
    response = bodiless(204)
    response.headers["Access-Control-Allow-Methods"] = METHODS
    response.headers["Access-Control-Allow-Headers"] = ", ".join(SENT)
    response.headers["Access-Control-Max-Age"] = str(REMEMBERED_SECONDS)
    return response
