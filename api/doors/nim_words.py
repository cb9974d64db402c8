"""How NVIDIA's door says things: pictures as artifacts, and what was wrong as FastAPI would say it."""

import base64
import io
import json
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from PIL import Image

from api import notices, pace
from api.errors import Manner, Refusal
from api.services import services
from fluxfarm.dialects import Dialect
from fluxfarm.errors import FieldError
from fluxfarm.lookup import PredictionView
from fluxfarm.outcomes import StoredOutput
from fluxfarm.status import TERMINAL, Status

DIALECT: Final = Dialect.read(Path(__file__).with_name("nim.toml"))
BLOCKED: Final = "content_blocked"
FILTERED: Final = "CONTENT_FILTERED"


def told(view: PredictionView) -> tuple[str, int | None]:
    """The artifacts of what has ended, or its error; and when to ask again."""
    code = view.result.error_code if view.result else None
    if view.status not in TERMINAL:
        body: Mapping[str, Any] = {"status": view.status.value}
    elif view.status is Status.SUCCEEDED or code == BLOCKED:
        body = {"artifacts": _artifacts(view), "notices": notices.told(view)}
    else:
        message = view.result.error_message if view.result else None
        body = {"code": code or view.status.value, "message": message or "The prediction was cancelled."}
    return json.dumps(body), pace.retry_after(view)


def refusal(told: Refusal) -> dict[str, Any]:
    """Wrong fields one by one; anything else as a sentence."""
    about = {"reqId": str(told.prediction)} if told.prediction else {}
    whole = {"status": told.status, "title": HTTPStatus(told.status).phrase, "code": told.code, **about}
    return {**whole, "detail": [_detail(each) for each in told.details] or told.message}


MANNER: Final = Manner(
    ("/v1/genai/", "/v1/infer", "/v2/nvcf/", "/v1/health/", "/v1/metadata", "/v1/version", "/v1/metrics"),
    refusal,
    {"invalid_input": 422},
)


def _artifacts(view: PredictionView) -> list[dict[str, Any]]:
    """One for each seed; black where the picture was withheld."""
    outputs = {output.seed: output for output in view.outputs}
    return [_artifact(seed, outputs.get(seed)) for seed in view.plan.seeds]


def _artifact(seed: int, output: StoredOutput | None) -> dict[str, Any]:
    if output is None:
        return {"base64": BLACK, "finishReason": FILTERED, "seed": seed}
    return {"base64": services().objects.base64(output.object_key), "finishReason": "SUCCESS", "seed": seed}


def _detail(wrong: FieldError) -> dict[str, Any]:
    missing = wrong.message.startswith("is required")
    path = [] if wrong.field == "body" else wrong.field.split(".")
    return {
        "type": "missing" if missing else "value_error",
        "loc": ["body", *path],
        "msg": wrong.message,
        "input": wrong.sent,
    }


def _black() -> str:
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "JPEG")
    return base64.b64encode(file.getvalue()).decode()


BLACK: Final = _black()
