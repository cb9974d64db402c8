"""The shapes that OpenAPI speaks of: objects, headers, parameters and ways to authenticate."""

from api.codes import CANCELLATIONS, ERRORS, FAILURES
from api.doors import nim_create, oxen_models
from api.doors.eachlabs_create import DIALECT
from api.openapi import of_nim, of_oxen
from api.openapi.values import (
    COUNT,
    COUNT_OR_NULL,
    ID,
    LINK,
    MOMENT,
    MOMENT_OR_NULL,
    NOTICES,
    SECONDS,
    TEXT,
    TEXT_OR_NULL,
    Schema,
    closed,
    ref,
    said,
)
from fluxfarm import routing
from fluxfarm.catalog import Catalog
from fluxfarm.line import WaitingFor
from fluxfarm.outcomes import Safety
from fluxfarm.safety_policy import Policy
from fluxfarm.status import Stage

SECURITY: dict[str, Schema] = {
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "bearer": {"type": "http", "scheme": "bearer", "description": "The same key; `Key` and `Token` work too."},
}


def schemas(catalog: Catalog) -> dict[str, Schema]:
    """Every named object; the inputs come from the declaration that validates them."""
    of_inputs = {f"{slug}.input": DIALECT.schema(model) for slug, model in catalog.models.items()}
    oxen = {f"{slug}.oxen": oxen_models.schema(model) for slug, model in catalog.models.items()}
    if routing.served(catalog):
        oxen[f"{routing.AUTO}.oxen"] = oxen_models.chosen_schema(catalog)
    nim = {f"{model.slug}.nim": nim_create.schema(model) for model in nim_create.offered(catalog)}
    for schema in (*of_inputs.values(), *oxen.values(), *nim.values()):
        del schema["$schema"]
    if routing.served(catalog):
        of_inputs[f"{routing.AUTO}.input"] = routing.schema(catalog, DIALECT.schema)
        del of_inputs[f"{routing.AUTO}.input"]["$schema"]
    requests = [_request(name.removesuffix(".input")) for name in of_inputs]
    request = requests[0] if len(requests) == 1 else {"oneOf": requests}
    others = {
        "OxenRequest": {"anyOf": [ref(name) for name in oxen]},
        "OxenEditRequest": of_oxen.EDIT,
        "NimRequest": {"anyOf": [ref(name) for name in nim] or [{"type": "object"}]},
    }
    asked = {"CreateRequest": request, "AgainRequest": _again(catalog), **others}
    return {**asked, **of_inputs, **oxen, **nim, **FIXED, **of_oxen.SHAPES, **of_nim.SHAPES}


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
    return closed(properties, required=("model", "input"), title=f"A prediction of {slug}")


def _again(catalog: Catalog) -> Schema:
    properties: dict[str, Schema] = {
        "model": {
            "enum": [*catalog.models],
            "description": "Another one, with defaults of its own. Left out: the same.",
        },
        "priority": {"enum": ["normal", "low", None], "description": "As for a create."},
        "input": {
            "type": "object",
            "description": "Fields that shall be otherwise; null leaves one out. `seed: null` draws another.",
        },
    }
    return closed(properties, required=(), title="The same again")


CROP = closed(dict.fromkeys(("left", "top", "right", "bottom"), COUNT), type=["object", "null"])
SAFETY = {"enum": [*Safety]}
POLICY = {
    "policy": said({"enum": [*Policy]}, "Who may leave pictures unchecked; the strictest of all that apply."),
    "set_by": said({"enum": ["deployment", "model", "tenant", "key"]}, "Whose policy it is."),
}

IMAGE = closed(
    {
        "url": said(
            {**LINK, "type": ["string", "null"]},
            "A signed link, or a data URI if `output_encoding` asked for one. Null, as is what describes the file,"
            " where the picture is withheld.",
        ),
        "withheld": said({"type": "boolean"}, "It was drawn and is not handed out."),
        "width": COUNT_OR_NULL,
        "height": COUNT_OR_NULL,
        "rendered_width": said(COUNT_OR_NULL, "What the model drew, before it was enlarged."),
        "rendered_height": COUNT_OR_NULL,
        "crop": said(CROP, "The part of the input picture that was kept, in its pixels; null if all of it."),
        "content_type": {"enum": ["image/webp", "image/jpeg", "image/png", None]},
        "bytes": said(COUNT_OR_NULL, "Size of the file."),
        "sha256": {**TEXT_OR_NULL, "pattern": "^[0-9a-f]{64}$"},
        "seed": said(COUNT, "The seed that was used."),
        "safety": said(
            SAFETY,
            "`flagged` is withheld; `unchecked` where no checker is configured; `skipped` where its owner may and did"
            " ask for that.",
        ),
        "safety_reason": said(TEXT_OR_NULL, "Of a withheld picture: the checker's label, or that the checker failed."),
        "safety_score": said({"type": ["number", "null"]}, "What the checker gave; null if none looked at it."),
        "safety_checker": said(TEXT_OR_NULL, "Which checker, and a hash of its weights."),
    }
)

METRICS = closed(
    {
        "predict_time": said(SECONDS, "Seconds since a worker took it, or that it took."),
        "queue_time": said(SECONDS, "Seconds in the queue."),
        "total_time": said(SECONDS, "Seconds since it was created, or until it ended."),
        "device_time": said({"type": ["number", "null"]}, "Seconds on the device; null until it has ended."),
    }
)

MADE_WITH: Schema = {
    "type": ["object", "null"],
    "properties": {
        "weights": closed(
            {
                "name": said(TEXT, "In the operator's catalogue."),
                "revision": said(TEXT, "A commit, where they come from the hub."),
                "sha256": said(TEXT_OR_NULL, "Of all their files; null until the worker has read them through."),
            }
        ),
        "scheduler": TEXT,
        "dtype": TEXT,
        "quantised": said(
            TEXT, "`none`, or how and by which library the largest weights were brought into fewer bits."
        ),
        "text_encoders": said(TEXT, "`device` or `cpu`."),
        "vae_tiling": said(TEXT, "`auto`, `on` or `off`."),
        "device": TEXT,
        "libraries": {"type": "object", "additionalProperties": TEXT},
        "loras": said({"type": "array", "items": TEXT}, "SHA-256 of the file of each, in their order in the input."),
    },
}

PROGRESS = closed(
    {
        "step": COUNT,
        "steps": COUNT,
        "image": said(COUNT, "The picture that is being rendered, from 1."),
        "images": COUNT,
        "stage": {"enum": [*(stage.value for stage in Stage), "starting", "processing", "done", "error", "cancelled"]},
    }
)

QUEUE = closed(
    {
        "position": said(
            {**COUNT, "type": ["integer", "null"]},
            "1 is next, exact to 100, then to a tenth; 0 is being rendered. Null while its tenant is suspended, or if"
            " the queue could not be looked at.",
        ),
        "eta_seconds": said(
            {**SECONDS, "type": ["number", "null"]},
            "Until the pictures may be expected, from what the model's workers lately took; null while none can begin.",
        ),
        "waiting_for": said(
            {"enum": [*WaitingFor, None]},
            "`worker`: no process serves the model. `model_load`: one loads its weights. `turn`: others go first."
            " `tenant`: its tenant is suspended. Null once it is being rendered, or where the queue could not be"
            " looked at.",
        ),
    },
    type=["object", "null"],
)

OUTPUT: Schema = {
    "anyOf": [LINK, {"type": "array", "items": LINK}, {"type": "null"}],
    "description": "A link if one picture was asked for, a list of links if more were; null until it has succeeded.",
}

CANCELING = said({"type": "boolean"}, "Its owner wishes it to end, and the worker has not yet said so.")

URLS = closed(
    {
        "get": LINK,
        "cancel": LINK,
        "events": said(LINK, "Its events, for about a day; the link is signed, and needs no key."),
    }
)

PREDICTION = closed(
    {
        "id": ID,
        "model": TEXT,
        "version": said(TEXT, "The version of the model that renders it."),
        "status": {"enum": ["starting", "processing", "success", "error", "cancelled"]},
        "canceling": CANCELING,
        "input": said(
            {"type": "object"},
            "What was asked for, with the defaults filled in; a picture sent as data as a link, which opens once it was"
            " checked.",
        ),
        "output": OUTPUT,
        "images": {"type": "array", "items": ref("Image")},
        "safety": closed({**POLICY, "checked": said({"type": "boolean"}, "Unless no checker is configured.")}),
        "logs": said(TEXT, "Lines as tqdm writes them."),
        "error": said(TEXT_OR_NULL, "Why it failed, or was cancelled without a call, in one sentence."),
        "error_code": said({"enum": [*FAILURES, *CANCELLATIONS, None]}, "The same for programs."),
        "notices": NOTICES,
        "made_with": said(MADE_WITH, "What to have besides the input to make it again; null where nothing was made."),
        "metrics": METRICS,
        "progress": PROGRESS,
        "queue": said(QUEUE, "null once it has ended."),
        "urls": URLS,
        "created_at": MOMENT,
        "started_at": MOMENT_OR_NULL,
        "completed_at": MOMENT_OR_NULL,
        "expires_at": said(MOMENT_OR_NULL, "When its pictures and their links end; null until it has ended."),
        "cancel_at": said(
            MOMENT_OR_NULL,
            "The time that `Cancel-After` set; null without it, or where a call cancelled what was rendered.",
        ),
    }
)

DRY_RUN = closed(
    {
        "status": {"const": "success"},
        "message": TEXT,
        "dry_run": {"const": True},
        "model": TEXT,
        "version": TEXT,
        "input": said({"type": "object"}, "With the defaults filled in."),
        "seeds": said({"type": "array", "items": COUNT}, "One for each picture."),
        "seed_drawn": said({"type": "boolean"}, "None was sent: a create draws another."),
        "width": said({"type": ["integer", "null"]}, "Of the picture; null where it follows one that is elsewhere."),
        "height": {"type": ["integer", "null"]},
        "rendered_width": said({"type": ["integer", "null"]}, "What the model draws, before it is enlarged."),
        "rendered_height": {"type": ["integer", "null"]},
        "safety": closed({**POLICY, "checked": {"type": "boolean"}, "reason": TEXT}),
        "pixel_steps": said(COUNT, "The cost: pixels on the device, 256 for each token beside them, times steps."),
        "estimated_seconds": said(SECONDS, "On the device, at the pace measured lately, or else at its catalogue's."),
        "queue": said(QUEUE, "Where it would wait, if it went after all that wait now."),
        "notices": NOTICES,
    }
)
CREATED_ENDED_OR_NOT: Schema = {"anyOf": [ref("Created"), ref("Prediction"), ref("DryRun")]}

EXECUTION = closed(
    {
        "id": ID,
        "model": TEXT,
        "requested_model": TEXT,
        "status": {"enum": ["starting", "processing", "success", "error", "cancelled"]},
        "error_code": {"enum": [*FAILURES, *CANCELLATIONS, None]},
        "workflow_id": {"type": "null"},
        "workflow_execution_id": {"type": "null"},
        "execution_cost": said({"type": "null"}, "Nothing has a price here."),
        "run_time": said(SECONDS, "Seconds since a worker took it, or that it took."),
        "created_at": MOMENT,
        "started_at": MOMENT_OR_NULL,
        "completed_at": MOMENT_OR_NULL,
        "expires_at": MOMENT_OR_NULL,
        "output": OUTPUT,
    }
)

EXECUTIONS = closed(
    {
        "executions": {"type": "array", "items": ref("Execution")},
        "total_count": said(COUNT, "How many there are, counted up to 10,000."),
        "total_capped": said({"type": "boolean"}, "There are more."),
        "offset": COUNT,
        "limit": COUNT,
        "next_cursor": said(TEXT_OR_NULL, "Where the next page goes on; null if there is none."),
    }
)

_TEXTS = {"type": "array", "items": TEXT}
CARD = closed(
    {
        "parameters_billions": said({"type": "number"}, "Of what draws."),
        "languages": _TEXTS,
        "quantised": {"type": "boolean"},
        "use_policy_url": said(TEXT, "Empty where there is none."),
        "outputs": said(TEXT, "What pictures may be used for."),
        "filters": said(TEXT, "What the licence asks of whoever deploys it; empty: nothing."),
        "good_for": _TEXTS,
        "limitations": _TEXTS,
        "out_of_scope": _TEXTS,
        "recommended": said({"type": "object"}, "Values that do well, in words, by field."),
        "example": said({"type": "object"}, "An `input` to try."),
        "parts": said({"type": "object"}, "Billions of parameters, by what loads as one."),
        "device_memory_gib": said(
            {"type": "object"},
            "Reckoned for one picture of 1024 x 1024 in bfloat16, by `FLUXFARM_OFFLOAD`; and by `FLUXFARM_QUANTISE`, "
            "all on the device.",
        ),
    }
)

MODEL = closed(
    {
        "slug": said(TEXT, "The name to ask for."),
        "title": TEXT,
        "description": TEXT,
        "version": TEXT,
        "output_type": {"const": "array"},
        "request_schema": said({"type": "object"}, "JSON Schema of `input`."),
        "licence": TEXT,
        "licence_url": LINK,
        "stand_in": said(
            {"type": "boolean"}, "Small weights serve it, to try it out: shapes, colours and places only."
        ),
        "card": said({"anyOf": [ref("Card"), {"type": "null"}]}, "What to know of it, if that is written."),
    }
)

ERROR = closed(
    {
        "status": said({"type": "integer"}, "The HTTP number."),
        "error": said(TEXT, "What was wrong, in words."),
        "code": said({"enum": [*ERRORS]}, "The same for programs."),
        "details": {"type": "array", "items": ref("FieldError")},
        "docs": said(TEXT, "Where the code is explained."),
    }
)

FIXED: dict[str, Schema] = {
    "Created": closed(
        {
            "status": {"const": "success"},
            "message": TEXT,
            "predictionID": said(ID, "The id that it is known by."),
            "urls": URLS,
        }
    ),
    "Deleted": closed({"status": {"const": "success"}, "message": TEXT, "predictionID": ID}),
    "DryRun": DRY_RUN,
    "Prediction": PREDICTION,
    "Image": IMAGE,
    "Cancelled": closed(
        {
            "status": {"enum": ["processing", "success", "error", "cancelled"]},
            "canceling": CANCELING,
            "message": TEXT,
            "predictionID": ID,
        }
    ),
    "Executions": EXECUTIONS,
    "Execution": EXECUTION,
    "Card": CARD,
    "Model": MODEL,
    "Error": ERROR,
    "FieldError": closed(
        {
            "field": said({**TEXT, "examples": ["input.seed"]}, "The field's dotted name."),
            "message": said(TEXT, "What is allowed."),
            "sent": said({}, "What was sent, shortened."),
        }
    ),
    "Health": closed({"status": {"const": "ok"}}),
    "Readiness": closed(
        {
            "status": {"enum": ["ok", "degraded", "unavailable"]},
            "parts": closed({"postgres": {"enum": ["ok", "away"]}, "schema": TEXT, "redis": {"enum": ["ok", "away"]}}),
            "workers": said({"type": "object", "additionalProperties": COUNT}, "Live workers of each model."),
        }
    ),
}
