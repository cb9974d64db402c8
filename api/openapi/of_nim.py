"""NVIDIA's door: its operations and shapes."""

from typing import Final

from api.codes import CANCELLATIONS, FAILURES
from api.openapi.operation import CONCURRENCY, CREATES, KEYED, RATE, Answer, Operation
from api.openapi.values import COUNT, ID, LINK, NOTICES, TEXT, Schema, closed, ref, said

DETAIL: Final = closed(
    {
        "type": TEXT,
        "loc": said({"type": "array", "items": TEXT}, "`body` and the field."),
        "msg": said(TEXT, "What is allowed."),
        "input": said({}, "What was sent, shortened."),
    }
)
ERROR: Final = closed(
    {
        "status": said({"type": "integer"}, "The HTTP number."),
        "title": TEXT,
        "code": said(TEXT, "One of the error or failure codes."),
        "reqId": said(ID, "What the call was for."),
        "detail": said({"anyOf": [TEXT, {"type": "array", "items": DETAIL}]}, "A sentence, or each wrong field."),
    },
    required=("status", "title", "code", "detail"),
)
ARTIFACT: Final = closed(
    {
        "base64": said(TEXT, "A JPEG."),
        "finishReason": said(
            {"enum": ["SUCCESS", "CONTENT_FILTERED"]}, "Of what the safety checker withheld, the picture is black."
        ),
        "seed": said(COUNT, "The seed that was used."),
    }
)
MODEL: Final = closed(
    {
        "shortName": TEXT,
        "modelUrl": LINK,
        "title": TEXT,
        "description": TEXT,
        "version": TEXT,
        "aliases": {"type": "array", "items": TEXT},
        "license": TEXT,
        "stand_in": {"type": "boolean"},
        "card": {"anyOf": [ref("Card"), {"type": "null"}]},
        "request_schema": said({"type": "object"}, "JSON Schema of a body."),
    }
)
SHAPES: Final[dict[str, Schema]] = {
    "NimArtifacts": closed({"artifacts": {"type": "array", "items": ref("NimArtifact")}, "notices": NOTICES}),
    "NimArtifact": ARTIFACT,
    "NimPending": closed({"reqId": ID}),
    "NimError": ERROR,
    "NimHealth": closed(
        {"object": {"const": "health.response"}, "message": TEXT, "status": {"enum": ["live", "ready", "not ready"]}}
    ),
    "NimVersion": closed({"release": TEXT, "api": TEXT}),
    "NimMetadata": closed(
        {
            "version": TEXT,
            "modelInfo": {"type": "array", "items": ref("NimModel")},
            "assetInfo": {"type": "array", "items": TEXT},
        }
    ),
    "NimModel": MODEL,
}
NUMBERS: Final = {"invalid_input": 422}
REQUEST: Final = ("nvcf-reqid", "nvcf-status")
CREATED: Final = (*RATE, *CONCURRENCY, "Idempotent-Replayed", *REQUEST)
ANSWERS: Final = {
    200: Answer("The pictures.", "NimArtifacts", headers=CREATED),
    202: Answer("It goes on; poll it by `nvcf-reqid`.", "NimPending", headers=(*CREATED, "Retry-After")),
}
ERRORS: Final = (*CREATES, *FAILURES, *CANCELLATIONS, "cancelled")
SENT: Final = (
    *("NVCF-POLL-SECONDS", "Idempotency-Key", "Expires-After", "Cancel-After", "X-Request-Id", "X-Test-Outcome"),
    "traceparent",
)
WAITS: Final = (
    "As NVIDIA's hosted endpoint and its containers have it: `mode` base, canny or depth, and for the latter two an"
    " `image`, which may be `data:image/png;example_id,0` to `3` for a picture of ours. The call is held to the end,"
    " for 300 s by default."
)


def _operation(name: str, method: str, path: str, summary: str, description: str, **more: object) -> Operation:
    return Operation(
        name,
        method,
        path,
        summary,
        description,
        refusal="NimError",
        numbers=NUMBERS,
        **more,  # type: ignore[arg-type]
    )


NIM: Final = (
    _operation(
        "nimGenai",
        "post",
        "/v1/genai/{publisher}/{name}",
        "NIM: make pictures and wait for them",
        WAITS,
        answers=ANSWERS,
        errors=ERRORS,
        parameters=("publisher", "nim model", *SENT),
        scope="predict",
        body="NimRequest",
    ),
    _operation(
        "nimInfer",
        "post",
        "/v1/infer",
        "NIM: make pictures with FLUX.1 [dev] and wait for them",
        WAITS,
        answers=ANSWERS,
        errors=ERRORS,
        parameters=SENT,
        scope="predict",
        body="NimRequest",
    ),
    _operation(
        "nimStatus",
        "get",
        "/v2/nvcf/pexec/status/{prediction}",
        "NIM: fetch what took longer",
        "Held for up to 60 s, if `NVCF-POLL-SECONDS` says nothing else.",
        answers={
            200: Answer("The pictures.", "NimArtifacts", headers=(*RATE, *REQUEST)),
            202: Answer("It goes on.", "NimPending", headers=(*RATE, *REQUEST, "Retry-After")),
        },
        errors=("invalid_input", "not_found", *KEYED, *FAILURES, *CANCELLATIONS, "cancelled"),
        parameters=("prediction", "NVCF-POLL-SECONDS", "X-Request-Id"),
        scope="read",
    ),
    _operation(
        "nimLive",
        "get",
        "/v1/health/live",
        "NIM: tell whether this process lives",
        "Asks no other part.",
        answers={200: Answer("It does.", "NimHealth")},
    ),
    _operation(
        "nimReady",
        "get",
        "/v1/health/ready",
        "NIM: tell whether a worker can draw",
        "503 until one serves a model of this door.",
        answers={200: Answer("It can.", "NimHealth"), 503: Answer("None can.", "NimHealth")},
    ),
    _operation(
        "nimVersion",
        "get",
        "/v1/version",
        "NIM: what runs here",
        "Needs no key.",
        answers={200: Answer("The release.", "NimVersion")},
    ),
    _operation(
        "nimMetadata",
        "get",
        "/v1/metadata",
        "NIM: what is served here",
        "Needs no key.",
        answers={200: Answer("The models of this door.", "NimMetadata", headers=RATE)},
        errors=("rate_limited",),
    ),
    _operation(
        "nimMetrics",
        "get",
        "/v1/metrics",
        "NIM: how busy it is, for Prometheus",
        "Needs no key: workers of each model, and predictions that wait or are rendered.",
        answers={200: Answer("Gauges.", media_types=("text/plain",), headers=RATE)},
        errors=("rate_limited", "unavailable"),
    ),
)
