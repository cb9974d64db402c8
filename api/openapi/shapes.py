"""The shapes that OpenAPI speaks of: objects, headers, parameters and ways to authenticate."""

from typing import Any

from api.codes import ERRORS, FAILURES
from fluxfarm import inputs
from fluxfarm.catalog import Catalog
from fluxfarm.status import Stage

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
COUNT: Schema = {"type": "integer", "minimum": 0}
SECONDS: Schema = {"type": "number", "minimum": 0}
MOMENT: Schema = {"type": "string", "format": "date-time", "examples": ["2026-01-31T12:00:00.000Z"]}
MOMENT_OR_NULL: Schema = {**MOMENT, "type": ["string", "null"]}
LINK: Schema = {"type": "string", "format": "uri"}
ID: Schema = {"type": "string", "format": "uuid"}

SECURITY: dict[str, Schema] = {
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "bearer": {"type": "http", "scheme": "bearer", "description": "The same key; `Key` and `Token` work too."},
}


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def schemas(catalog: Catalog) -> dict[str, Schema]:
    """Every named object; the inputs come from the declaration that validates them."""
    of_inputs = {f"{slug}.input": inputs.schema(model) for slug, model in catalog.models.items()}
    for schema in of_inputs.values():
        del schema["$schema"]
    requests = [_request(slug) for slug in catalog.models]
    request = requests[0] if len(requests) == 1 else {"oneOf": requests}
    return {"CreateRequest": request, **of_inputs, **FIXED}


def _request(slug: str) -> Schema:
    properties = {
        "model": {"const": slug, "description": "The model that shall render it."},
        "version": {
            **TEXT_OR_NULL,
            "description": "Taken, but there is one version of a model at a time; the prediction says which it was.",
        },
        "priority": {
            "enum": ["normal", "low", None],
            "description": "`low` starts only while no normal prediction of the model waits. Left out: normal.",
        },
        "input": ref(f"{slug}.input"),
    }
    return _object(properties, required=("model", "input"), title=f"A prediction of {slug}")


def _object(properties: dict[str, Schema], *, required: tuple[str, ...] | None = None, **more: Any) -> Schema:
    wanted = list(properties) if required is None else list(required)
    return {"type": "object", **more, "properties": properties, "required": wanted, "additionalProperties": False}


def _parameter(name: str, place: str, schema: Schema, description: str) -> Schema:
    return {"name": name, "in": place, "required": place == "path", "schema": schema, "description": description}


def _said(schema: Schema, description: str) -> Schema:
    return {**schema, "description": description}


def _header(schema: Schema, description: str) -> Schema:
    return {"schema": schema, "description": description}


PARAMETERS: dict[str, Schema] = {
    "prediction": _parameter("prediction", "path", ID, "The id that creating it gave."),
    "file name": _parameter("name", "path", {**TEXT, "examples": ["0.webp"]}, "Place of the picture, and its format."),
    "exp": {**_parameter("exp", "query", COUNT, "When the link ends, in seconds since 1970."), "required": True},
    "sig": {**_parameter("sig", "query", TEXT, "The signature of the link."), "required": True},
    "download": _parameter(
        "download", "query", {"const": "1"}, "Makes browsers save it as `<model>_<seed>_<short id>.<format>`."
    ),
    "name": _parameter("name", "query", TEXT, "Only models whose name contains this."),
    "limit": _parameter("limit", "query", {"type": "integer", "minimum": 1, "maximum": 500, "default": 50}, "At most."),
    "offset": _parameter("offset", "query", {**COUNT, "maximum": 1_000_000, "default": 0}, "How many to leave out."),
    "slug": {**_parameter("slug", "query", {**TEXT, "examples": ["flux-dev"]}, "The model's name."), "required": True},
    "X-Request-Id": _parameter(
        "X-Request-Id",
        "header",
        {**TEXT, "pattern": "^[A-Za-z0-9._-]{1,64}$"},
        "Names the request in answers and logs.",
    ),
    "Expires-After": _parameter(
        "Expires-After",
        "header",
        {**TEXT, "pattern": r"^\s*[1-9][0-9]{0,8}\s*[smhd]?\s*$", "examples": ["1h"]},
        "Keep the pictures for this long after the end, if that is shorter than the tenant's retention: at least `5m`.",
    ),
    "X-Test-Outcome": _parameter(
        "X-Test-Outcome",
        "header",
        {**TEXT, "examples": ["error=queue_timeout", "content_blocked", "slow=2.5", "worker_lost"]},
        "On stand-in weights only: how the prediction is to end, so that a program can be tried on it.",
    ),
    "traceparent": _parameter("traceparent", "header", TEXT, "W3C trace context; handed on to the worker."),
    "Range": _parameter("Range", "header", {**TEXT, "examples": ["bytes=0-1023"]}, "One range of bytes."),
    "If-Range": _parameter("If-Range", "header", TEXT, "The `ETag` that the range is meant for."),
    "If-None-Match": _parameter("If-None-Match", "header", TEXT, "An `ETag` that the caller has already."),
}

HEADERS: dict[str, Schema] = {
    "X-Request-Id": _header(TEXT, "The request's id, as sent or made up; on every answer."),
    "X-Content-Type-Options": _header({"const": "nosniff"}, "On every answer."),
    "Cache-Control": _header(TEXT, "`no-store`, but for pictures."),
    "RateLimit-Limit": _header(COUNT, "Calls of this kind within a minute."),
    "RateLimit-Remaining": _header(COUNT, "Calls that are left."),
    "RateLimit-Reset": _header(COUNT, "Seconds until the oldest call leaves the window."),
    "X-Concurrency-Limit": _header(COUNT, "Active predictions that the key may have."),
    "X-Concurrency-Remaining": _header(COUNT, "Active predictions that it may still add."),
    "Retry-After": _header(COUNT, "Seconds after which asking again may pay."),
    "Allow": _header(TEXT, "The methods that the path takes."),
    "WWW-Authenticate": _header(TEXT, "How to authenticate."),
    "ETag": _header(TEXT, "The picture's SHA-256."),
    "Accept-Ranges": _header({"const": "bytes"}, "Ranges of bytes may be asked for."),
    "Content-Range": _header(TEXT, "Which bytes of how many."),
    "Content-Disposition": _header(TEXT, "The picture's file name."),
    "Content-Security-Policy": _header(TEXT, "Nothing in it may run or load anything."),
    "Cross-Origin-Resource-Policy": _header(TEXT, "Pages of any origin may show it."),
    "Referrer-Policy": _header(TEXT, "The page tells other sites nothing."),
    "Location": _header(LINK, "Where to go."),
}

CROP = _object(dict.fromkeys(("left", "top", "right", "bottom"), COUNT), type=["object", "null"])
SAFETY = {"enum": ["safe", "unchecked"]}

IMAGE = _object(
    {
        "url": _said(LINK, "A signed link, or a data URI if `output_encoding` asked for one."),
        "width": COUNT,
        "height": COUNT,
        "rendered_width": _said(COUNT, "What the model drew, before it was enlarged."),
        "rendered_height": COUNT,
        "crop": _said(CROP, "The part of the input picture that was kept, in its pixels; null if all of it."),
        "content_type": {"enum": ["image/webp", "image/jpeg", "image/png"]},
        "bytes": _said(COUNT, "Size of the file."),
        "sha256": {**TEXT, "pattern": "^[0-9a-f]{64}$"},
        "seed": _said(COUNT, "The seed that was used."),
        "safety": _said(SAFETY, "`unchecked` where no checker is configured, or the caller disabled it."),
        "safety_score": {"type": ["number", "null"]},
    }
)

METRICS = _object(
    {
        "predict_time": _said(SECONDS, "Seconds since a worker took it, or that it took."),
        "queue_time": _said(SECONDS, "Seconds in the queue."),
        "total_time": _said(SECONDS, "Seconds since it was created, or until it ended."),
        "device_time": _said({"type": ["number", "null"]}, "Seconds on the device; null until it has ended."),
    }
)

PROGRESS = _object(
    {
        "step": COUNT,
        "steps": COUNT,
        "image": _said(COUNT, "The picture that is being rendered, from 1."),
        "images": COUNT,
        "stage": {"enum": [*(stage.value for stage in Stage), "starting", "processing", "done", "error", "cancelled"]},
    }
)

QUEUE = _object(
    {
        "position": _said(COUNT, "1 is next; 0 is being rendered."),
        "eta_seconds": _said(SECONDS, "Until the pictures may be expected."),
    },
    type=["object", "null"],
)

OUTPUT: Schema = {
    "anyOf": [LINK, {"type": "array", "items": LINK}, {"type": "null"}],
    "description": "A link if one picture was asked for, a list of links if more were; null until it has succeeded.",
}

PREDICTION = _object(
    {
        "id": ID,
        "model": TEXT,
        "version": _said(TEXT, "The version of the model that renders it."),
        "status": {"enum": ["starting", "processing", "success", "error", "cancelled"]},
        "canceling": _said({"type": "boolean"}, "Its owner wishes it to end, and the worker has not yet said so."),
        "input": _said(
            {"type": "object"}, "What was asked for, with the defaults filled in; a picture sent as data as a link."
        ),
        "output": OUTPUT,
        "images": {"type": "array", "items": ref("Image")},
        "logs": _said(TEXT, "Lines as tqdm writes them."),
        "error": _said(TEXT_OR_NULL, "Why it failed, in one sentence."),
        "error_code": _said({"enum": [*FAILURES, None]}, "The same for programs."),
        "notices": _said({"type": "array", "items": TEXT}, "What its owner should know about the pictures."),
        "metrics": METRICS,
        "progress": PROGRESS,
        "queue": _said(QUEUE, "null once it has ended."),
        "urls": _object({"get": LINK, "cancel": LINK}),
        "created_at": MOMENT,
        "started_at": MOMENT_OR_NULL,
        "completed_at": MOMENT_OR_NULL,
        "expires_at": _said(MOMENT_OR_NULL, "When its pictures and their links end; null until it has ended."),
    }
)

MODEL = _object(
    {
        "slug": _said(TEXT, "The name to ask for."),
        "title": TEXT,
        "description": TEXT,
        "version": TEXT,
        "output_type": {"const": "array"},
        "request_schema": _said({"type": "object"}, "JSON Schema of `input`."),
        "licence": TEXT,
        "licence_url": LINK,
        "stand_in": _said(
            {"type": "boolean"}, "Small weights serve it, to try it out: shapes, colours and places only."
        ),
    }
)

ERROR = _object(
    {
        "status": _said({"type": "integer"}, "The HTTP number."),
        "error": _said(TEXT, "What was wrong, in words."),
        "code": _said({"enum": [*ERRORS]}, "The same for programs."),
        "details": {"type": "array", "items": ref("FieldError")},
        "docs": _said(TEXT, "Where the code is explained."),
    }
)

FIXED: dict[str, Schema] = {
    "Created": _object(
        {"status": {"const": "success"}, "message": TEXT, "predictionID": _said(ID, "The id to look at it with.")}
    ),
    "Prediction": PREDICTION,
    "Image": IMAGE,
    "Cancelled": _object(
        {"status": {"enum": ["processing", "success", "error", "cancelled"]}, "message": TEXT, "predictionID": ID}
    ),
    "Model": MODEL,
    "Error": ERROR,
    "FieldError": _object(
        {
            "field": _said({**TEXT, "examples": ["input.seed"]}, "The field's dotted name."),
            "message": _said(TEXT, "What is allowed."),
            "sent": _said({}, "What was sent, shortened."),
        }
    ),
    "Health": _object({"status": {"const": "ok"}}),
    "Readiness": _object(
        {
            "status": {"enum": ["ok", "degraded", "unavailable"]},
            "parts": _object({"postgres": {"enum": ["ok", "away"]}, "schema": TEXT, "redis": {"enum": ["ok", "away"]}}),
            "workers": _said({"type": "object", "additionalProperties": COUNT}, "Live workers of each model."),
        }
    ),
}
