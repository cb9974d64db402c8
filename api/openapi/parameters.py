"""The parameters of all operations, in path, query and headers."""

from api.openapi.values import COUNT, ID, MOMENT, TEXT, Schema


def _parameter(name: str, place: str, schema: Schema, description: str) -> Schema:
    return {"name": name, "in": place, "required": place == "path", "schema": schema, "description": description}


PARAMETERS: dict[str, Schema] = {
    "prediction": _parameter("prediction", "path", ID, "The id that creating it gave, or that you gave it."),
    "own id": _parameter("prediction", "path", ID, "An id that you choose; it is yours alone, whoever else uses it."),
    "file name": _parameter("name", "path", {**TEXT, "examples": ["0.webp"]}, "Place of the picture, and its format."),
    "exp": {**_parameter("exp", "query", COUNT, "When the link ends, in seconds since 1970."), "required": True},
    "sig": {**_parameter("sig", "query", TEXT, "The signature of the link."), "required": True},
    "row": _parameter("row", "query", TEXT, "Part of the link where the prediction's id is one of its owner's own."),
    "download": _parameter(
        "download", "query", {"const": "1"}, "Makes browsers save it as `<model>_<seed>_<short id>.<format>`."
    ),
    "name": _parameter("name", "query", TEXT, "Only models whose name contains this."),
    "limit": _parameter("limit", "query", {"type": "integer", "minimum": 1, "maximum": 500, "default": 50}, "At most."),
    "offset": _parameter("offset", "query", {**COUNT, "maximum": 1_000_000, "default": 0}, "How many to leave out."),
    "page limit": _parameter(
        "limit", "query", {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}, "At most."
    ),
    "page offset": _parameter(
        "offset", "query", {**COUNT, "maximum": 10_000, "default": 0}, "How many to leave out; not beside `cursor`."
    ),
    "cursor": _parameter("cursor", "query", TEXT, "The `next_cursor` of the page before, with the same filters."),
    "model filter": _parameter("model", "query", TEXT, "Only predictions of this model."),
    "status filter": _parameter(
        "status",
        "query",
        {**TEXT, "examples": ["success,error"]},
        "Only these, with commas between them: `created` or `starting`, `processing`, `success`, `error`, `cancelled`.",
    ),
    "from": _parameter("from", "query", MOMENT, "Created then or later. Left out: 90 days before `to`."),
    "to": _parameter("to", "query", MOMENT, "Created before that. Left out: now."),
    "wait": _parameter(
        "wait",
        "query",
        {**COUNT, "default": 0},
        "Seconds for which the call may be held; more than 60 count as 60.",
    ),
    "run wait": _parameter(
        "wait", "query", {**COUNT, "default": 60}, "Seconds to wait for its end; more than 60 count as 60."
    ),
    "until": _parameter("until", "query", {"enum": ["end", "change"], "default": "end"}, "What a held call waits for."),
    "since": _parameter(
        "since",
        "query",
        TEXT,
        "With `until=change`: the `ETag` that the caller knows; else `If-None-Match` counts.",
    ),
    "Prefer": _parameter(
        "Prefer",
        "header",
        {**TEXT, "examples": ["wait=30"]},
        "As `?wait=30`; `wait` alone is 60.",
    ),
    "slug": {**_parameter("slug", "query", {**TEXT, "examples": ["flux-dev"]}, "The model's name."), "required": True},
    "X-Request-Id": _parameter(
        "X-Request-Id",
        "header",
        {**TEXT, "pattern": "^[A-Za-z0-9._-]{1,64}$"},
        "Names the request in answers and logs.",
    ),
    "dry_run": _parameter(
        "dry_run",
        "query",
        {"enum": ["1", "true", "0", "false"], "default": "0"},
        "With `1` everything is checked and told, and nothing is created; it counts as a read.",
    ),
    "previews": _parameter(
        "previews",
        "query",
        {"enum": ["1", "true", "0", "false"], "default": "0"},
        "With `1` there are events `preview`, too.",
    ),
    "Expires-After": _parameter(
        "Expires-After",
        "header",
        {**TEXT, "pattern": r"^\s*[1-9][0-9]{0,8}\s*[smhd]?\s*$", "examples": ["1h"]},
        "Keep the pictures for this long after the end, if that is shorter than the tenant's retention: at least `5m`.",
    ),
    "Idempotency-Key": _parameter(
        "Idempotency-Key",
        "header",
        {**TEXT, "pattern": "^[ -~]{1,255}$", "examples": ["6f1c2f0e-6a3b-4a51-9a53-0c7f7a0d1f52"]},
        "Makes the create safe to send again for 24 hours: with the same body it gives the same prediction, whatever"
        " the limits and whichever key of your tenant it comes with. Not looked at where you give an id of your own.",
    ),
    "Cancel-After": _parameter(
        "Cancel-After",
        "header",
        {**TEXT, "pattern": r"^\s*[1-9][0-9]{0,8}\s*[smhd]?\s*$", "examples": ["90s"]},
        "Cancel the prediction if it has not ended after this long, queued or being rendered: from `1s` to `24h`.",
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
    "Last-Event-ID": _parameter(
        "Last-Event-ID",
        "header",
        TEXT,
        "The `id` of the reader's last event; browsers send it by themselves.",
    ),
    "link exp": _parameter("exp", "query", COUNT, "Of a signed link: when it ends, in seconds since 1970."),
    "link sig": _parameter("sig", "query", TEXT, "Of a signed link: its signature."),
    "If-None-Match": _parameter("If-None-Match", "header", TEXT, "An `ETag` that the caller has already."),
    "hold": _parameter(
        "wait", "query", COUNT, "Seconds for which the call may be held; more than 60 count as 60. Left out: 300."
    ),
    "generation": _parameter("generation", "path", ID, "The id that creating it gave."),
    "oxen status": _parameter(
        "status",
        "query",
        {**TEXT, "examples": ["succeeded,failed"]},
        "Only these, with commas between them: `queued`, `processing`, `succeeded`, `failed`, `cancelled`.",
    ),
    "media type": _parameter("media_type", "query", {"const": "image"}, "There is nothing else here."),
    "page": _parameter("page", "query", {**COUNT, "minimum": 1, "default": 1}, "Which page."),
    "page size": _parameter(
        "page_size", "query", {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}, "Generations of a page."
    ),
    "search": _parameter("search", "query", TEXT, "Only models whose name or description contains this."),
    "model name": _parameter("name", "path", {**TEXT, "examples": ["flux-1-dev"]}, "Any name of the model."),
    "publisher": _parameter(
        "publisher", "path", {**TEXT, "examples": ["black-forest-labs"]}, "The first part of the model's name."
    ),
    "nim model": _parameter("name", "path", {**TEXT, "examples": ["flux.1-dev"]}, "The second part."),
    "NVCF-POLL-SECONDS": _parameter(
        "NVCF-POLL-SECONDS", "header", COUNT, "Seconds for which the call may be held, within the deployment's limit."
    ),
}
