"""What a request carries beside its key: a JSON body, ids in paths, a wish for retention. What is wrong is named."""

import json
import re
import uuid
from collections.abc import Callable
from typing import Any

from flask import Request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import BadRequest, UnsupportedMediaType

from fluxfarm import refusals
from fluxfarm.errors import FieldError, InvalidInput, NotFound
from fluxfarm.sent import shortened

DURATION = re.compile(r"([1-9][0-9]{0,8})\s*([smhd]?)", re.ASCII)
UUID_TEXT = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
SHORTEST_RETENTION_SECONDS = 300
LONGEST_RETENTION_SECONDS = 10 * 365 * 86400
LONGEST_CANCEL_AFTER_SECONDS = 86400
LONGEST_NUMBER = 10

invalid = refusals.invalid
FLAGS = {"1": True, "true": True, "0": False, "false": False}


def json_object(request: Request) -> dict[str, Any]:
    """The body as a JSON object.

    Raises:
        UnsupportedMediaType: the body says it is something else.
        RequestEntityTooLarge: it is larger than the application's limit.
        InvalidInput: it is no JSON, or not an object.

    """
    if request.mimetype != "application/json" and not request.mimetype.endswith("+json"):
        raise UnsupportedMediaType("Send the body as JSON, with the header Content-Type: application/json.")
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("Send the body as it is, without Content-Encoding.")
    try:
        parsed = json.loads(_bytes(request))
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


def own_id(text: str) -> uuid.UUID:
    """The id that a client gives its prediction, in the path; raises `InvalidInput` if it is no UUID."""
    if not UUID_TEXT.fullmatch(text):
        message = "must be a UUID of 32 hexadecimal digits in five groups, such as that of `uuidgen`"
        raise invalid([FieldError("prediction", message, shortened(text))])
    return uuid.UUID(text)


def unknown_prediction() -> NotFound:
    return NotFound("There is no such prediction.")


def retention_seconds(request: Request) -> int | None:
    """The header `Expires-After`, such as `90m`, `1h` or `7d`; None if it was not sent."""
    allowed = "must be a time of at least 5m, such as 30m, 1h or 7d"
    seconds = _duration(request, "Expires-After", lambda found: found >= SHORTEST_RETENTION_SECONDS, allowed)
    return None if seconds is None else min(seconds, LONGEST_RETENTION_SECONDS)


def cancel_after_seconds(request: Request) -> int | None:
    """The header `Cancel-After`, such as `90s`, `5m` or `2h`; None if it was not sent."""
    allowed = "must be a time from 1s to 24h, such as 90s, 5m or 2h"
    return _duration(request, "Cancel-After", lambda found: found <= LONGEST_CANCEL_AFTER_SECONDS, allowed)


def _duration(request: Request, header: str, fits: Callable[[int], bool], allowed: str) -> int | None:
    """Seconds; None if the header was not sent."""
    sent = request.headers.get(header)
    if sent is None:
        return None
    match = DURATION.fullmatch(sent.strip())
    seconds = int(match[1]) * SECONDS[match[2]] if match else None
    if seconds is None or not fits(seconds):
        raise invalid([FieldError(header, allowed, shortened(sent))])
    return seconds


def whole(request: Request, name: str, default: int, least: int, most: int) -> int:
    """A whole number out of the query string; raises `InvalidInput` if it is none or out of bounds."""
    sent = request.args.get(name)
    if sent is None:
        return default
    if not (sent.isascii() and sent.isdecimal() and len(sent) < LONGEST_NUMBER and least <= int(sent) <= most):
        raise invalid([FieldError(name, f"must be a whole number from {least} to {most}", shortened(sent))])
    return int(sent)


def flag(request: Request, name: str) -> bool:
    """What the query string says yes or no to, no if left out; raises `InvalidInput` where that is not clear."""
    sent = request.args.get(name, "0")
    if sent not in FLAGS:
        raise invalid([FieldError(name, "must be 1 or 0, or left out", shortened(sent))])
    return FLAGS[sent]


def _bytes(request: Request) -> bytes:
    try:
        body = request.get_data(cache=False)
        # A body without Content-Length is cut at the limit; only another read tells.
        request.stream.read(1)
    except ParseException:
        raise BadRequest("The body is not in well-formed chunks.") from None
    if request.content_length not in (None, len(body)):
        raise BadRequest("The body is shorter than its Content-Length.")
    return body
