"""The headers of answers, as OpenAPI speaks of them."""

from api.openapi.values import COUNT, ID, LINK, TEXT, Schema


def _header(schema: Schema, description: str) -> Schema:
    return {"schema": schema, "description": description}


HEADERS: dict[str, Schema] = {
    "X-Request-Id": _header(TEXT, "The request's id, as sent or made up; on every answer."),
    "X-Content-Type-Options": _header({"const": "nosniff"}, "On every answer."),
    "Cache-Control": _header(TEXT, "`no-store`, but for pictures."),
    "RateLimit-Limit": _header(COUNT, "Calls of this kind within a minute."),
    "RateLimit-Remaining": _header(COUNT, "Calls that are left."),
    "RateLimit-Reset": _header(COUNT, "Seconds until the oldest call leaves the window."),
    "X-Concurrency-Limit": _header(COUNT, "Active predictions that the key may have."),
    "X-Concurrency-Remaining": _header(COUNT, "Active predictions that it may still add."),
    "Idempotent-Replayed": _header({"const": "true"}, "It was there already: what was sent before is answered again."),
    "Retry-After": _header(COUNT, "Seconds after which asking again may pay."),
    "Allow": _header(TEXT, "The methods that the path takes."),
    "WWW-Authenticate": _header(TEXT, "How to authenticate."),
    "ETag": _header(TEXT, "Of a picture its SHA-256; of a prediction another one, weak, with any news of it."),
    "X-Accel-Buffering": _header({"const": "no"}, "Tells nginx to pass each event on at once."),
    "Accept-Ranges": _header({"const": "bytes"}, "Ranges of bytes may be asked for."),
    "Content-Range": _header(TEXT, "Which bytes of how many."),
    "Content-Disposition": _header(TEXT, "The picture's file name."),
    "Content-Security-Policy": _header(TEXT, "Nothing in it may run or load anything."),
    "Cross-Origin-Resource-Policy": _header(TEXT, "Pages of any origin may show it."),
    "Referrer-Policy": _header(TEXT, "The page tells other sites nothing."),
    "Location": _header(LINK, "Where to go."),
    "nvcf-reqid": _header(ID, "The prediction's id."),
    "nvcf-status": _header({"enum": ["fulfilled", "pending-evaluation"]}, "Whether it has ended."),
}
