"""Every method of every path: what it takes, and what it may answer."""

from dataclasses import dataclass
from typing import Any

from api.openapi import shapes

JSON = "application/json"
PICTURES = ("image/webp", "image/jpeg", "image/png")

RATE = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")
CONCURRENCY = ("X-Concurrency-Limit", "X-Concurrency-Remaining")
PICTURE_HEADERS = (
    "ETag",
    "Accept-Ranges",
    "Content-Disposition",
    "Content-Security-Policy",
    "Cross-Origin-Resource-Policy",
)
PAGE_HEADERS = ("Content-Security-Policy", "Referrer-Policy")

KEYED = ("unauthenticated", "forbidden", "rate_limited", "unavailable")


@dataclass(frozen=True, slots=True)
class Answer:
    """One successful answer: a named schema or a media type, and its headers beside those on every answer."""

    description: str
    schema: str | dict[str, Any] | None = None
    media_types: tuple[str, ...] = (JSON,)
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    name: str
    method: str
    path: str
    summary: str
    description: str
    answers: dict[int, Answer]
    errors: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    scope: str | None = None
    body: str | None = None
    same_as: str | None = None


CREATE = Operation(
    "createPrediction",
    "post",
    "/v1/prediction",
    "Create a prediction",
    "Takes the request and answers at once; the pictures are rendered later. With several faults every wrong field is"
    ' named in `details`. Numbers may be sent as text (`"28"`), and null means that a field is left out.',
    {200: Answer("It is in the queue.", "Created", headers=(*RATE, *CONCURRENCY))},
    (
        *("bad_request", "invalid_input", "model_not_found", "safety_checker_required", "tenant_suspended"),
        "model_not_allowed",
        *("body_too_large", "unsupported_media_type", "concurrency_limited", "queue_full", *KEYED),
    ),
    parameters=("Expires-After", "X-Request-Id", "X-Test-Outcome", "traceparent"),
    scope="predict",
    body="CreateRequest",
)

OPERATIONS = (
    CREATE,
    Operation(
        **{name: getattr(CREATE, name) for name in ("method", "answers", "errors", "parameters", "scope", "body")},
        name="createPredictionSlash",
        path="/v1/prediction/",
        summary="Create a prediction, with the slash that some clients send",
        description="The same as without the slash; there is no redirect between the two.",
        same_as=CREATE.name,
    ),
    Operation(
        "getPrediction",
        "get",
        "/v1/prediction/{prediction}",
        "Look at a prediction",
        "Ask again after `Retry-After` seconds while it is `starting` or `processing`."
        " Unknown ids and those of other tenants get the same answer.",
        {200: Answer("Where it stands.", "Prediction", headers=(*RATE, "Retry-After"))},
        ("not_found", *KEYED),
        parameters=("prediction", "X-Request-Id"),
        scope="read",
    ),
    Operation(
        "cancelPrediction",
        "post",
        "/v1/prediction/{prediction}/cancel",
        "Cancel a prediction",
        "What waits ends at once; what is being rendered ends within a step or so. What has ended stays as it is.",
        {200: Answer("What became of it.", "Cancelled", headers=RATE)},
        ("not_found", *KEYED),
        parameters=("prediction", "X-Request-Id"),
        scope="cancel",
    ),
    Operation(
        "listModels",
        "get",
        "/v1/models",
        "List the models",
        "Needs no key.",
        {200: Answer("The models served here.", {"type": "array", "items": shapes.ref("Model")}, headers=RATE)},
        ("invalid_input", "rate_limited"),
        parameters=("name", "limit", "offset"),
    ),
    Operation(
        "getModel",
        "get",
        "/v1/model",
        "Describe a model",
        "Needs no key. `request_schema` is what `input` is validated against.",
        {200: Answer("The model.", "Model", headers=RATE)},
        ("invalid_input", "model_not_found", "rate_limited"),
        parameters=("slug",),
    ),
    Operation(
        "getPicture",
        "get",
        "/files/{prediction}/{name}",
        "Fetch a picture through its link",
        "Links come with the prediction and live exactly as long as their picture. No key is needed, and one that is"
        " sent is not looked at. `HEAD`, `Range`, `If-Range` and `If-None-Match` work.",
        {
            200: Answer("The picture.", media_types=PICTURES, headers=PICTURE_HEADERS),
            206: Answer("A part of it.", media_types=PICTURES, headers=(*PICTURE_HEADERS, "Content-Range")),
            302: Answer("It lies elsewhere; never sent to a request that carries a key.", headers=("Location",)),
            304: Answer("It has not changed.", headers=PICTURE_HEADERS),
        },
        ("link_invalid", "not_found", "object_missing", "range_not_satisfiable", "unavailable"),
        parameters=("prediction", "file name", "exp", "sig", "download", "Range", "If-Range", "If-None-Match"),
    ),
    Operation(
        "isAlive",
        "get",
        "/healthz",
        "Tell whether this process lives",
        "Asks no other part.",
        {200: Answer("It does.", "Health")},
    ),
    Operation(
        "isReady",
        "get",
        "/readyz",
        "Tell whether predictions can be taken",
        "200 also while degraded: without Redis, or without a worker.",
        {200: Answer("They can.", "Readiness"), 503: Answer("They cannot.", "Readiness")},
    ),
    Operation(
        "getOpenApi",
        "get",
        "/openapi.json",
        "This API as OpenAPI 3.1",
        "Needs no key.",
        {200: Answer("The document.", {"type": "object"}, headers=RATE)},
        ("rate_limited",),
    ),
    Operation(
        "getDocs",
        "get",
        "/docs",
        "This API for people",
        "Needs no key.",
        {200: Answer("One HTML page.", media_types=("text/html",), headers=(*PAGE_HEADERS, *RATE))},
        ("rate_limited",),
    ),
    Operation(
        "getFrontPage",
        "get",
        "/",
        "What runs here, for people",
        "Needs no key. Models, live workers, what waits, and the way to the documentation.",
        {200: Answer("One HTML page.", media_types=("text/html",), headers=(*PAGE_HEADERS, *RATE))},
        ("rate_limited",),
    ),
)
