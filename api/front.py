"""`GET /`: one plain page for whoever opens the address in a browser."""

from typing import Any

from flask import Blueprint, Response, render_template, request

from api.docs import POLICY, STYLE
from api.services import services
from fluxfarm import lookup
from fluxfarm.errors import Unavailable

front = Blueprint("front", __name__)


@front.get("/")
def page() -> Response:
    services().authenticator.count_public_read(request)
    html = render_template("front.html", style=STYLE, models=services().catalog.models, **_state())
    return Response(html, headers={"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"})


def _state() -> dict[str, Any]:
    """Live workers and what waits, per model; numbers only, for anybody may look."""
    try:
        with services().database.session_scope() as session:
            return {"away": False, "workers": lookup.live_workers(session), "queues": lookup.queues(session)}
    except Unavailable:
        return {"away": True, "workers": {}, "queues": {}}
