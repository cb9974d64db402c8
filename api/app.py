"""The application: what is mounted where."""

from flask import Flask, g, request
from flask.wrappers import Response

from api import errors, limits, origins, stopping, tracing
from api.docs import docs
from api.doorways import DOORS, MANNERS
from api.files import files
from api.front import front
from api.health import health
from api.proxies import TrustedProxies
from api.services import NAME, build_services
from fluxfarm.settings import Settings


def create_app(settings: Settings) -> Flask:
    """The API that clients call."""
    app = application(settings)
    origins.register(app, settings.allowed_origins)
    for blueprint in (*DOORS, files, health, docs, front):
        app.register_blueprint(blueprint)
    return app


def application(settings: Settings) -> Flask:
    """What every application of ours has, with nothing mounted."""
    app = Flask("api", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    app.json.sort_keys = False  # type: ignore[attr-defined]
    # Werkzeug would answer a doubled slash with a redirect, as an HTML page.
    app.url_map.merge_slashes = False
    app.extensions[NAME] = made = build_services(settings)
    stopping.before_it(made.waiting.end)
    app.wsgi_app = TrustedProxies(app.wsgi_app, settings.trusted_proxies).answered  # type: ignore[method-assign]
    app.before_request(lambda: tracing.name_request(request))
    app.after_request(_add_headers)
    errors.register(app, MANNERS)
    return app


def _add_headers(response: Response) -> Response:
    response.headers["X-Request-Id"] = g.request_id
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers.setdefault("Cache-Control", "no-store")
    if request.method == "OPTIONS" and response.status_code == 200:  # noqa: PLR2004
        # It has no body, and Flask would call the lack of one HTML.
        del response.headers["Content-Type"]
    limits.add_headers(response)
    return response
