"""Every code a client may meet, with what it means: on error answers, and on predictions that failed."""

ERRORS = {
    "invalid_input": (400, "Something in the request is wrong; `details` names every such field and what is allowed."),
    "bad_request": (400, "The request itself is malformed."),
    "unauthenticated": (401, "No API key was sent, or it is not valid, has expired or was revoked."),
    "forbidden": (403, "The key lacks the scope that this takes."),
    "safety_checker_required": (
        403,
        "`disable_safety_checker` is not for this key or model; the message says by whose policy.",
    ),
    "prompt_blocked": (400, "The prompt asks for something that is not drawn here."),
    "tenant_suspended": (403, "The tenant of the key may not create predictions now."),
    "link_invalid": (403, "The link was changed, is not complete or has expired; the prediction has a fresh one."),
    "model_not_allowed": (403, "The key's or its tenant's list of models lacks this one; the message says whose."),
    "not_found": (404, "There is no such thing, or it is another tenant's, or its time is over."),
    "model_not_found": (404, "There is no model of that name; the message names the nearest one."),
    "object_missing": (404, "The picture is not in the store any more."),
    "method_not_allowed": (405, "The path does not take this method; the header `Allow` lists those it takes."),
    "request_timeout": (408, "The request did not arrive in time."),
    "conflict": (409, "What is there already stands against it, such as a tenant of the same name."),
    "idempotency_in_flight": (
        409,
        "The first create with this `Idempotency-Key` or id is still under way after two seconds; try again.",
    ),
    "not_finished": (409, "Only a prediction that has ended can be deleted; cancel it first."),
    "body_too_large": (413, "The body is larger than this service takes."),
    "uri_too_long": (414, "The request line is too long."),
    "unsupported_media_type": (415, "The body must be JSON, not compressed, with `Content-Type: application/json`."),
    "range_not_satisfiable": (416, "The range lies outside the picture; `Content-Range` tells its size."),
    "expectation_failed": (417, "The header `Expect` asks for something unknown."),
    "idempotency_mismatch": (
        422,
        "The `Idempotency-Key` was sent before with another body, or the id stands for another prediction of yours.",
    ),
    "rate_limited": (429, "Too many calls within a minute; `Retry-After` tells when there is room again."),
    "concurrency_limited": (
        429,
        "The key or its tenant has as many active predictions as it may; wait for one to end.",
    ),
    "queue_full": (429, "As many predictions of this model wait as the tenant may have waiting."),
    "headers_too_large": (431, "The request's headers are too many or too long."),
    "internal_error": (500, "Something broke on our side; tell the operator the `X-Request-Id`."),
    "not_implemented": (501, "The request uses a part of HTTP that is not spoken here."),
    "still_running": (504, "The call was held for as long as it may be; the prediction goes on, and can be polled."),
    "unavailable": (503, "A part that the service needs is away; try again after `Retry-After`."),
}
"""Code of an error answer: its HTTP number, and what it means."""

FAILURES = {
    "content_blocked": "The safety checker withheld every picture.",
    "input_forbidden": "The URL of the input picture leads where this service does not go, such as a private address.",
    "input_missing": "The input picture is not in the store any more.",
    "input_not_a_picture": "What was sent or fetched as input picture cannot be read as one.",
    "input_too_large": "The input picture is larger than this service fetches.",
    "input_unreachable": "The input picture could not be fetched.",
    "lora_changed": "The LoRA's file is not the one with the SHA-256 that was asked for.",
    "lora_forbidden": "The LoRA is not, or no more, among those that this service takes.",
    "lora_mismatch": "The LoRA is not for the weights that serve the model.",
    "lora_missing": "The LoRA's file is not there.",
    "lora_unreadable": "What was named as LoRA is not a whole safetensors file of numbers.",
    "mask_mismatch": "The mask has other proportions than the picture it is for.",
    "model_withdrawn": "The model is not served any more.",
    "no_safety_checker": "By policy the pictures are checked, and the worker has no safety checker for that.",
    "nothing_to_fill": "Neither a mask, nor transparent parts, nor sides to go on beyond came with the picture.",
    "picture_too_large": "The picture would be extended beyond 4096 pixels a side.",
    "queue_timeout": "No worker took the prediction within the time that one may wait.",
    "unsupported_size": "The weights that serve the model cannot draw this size.",
    "worker_lost": "The workers that held the prediction were lost, as often as is tried.",
}
"""`error_code` of a prediction with status `error`: what it means."""

CANCELLATIONS = {"cancel_after": "It had not ended by the time that `Cancel-After` set at its create."}
"""`error_code` of a prediction with status `cancelled` that nobody cancelled by a call: what it means."""

CANCELLED = "cancelled"
"""What a held call is told where somebody cancelled its prediction."""

FAILURE_NUMBERS = {
    "cancel_after": 409,
    CANCELLED: 409,
    "content_blocked": 422,
    "input_forbidden": 422,
    "input_missing": 422,
    "input_not_a_picture": 422,
    "input_too_large": 422,
    "input_unreachable": 422,
    "lora_changed": 422,
    "lora_forbidden": 422,
    "lora_mismatch": 422,
    "lora_missing": 422,
    "lora_unreadable": 422,
    "mask_mismatch": 422,
    "model_withdrawn": 503,
    "no_safety_checker": 503,
    "nothing_to_fill": 422,
    "picture_too_large": 422,
    "queue_timeout": 503,
    "unsupported_size": 422,
    "worker_lost": 500,
}
"""HTTP number of a held call whose prediction ended so, on doors that answer such a call with pictures or an error."""


def number_and_meaning(code: str) -> tuple[int, str]:
    """Of an error answer's code, whether it refuses the call or tells how the prediction ended."""
    if code in ERRORS:
        return ERRORS[code]
    meanings = {**FAILURES, **CANCELLATIONS, CANCELLED: "The prediction was cancelled."}
    return FAILURE_NUMBERS[code], meanings[code]
