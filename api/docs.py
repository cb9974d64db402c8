"""`/openapi.json`: this API as OpenAPI 3.1. `/docs`: the same for people, one page that asks nothing of other hosts."""

import base64
import hashlib
from pathlib import Path

from flask import Blueprint, Response, jsonify, render_template, request

from api.codes import CANCELLATIONS, ERRORS, FAILURES
from api.links import absolute
from api.openapi.document import document
from api.services import services

docs = Blueprint("docs", __name__)

STYLE = (Path(__file__).parent / "templates" / "docs.css").read_text()
STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@docs.get("/openapi.json")
def description() -> Response:
    services().authenticator.count_public_read(request)
    return jsonify(document(services().catalog, absolute("")))


@docs.get("/docs")
def page() -> Response:
    services().authenticator.count_public_read(request)
    api = document(services().catalog, absolute(""))
    known = {"errors": ERRORS, "failures": {**FAILURES, **CANCELLATIONS}, "models": services().catalog.models}
    html = render_template("docs.html", api=api, style=STYLE, **known)
    return Response(html, headers={"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"})
