"""Absolute links of this deployment: to predictions, and signed ones to pictures."""

import hashlib
import math
import time
import uuid
from datetime import datetime
from typing import Any

from flask import request

from api.services import services
from fluxfarm.outcomes import StoredOutput
from fluxfarm.own_ids import Named

EXTENSIONS = {"image/webp": "webp", "image/jpeg": "jpg", "image/png": "png"}
INPUT_LINK_SECONDS = 3600
EVENTS_LINK_SECONDS = 24 * 3600
"""As long as most may wait in the queue."""


def absolute(path: str) -> str:
    return (services().settings.public_url or request.host_url).rstrip("/") + path


def prediction_links(shown_id: uuid.UUID, row_id: uuid.UUID) -> dict[str, str]:
    """Those of its events name the row: they name no tenant, and its client's own id may be another tenant's too."""
    get = absolute(f"/v1/prediction/{shown_id}")
    # To the hour, so that answers stay as they are for a while.
    until = (time.time() // 3600 + 1) * 3600 + EVENTS_LINK_SECONDS
    path = f"/v1/prediction/{row_id}/events"
    events = f"{absolute(path)}?{services().signer.sign(path, math.ceil(until))}"
    return {"get": get, "cancel": f"{get}/cancel", "events": events}


def output_link(named: Named, output: StoredOutput, expires_at: datetime) -> str:
    """A link that lives exactly as long as its picture."""
    path = f"/files/{named.shown_id}/{output.position}.{EXTENSIONS[output.media_type]}"
    return _signed(named, path, output.object_key, expires_at)


def input_link(named: Named, field: str, object_key: str, until: datetime) -> str:
    """A link to a picture that was sent as data in this field."""
    return _signed(named, f"/files/{named.shown_id}/{field}.{object_key.rpartition('.')[2]}", object_key, until)


def signed_path(path: str, row: str | None) -> str:
    """What the signature of a link is over; `row` is in the link where the path's id is its client's own."""
    return path if row is None else f"{path}?row={row}"


def row_of(row: uuid.UUID, object_key: str) -> str:
    """A row and the one object that a link opens: another prediction may have that id, and so that row, later on."""
    return f"{row}.{hashlib.sha256(object_key.encode()).hexdigest()[:16]}"


def _signed(named: Named, path: str, object_key: str, until: datetime) -> str:
    row = row_of(named.id, object_key) if named.own_id else None
    query: Any = services().signer.sign(signed_path(path, row), math.ceil(until.timestamp()))
    return f"{absolute(path)}?{query}" + (f"&row={row}" if row else "")
