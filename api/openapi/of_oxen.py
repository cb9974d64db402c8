"""Oxen's door: its operations and shapes."""

from typing import Final

from api.codes import CANCELLATIONS, FAILURES
from api.openapi.operation import CONCURRENCY, CREATES, EVENT_STREAM, KEYED, RATE, Answer, Operation
from api.openapi.values import COUNT, ID, LINK, NOTICES, TEXT, TEXT_OR_NULL, Schema, closed, ref, said
from fluxfarm.outcomes import Safety
from fluxfarm.status import Status

UNIX: Final[Schema] = {"type": "integer", "minimum": 0}
UNIX_OR_NULL: Final[Schema] = {"type": ["integer", "null"]}
LINK_OR_NULL: Final[Schema] = {"type": ["string", "null"], "format": "uri"}
NUMBER: Final[Schema] = {"type": "number", "minimum": 0}

PICTURE: Final = closed(
    {
        "url": said(LINK, "A signed link; with `response_format: url`."),
        "b64_json": said(TEXT, "The file in base64; with `response_format: b64_json`."),
        "content_type": TEXT,
        "width": COUNT,
        "height": COUNT,
        "seed": COUNT,
        "safety": said(
            {"enum": [*Safety]}, "What the safety checkers found; `skipped` by wish, `unchecked` without any."
        ),
        "safety_score": said({"type": ["number", "null"]}, "What the checker gave; null if none looked at it."),
    },
    required=("content_type", "width", "height", "seed", "safety", "safety_score"),
)
OF_A_GENERATION: Final[dict[str, Schema]] = {
    "generation_id": ID,
    "model_name": TEXT,
    "prompt": TEXT_OR_NULL,
    "media_type": {"const": "image"},
    "status": {"enum": [status.value for status in Status]},
    "result_url": LINK_OR_NULL,
    "images": {"type": "array", "items": ref("OxenImage")},
    "error_message": TEXT_OR_NULL,
    "error_code": {"enum": [*FAILURES, *CANCELLATIONS, None]},
    "enqueued_at": UNIX,
    "started_at": UNIX_OR_NULL,
    "completed_at": UNIX_OR_NULL,
    "expires_at": UNIX_OR_NULL,
    "cost": said(NUMBER, "Nothing has a price here: it is what the generation took, in `cost_unit`."),
    "cost_unit": {"const": "device_seconds"},
}
"""In lists, too, where there are no notices."""
GENERATION: Final[Schema] = {
    **closed({**OF_A_GENERATION, "notices": NOTICES}, required=(*OF_A_GENERATION,)),
    "additionalProperties": True,
    "description": "A generation, and beside it the fields that it was asked for with.",
}
MODEL: Final = closed(
    {
        "id": said(TEXT, "The name to ask for; each of `aliases` does too."),
        "object": {"const": "model"},
        "created": COUNT,
        "owned_by": TEXT,
        "display_name": TEXT,
        "description": TEXT,
        "aliases": {"type": "array", "items": TEXT},
        "endpoint": said(TEXT, "The call that it is for."),
        "capabilities": closed({name: {"type": "array", "items": TEXT} for name in ("input", "output")}),
        "pricing": closed({"method": TEXT, "cost_per_image": {"type": "null"}}),
        "deployments": {"type": "array", "items": {"type": "object"}},
        "stand_in": {"type": "boolean"},
        "license": TEXT,
        "license_url": LINK,
        "card": {"anyOf": [ref("Card"), {"type": "null"}]},
        "request_schema": said({"type": "object"}, "JSON Schema of a body that creates."),
        "json_request_schema": said({"type": "object"}, "The same."),
    }
)
ERROR: Final = closed(
    {
        "error": closed(
            {
                "type": said(TEXT, "`unauthenticated`, `invalid_params`, `resource_not_found`, or as `code`."),
                "title": TEXT,
                "detail": TEXT,
                "message": TEXT,
                "code": said(TEXT, "One of the error or failure codes."),
                "details": {"type": "array", "items": ref("FieldError")},
            }
        ),
        "status": {"const": "error"},
        "status_message": TEXT,
        "generation_id": said(ID, "What the call was for, where it goes on or failed."),
    },
    required=("error", "status", "status_message"),
)
NAMESPACE: Final[Schema] = {"target_namespace": said(TEXT, "As it was sent.")}
QUEUED: Final = closed({"generation_id": ID, "status": {"const": "queued"}})
SHAPES: Final = {
    "OxenImage": PICTURE,
    "OxenGeneration": GENERATION,
    "OxenModel": MODEL,
    "OxenError": ERROR,
    "OxenImages": closed(
        {
            "model": TEXT,
            "created": UNIX,
            "images": {"type": "array", "items": ref("OxenImage")},
            "generation_id": ID,
            "notices": NOTICES,
            **NAMESPACE,
        },
        required=("model", "created", "images", "generation_id", "notices"),
    ),
    "OxenQueued": closed(
        {"generations": {"type": "array", "items": QUEUED}, **NAMESPACE},
        required=("generations",),
    ),
    "OxenQueue": closed({"count": COUNT, "generations": {"type": "array", "items": ref("OxenGeneration")}}),
    "OxenHistory": closed(
        {
            "generations": {"type": "array", "items": ref("OxenGeneration")},
            **dict.fromkeys(("count", "page", "page_size", "total_entries", "total_pages"), COUNT),
            "total_capped": said({"type": "boolean"}, "There are more."),
            "total_cost": said(NUMBER, "Of all that the filters leave, up to 10,000."),
            "cost_unit": {"const": "device_seconds"},
        }
    ),
    "OxenCancelled": closed({"status": {"const": "success"}, "generation_id": ID}),
    "OxenModels": closed({"object": {"const": "list"}, "data": {"type": "array", "items": ref("OxenModel")}}),
}

EDIT: Final[Schema] = {
    "type": "object",
    "description": "As for a picture without another, and `input_image`.",
    "properties": {
        "model": TEXT,
        "input_image": said({}, "An http(s) URL or a data URI, or a list of one."),
        "prompt": TEXT,
    },
    "required": ["model", "input_image"],
}

HELD: Final = (*CREATES, *FAILURES, *CANCELLATIONS, "cancelled", "still_running")
SENT: Final = ("Idempotency-Key", "Expires-After", "Cancel-After", "X-Request-Id", "X-Test-Outcome", "traceparent")
CREATED: Final = (*RATE, *CONCURRENCY, "Idempotent-Replayed")
PICTURES: Final = {200: Answer("The pictures.", "OxenImages", headers=CREATED)}
WAITS: Final = (
    "As Oxen has it. The call is held until the picture is there, as long as the deployment says: 300 s by default."
    " What takes longer goes on, and is answered with `still_running` and the `generation_id` to poll."
)


def _operation(name: str, method: str, path: str, summary: str, description: str, **more: object) -> Operation:
    return Operation(name, method, path, summary, description, refusal="OxenError", **more)  # type: ignore[arg-type]


OXEN: Final = (
    _operation(
        "oxenGenerate",
        "post",
        "/api/ai/images/generate",
        "Oxen: make a picture and wait for it",
        WAITS,
        answers=PICTURES,
        errors=HELD,
        parameters=("hold", "Prefer", *SENT),
        scope="predict",
        body="OxenRequest",
    ),
    _operation(
        "oxenEdit",
        "post",
        "/api/ai/images/edit",
        "Oxen: make a picture from another and wait for it",
        "`input_image` is the picture that the model starts from, whatever its own name for it. " + WAITS,
        answers=PICTURES,
        errors=HELD,
        parameters=("hold", "Prefer", *SENT),
        scope="predict",
        body="OxenEditRequest",
    ),
    _operation(
        "oxenEnqueue",
        "post",
        "/api/ai/queue",
        "Oxen: have one to four pictures made",
        "Of `num_generations`, all are taken or none; each has an id and a seed of its own.",
        answers={200: Answer("They wait.", "OxenQueued", headers=CREATED)},
        errors=CREATES,
        parameters=SENT,
        scope="predict",
        body="OxenRequest",
    ),
    _operation(
        "oxenQueue",
        "get",
        "/api/ai/queue",
        "Oxen: list generations that have not ended",
        "The latest 100 of the tenant, whichever door they came by; with `status` others.",
        answers={200: Answer("They.", "OxenQueue", headers=RATE)},
        errors=("invalid_input", "model_not_found", *KEYED),
        parameters=("model filter", "oxen status", "media type"),
        scope="read",
    ),
    _operation(
        "oxenGeneration",
        "get",
        "/api/ai/queue/{generation}",
        "Oxen: look at a generation",
        "`wait` and `until` hold the call, as for a prediction.",
        answers={200: Answer("Where it stands.", "OxenGeneration", headers=(*RATE, "Retry-After"))},
        errors=("invalid_input", "not_found", *KEYED),
        parameters=("generation", "wait", "until", "since", "Prefer", "X-Request-Id"),
        scope="read",
    ),
    _operation(
        "oxenCancel",
        "delete",
        "/api/ai/queue/{generation}",
        "Oxen: cancel a generation",
        "Queued or being rendered; what has ended stays as it is.",
        answers={200: Answer("It is wished.", "OxenCancelled", headers=RATE)},
        errors=("not_found", *KEYED),
        parameters=("generation", "X-Request-Id"),
        scope="cancel",
    ),
    _operation(
        "oxenHistory",
        "get",
        "/api/ai/generations",
        "Oxen: list all generations, with what they took",
        "The latest first, page by page.",
        answers={200: Answer("A page.", "OxenHistory", headers=RATE)},
        errors=("invalid_input", "model_not_found", *KEYED),
        parameters=("page", "page size", "model filter", "oxen status", "media type"),
        scope="read",
    ),
    _operation(
        "oxenEvents",
        "get",
        "/api/events",
        "Oxen: hear of what ends",
        "Server-sent events of the whole tenant: `media_generation_completed` (`generation_id`, `status`,"
        " `media_type`, `model`, `url`, `error`) for each that has succeeded or failed. Nothing is told twice or"
        " kept: subscribe before you enqueue. A comment every 15 s keeps the stream open.",
        answers={200: Answer("Their events.", media_types=(EVENT_STREAM,), headers=(*RATE, "X-Accel-Buffering"))},
        errors=KEYED,
        parameters=("X-Request-Id",),
        scope="read",
    ),
    _operation(
        "oxenModels",
        "get",
        "/api/ai/models",
        "Oxen: list the models",
        "Needs no key.",
        answers={200: Answer("They.", "OxenModels", headers=RATE)},
        errors=("rate_limited",),
    ),
    _operation(
        "oxenSearch",
        "get",
        "/api/ai/models/search",
        "Oxen: search the models",
        "Needs no key.",
        answers={200: Answer("Those found.", "OxenModels", headers=RATE)},
        errors=("rate_limited",),
        parameters=("search",),
    ),
    _operation(
        "oxenModel",
        "get",
        "/api/ai/models/{name}",
        "Oxen: describe a model",
        "Needs no key. The name may hold a slash.",
        answers={200: Answer("The model.", "OxenModel", headers=RATE)},
        errors=("model_not_found", "rate_limited"),
        parameters=("model name",),
    ),
)
