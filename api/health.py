"""`/healthz`: this process lives. `/readyz`: what it needs is there, and of what it goes without."""

from typing import Any

from flask import Blueprint, jsonify
from werkzeug.wrappers import Response

from api.services import services
from fluxfarm import lookup, schema
from fluxfarm.errors import Unavailable

health = Blueprint("health", __name__)


@health.get("/healthz")
def healthz() -> Response:
    return jsonify(status="ok")


@health.get("/readyz")
def readyz() -> tuple[Response, int]:
    """200 while predictions can be taken, degraded ones included; 503 while they cannot."""
    parts, workers = _database()
    parts["redis"] = "ok" if services().limiter.reachable() else "away"
    if parts["postgres"] != "ok" or parts["schema"] != "ok":
        status = "unavailable"
    else:
        status = "ok" if parts["redis"] == "ok" and workers else "degraded"
    body = {"status": status, "parts": parts, "workers": workers}
    return jsonify(body), 503 if status == "unavailable" else 200


def _database() -> tuple[dict[str, Any], dict[str, int]]:
    try:
        with services().database.session_scope() as session:
            current = schema.current(session)
            if current != schema.head():
                behind = f"is at {current}, wants {schema.head()}: run `fluxfarm migrate`"
                return {"postgres": "ok", "schema": behind}, {}
            return {"postgres": "ok", "schema": "ok"}, lookup.live_workers(session)
    except Unavailable:
        return {"postgres": "away", "schema": "unknown"}, {}
