"""How Oxen's door says things: a generation as JSON, and what was wrong.

Shapes: the documented ones of Oxen's inference API, with what they lack added beside it. Nothing has a price here, so
the cost of a generation is what it took of the device.
"""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from api import links, notices, pace
from api.errors import Manner, Refusal
from api.services import services
from fluxfarm.dialects import Dialect
from fluxfarm.history import Entry
from fluxfarm.lookup import PredictionView
from fluxfarm.outcomes import Result, StoredOutput

DIALECT: Final = Dialect.read(Path(__file__).with_name("oxen.toml"))
MEDIA_TYPE: Final = "image"
COST_UNIT: Final = "device_seconds"
TYPES: Final = {
    "unauthenticated": "unauthenticated",
    "invalid_input": "invalid_params",
    "bad_request": "invalid_params",
    "not_found": "resource_not_found",
    "model_not_found": "resource_not_found",
    "internal_error": "unknown_error",
}
"""Documented types of error by our codes; any other code is its own type."""

Shown = PredictionView | Entry
Picture = Callable[[Shown, StoredOutput], dict[str, Any]]


def told(view: PredictionView) -> tuple[str, int | None]:
    """A generation, and when to ask for it again."""
    return _said(view, _with_link), pace.retry_after(view)


def told_with_data(view: PredictionView) -> tuple[str, int | None]:
    """The same with the pictures themselves."""
    return _said(view, _with_data), pace.retry_after(view)


def _said(view: PredictionView, picture: Picture) -> str:
    return json.dumps({**generation(view, view.result, picture), "notices": notices.told(view)})


def listed(entry: Entry) -> dict[str, Any]:
    """A generation in a list."""
    result = Result(entry.error_code, entry.error_message, entry.device_microseconds, ())
    return generation(entry, result, _with_link)


def generation(shown: Shown, result: Result | None, picture: Picture) -> dict[str, Any]:
    images = [picture(shown, output) for output in shown.outputs]
    own = {
        "generation_id": str(shown.shown_id),
        "model_name": shown.model,
        "prompt": shown.input.get("prompt"),
        "media_type": MEDIA_TYPE,
        "status": shown.status.value,
        "result_url": images[0].get("url") if images else None,
        "images": images,
        "error_message": result.error_message if result else None,
        "error_code": result.error_code if result else None,
        "enqueued_at": _unix(shown.created_at),
        "started_at": _unix(shown.started_at),
        "completed_at": _unix(shown.completed_at),
        "expires_at": _unix(shown.expires_at),
        "cost": (result.device_microseconds if result else 0) / 1e6,
        "cost_unit": COST_UNIT,
    }
    return {**DIALECT.told(shown.input), **own}


def refusal(told: Refusal) -> dict[str, Any]:
    """What was wrong, as Oxen says it: both of its documented shapes in one."""
    kind = TYPES.get(told.code, told.code)
    title = HTTPStatus(told.status).phrase
    details = [{"field": each.field, "message": each.message, "sent": each.sent} for each in told.details]
    error = {
        "type": kind,
        "title": title,
        "detail": told.message,
        "message": told.message,
        "code": told.code,
        "details": details,
    }
    about = {"generation_id": str(told.prediction)} if told.prediction else {}
    return {"error": error, "status": "error", "status_message": kind, **about}


MANNER: Final = Manner(("/api/",), refusal)


def _with_link(shown: Shown, output: StoredOutput) -> dict[str, Any]:
    assert shown.expires_at is not None
    return {"url": links.output_link(shown, output, shown.expires_at), **_described(output)}


def _with_data(_: Shown, output: StoredOutput) -> dict[str, Any]:
    return {"b64_json": services().objects.base64(output.object_key), **_described(output)}


def _described(output: StoredOutput) -> Mapping[str, Any]:
    return {
        "content_type": output.media_type,
        "width": output.width,
        "height": output.height,
        "seed": output.seed,
        "safety": output.safety,
        "safety_score": output.safety_score,
    }


def _unix(at: datetime | None) -> int | None:
    return int(at.timestamp()) if at else None
