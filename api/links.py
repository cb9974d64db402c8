"""Absolute links of this deployment: to predictions, and signed ones to pictures."""

import math
import uuid
from datetime import datetime
from typing import Any

from flask import request

from api.services import services
from fluxfarm.outcomes import StoredOutput

EXTENSIONS = {"image/webp": "webp", "image/jpeg": "jpg", "image/png": "png"}
INPUT_LINK_SECONDS = 3600


def absolute(path: str) -> str:
    return (services().settings.public_url or request.host_url).rstrip("/") + path


def prediction_links(prediction: uuid.UUID) -> dict[str, str]:
    path = absolute(f"/v1/prediction/{prediction}")
    return {"get": path, "cancel": f"{path}/cancel"}


def output_link(prediction: uuid.UUID, output: StoredOutput, expires_at: datetime) -> str:
    """A link that lives exactly as long as its picture."""
    return _signed(f"/files/{prediction}/{output.position}.{EXTENSIONS[output.media_type]}", expires_at)


def input_link(prediction: uuid.UUID, object_key: str, until: datetime) -> str:
    return _signed(f"/files/{prediction}/input.{object_key.rpartition('.')[2]}", until)


def _signed(path: str, until: datetime) -> str:
    query: Any = services().signer.sign(path, math.ceil(until.timestamp()))
    return f"{absolute(path)}?{query}"
