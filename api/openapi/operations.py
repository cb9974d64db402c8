"""Every method of every path: what it takes, and what it may answer."""

from api.openapi import shapes
from api.openapi.of_nim import NIM
from api.openapi.of_oxen import OXEN
from api.openapi.operation import CONCURRENCY, CREATES, EVENT_STREAM, KEYED, RATE, Answer, Operation
from api.openapi.values import ref

PICTURES = ("image/webp", "image/jpeg", "image/png")

PICTURE_HEADERS = (
    "ETag",
    "Accept-Ranges",
    "Content-Disposition",
    "Content-Security-Policy",
    "Cross-Origin-Resource-Policy",
)
PAGE_HEADERS = ("Content-Security-Policy", "Referrer-Policy")

EVENTS_TOLD = (
    "Server-sent events, as they happen: `queued` (`position`, `eta_seconds`, `waiting_for`), `started` (`attempt`),"
    " `progress` (`step`, `steps`, `image`, `images`, `eta_seconds`), `log` (`line`), and one of `succeeded`, `failed`"
    " and `cancelled`, which carries what a read would and ends the stream. With `?previews=1` also `preview`, a few"
    " times a second at most: the picture in small as far as a step knows it (`step`, `steps`, `image`, `media_type`,"
    " `width`, `height`, and `data`, a data URI); where pictures are checked for safety, only what passed. After a cut,"
    " `Last-Event-ID` goes on where the reader was; what is not kept any more is summed up by a `snapshot` with what a"
    " read would tell. `urls.events` is a link for a browser's `EventSource`, which cannot send a key. A key that has"
    " too many calls held gets a `snapshot` and comes again."
)


CREATE = Operation(
    "createPrediction",
    "post",
    "/v1/prediction",
    "Create a prediction",
    "Takes the request and answers at once; the pictures are rendered later. With several faults every wrong field is"
    ' named in `details`. Numbers may be sent as text (`"28"`), and null means that a field is left out.',
    {
        200: Answer(
            "It is in the queue; with `Prefer: wait` it has ended.",
            shapes.CREATED_ENDED_OR_NOT,
            headers=(*RATE, *CONCURRENCY, "Idempotent-Replayed", "ETag"),
        ),
        202: Answer(
            "With `Prefer: wait`: it goes on.",
            "Created",
            headers=(*RATE, *CONCURRENCY, "Idempotent-Replayed", "Retry-After"),
        ),
    },
    CREATES,
    parameters=(
        "Idempotency-Key",
        "dry_run",
        "Expires-After",
        "Cancel-After",
        "Prefer",
        "X-Request-Id",
        "X-Test-Outcome",
        "traceparent",
    ),
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
        "runPrediction",
        "post",
        "/v1/prediction/run",
        "Create a prediction and wait for it",
        "One call instead of two: takes what a create takes and answers what a read would, once the prediction has"
        " ended. What takes longer than `wait` goes on, and is answered as a create is, with 202. The key needs the"
        " scope `read` too. An ordinary create with `Prefer: wait` does the same.",
        {
            200: Answer("It has ended.", "Prediction", headers=(*RATE, *CONCURRENCY, "Idempotent-Replayed", "ETag")),
            202: Answer(
                "It goes on; look at it by its id.",
                "Created",
                headers=(*RATE, *CONCURRENCY, "Idempotent-Replayed", "Retry-After"),
            ),
        },
        CREATE.errors,
        parameters=("run wait", *(each for each in CREATE.parameters if each != "dry_run")),
        scope="predict",
        body="CreateRequest",
    ),
    Operation(
        **{name: getattr(CREATE, name) for name in ("answers", "errors", "scope", "body")},
        name="putPrediction",
        method="put",
        path="/v1/prediction/{prediction}",
        summary="Create a prediction by an id of your own",
        description="Safe to send again for as long as the prediction is there, and for 24 hours at least: the same"
        " body gives the same one. The id is the one that you see and use everywhere.",
        parameters=("own id", *CREATE.parameters[1:]),
    ),
    Operation(
        **{name: getattr(CREATE, name) for name in ("method", "answers", "scope")},
        parameters=("prediction", *CREATE.parameters),
        name="repeatPrediction",
        path="/v1/prediction/{prediction}/again",
        summary="Make a prediction again",
        description="By the same model, input and seed, so the same weights draw the same pictures; what the body says"
        " goes before what was sent then. Pictures that were sent as data need not be sent again. Limits and policies"
        " are those of a create.",
        errors=("not_found", *CREATE.errors),
        body="AgainRequest",
    ),
    Operation(
        "getPrediction",
        "get",
        "/v1/prediction/{prediction}",
        "Look at a prediction",
        "With `wait=30` the call is held until the prediction has ended, and after that time answered with its present"
        " state: one call instead of many, and it counts once. With `until=change` it is answered on any news: another"
        " status, a step noted, a place nearer to the front. Without `wait`, ask again after `Retry-After` seconds"
        " while it is `starting` or `processing`. A key that has too many calls held already is answered at once, with"
        " `Retry-After: 1`. Unknown ids and those of other tenants get the same answer.",
        {
            200: Answer("Where it stands.", "Prediction", headers=(*RATE, "Retry-After", "ETag")),
            304: Answer("As the `ETag` sent says it.", headers=(*RATE, "Retry-After", "ETag")),
        },
        ("invalid_input", "not_found", *KEYED),
        parameters=("prediction", "wait", "until", "since", "Prefer", "If-None-Match", "X-Request-Id"),
        scope="read",
    ),
    Operation(
        "followPrediction",
        "get",
        "/v1/prediction/{prediction}/events",
        "Follow a prediction",
        EVENTS_TOLD,
        {
            200: Answer("Its events.", media_types=(EVENT_STREAM,), headers=(*RATE, "X-Accel-Buffering")),
            204: Answer("The reader was told of the end; nothing more will come.", headers=RATE),
        },
        ("invalid_input", "link_invalid", "not_found", *KEYED),
        parameters=("prediction", "previews", "Last-Event-ID", "link exp", "link sig", "X-Request-Id"),
        scope="read",
    ),
    Operation(
        "followAll",
        "get",
        "/v1/events",
        "Follow all predictions of the key",
        "As the events of one prediction, without previews, beginning with a `snapshot` of those that are active:"
        ' `{"predictions": [{"id", "status"}]}`. Every event says by `id` which prediction it is of.',
        {200: Answer("Their events.", media_types=(EVENT_STREAM,), headers=(*RATE, "X-Accel-Buffering"))},
        KEYED,
        parameters=("Last-Event-ID", "X-Request-Id"),
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
        "deletePrediction",
        "delete",
        "/v1/prediction/{prediction}",
        "Forget a prediction",
        "Its pictures, links and prompt are gone with the answer; a read may tell of it for a second more, and its bare"
        " row stays for about a minute. Repeatable for a day. Takes one that has ended; cancel any other first."
        " A key with the scope `cancel` may.",
        {200: Answer("It is gone.", "Deleted", headers=RATE)},
        ("not_found", "not_finished", *KEYED),
        parameters=("prediction", "X-Request-Id"),
        scope="cancel",
    ),
    Operation(
        "listExecutions",
        "get",
        "/v1/executions",
        "List your predictions",
        "The latest first: those of your tenant, until their time is over or they are deleted. Pages by `offset`, or,"
        " as far as there are any and without gaps or doubles while new ones come, by `cursor`.",
        {200: Answer("A page.", "Executions", headers=RATE)},
        ("invalid_input", *KEYED),
        parameters=("page limit", "page offset", "cursor", "model filter", "status filter", "from", "to"),
        scope="read",
    ),
    Operation(
        "listModels",
        "get",
        "/v1/models",
        "List the models",
        "Needs no key.",
        {200: Answer("The models served here.", {"type": "array", "items": ref("Model")}, headers=RATE)},
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
        parameters=("prediction", "file name", "exp", "sig", "row", "download", "Range", "If-Range", "If-None-Match"),
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
    *OXEN,
    *NIM,
)
