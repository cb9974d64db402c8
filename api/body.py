"""JSON bodies and the ids in paths: what is not well formed gets a sentence that says so."""

import json
import re
import uuid
from typing import Any

from flask import Request
from werkzeug.exceptions import UnsupportedMediaType

from fluxfarm.errors import FieldError, InvalidInput, NotFound

DURATION = re.compile(r"([1-9][0-9]{0,8})\s*([smhd]?)", re.ASCII)
SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
SHORTEST_RETENTION_SECONDS = 300


def json_object(request: Request) -> dict[str, Any]:
    """The body as a JSON object.

    Raises:
        UnsupportedMediaType: the body says it is something else.
        InvalidInput: it is no JSON, or not an object.

    """
    if request.mimetype != "application/json" and not request.mimetype.endswith("+json"):
        raise UnsupportedMediaType("Send the body as JSON, with the header Content-Type: application/json.")
    try:
        parsed = json.loads(request.get_data(cache=False))
    except (ValueError, RecursionError) as error:
        place = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise InvalidInput(f"The body is not valid JSON{place}.") from None
    if not isinstance(parsed, dict):
        raise InvalidInput("The body must be a JSON object.")
    return parsed


def prediction_id(text: str) -> uuid.UUID:
    """Ids that cannot exist are unknown like any other."""
    try:
        return uuid.UUID(text)
    except ValueError:
        raise unknown_prediction() from None


def unknown_prediction() -> NotFound:
    return NotFound("There is no such prediction.")


def retention_seconds(request: Request) -> int | None:
    """The header `Expires-After`, such as `90m`, `1h` or `7d`; None if it was not sent."""
    sent = request.headers.get("Expires-After")
    if sent is None:
        return None
    match = DURATION.fullmatch(sent.strip())
    seconds = int(match[1]) * SECONDS[match[2]] if match else 0
    if not seconds >= SHORTEST_RETENTION_SECONDS:
        message = "must be a time of at least 5m, such as 30m, 1h or 7d"
        detail = FieldError("Expires-After", message, sent[:100])
        raise InvalidInput(f"Expires-After: {message}", details=(detail,))
    return min(seconds, 10 * 365 * 86400)
