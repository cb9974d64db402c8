"""The admin API: tenants, keys and the audit over HTTP, for a host's billing system.

Served on a port of its own (`api.admin_wsgi`), for keys with the scope `admin`. The same functions as the command line.
"""

import dataclasses
import json
from typing import Any

from flask import Blueprint, Flask, Response, current_app, request

from api import body, gauges
from api.app import application
from api.health import health
from api.services import services
from fluxfarm import audit, keys, lookup, moderation, tenants
from fluxfarm.erasure import erase_tenant
from fluxfarm.settings import Settings
from fluxfarm.storage import open_store

admin = Blueprint("admin", __name__)

MOST_ENTRIES = 1000
MODERATED_BY = ("verdict", "stage", "tenant", "key_id")
"""By what the moderation log may be narrowed."""


def create_admin_app(settings: Settings) -> Flask:
    """The API that a host's own systems call, on a port of its own."""
    app = application(settings)
    app.register_blueprint(admin, url_prefix="/admin")
    app.register_blueprint(health)
    return app


@admin.get("/tenants")
def list_tenants() -> Response:
    _actor()
    with services().database.session_scope() as session:
        return _json([dataclasses.asdict(each) for each in tenants.every(session)])


@admin.post("/tenants")
def create_tenant() -> Response:
    actor, sent = _actor(), body.json_object(request)
    name = sent.pop("name", None)
    with services().database.session_scope() as session:
        return _json(dataclasses.asdict(tenants.create(session, name, sent, by=actor)), 201)


@admin.get("/tenants/<name>")
def show_tenant(name: str) -> Response:
    _actor()
    with services().database.session_scope() as session:
        return _json(dataclasses.asdict(tenants.show(session, name)))


@admin.patch("/tenants/<name>")
def change_tenant(name: str) -> Response:
    actor, sent = _actor(), body.json_object(request)
    with services().database.session_scope() as session:
        return _json(dataclasses.asdict(tenants.change(session, name, sent, by=actor)))


@admin.delete("/tenants/<name>")
def delete_tenant(name: str) -> Response:
    actor = _actor()
    # A store of its own: the API's keeps what blocks away from other requests, and there are few of these.
    erased = erase_tenant(services().database, open_store(services().settings), name, by=actor)
    return _json(dataclasses.asdict(erased))


@admin.post("/tenants/<name>/<any(suspend, resume):wish>")
def suspend_or_resume(name: str, wish: str) -> Response:
    actor = _actor()
    with services().database.session_scope() as session:
        changed = (tenants.suspend if wish == "suspend" else tenants.resume)(session, name, by=actor)
    with services().database.session_scope() as session:
        tenants.hold_queued(session)
    return _json(dataclasses.asdict(changed))


@admin.get("/tenants/<name>/keys")
def list_keys(name: str) -> Response:
    _actor()
    with services().database.session_scope() as session:
        tenants.show(session, name)
        return _json([dataclasses.asdict(each) for each in keys.every(session, name)])


@admin.post("/tenants/<name>/keys")
def issue_key(name: str) -> Response:
    actor, sent = _actor(), body.json_object(request)
    days = sent.pop("expires_in_days", None)
    with services().database.session_scope() as session:
        issued = keys.issue(session, tenant=name, settings=sent, by=actor, expires_in_days=days)
    return _json(dataclasses.asdict(issued), 201)


@admin.get("/keys/<key_id>")
def show_key(key_id: str) -> Response:
    _actor()
    with services().database.session_scope() as session:
        return _json(dataclasses.asdict(keys.show(session, key_id)))


@admin.patch("/keys/<key_id>")
def change_key(key_id: str) -> Response:
    actor, sent = _actor(), body.json_object(request)
    with services().database.session_scope() as session:
        return _json(dataclasses.asdict(keys.change(session, key_id, sent, by=actor)))


@admin.post("/keys/<key_id>/rotate")
def rotate_key(key_id: str) -> Response:
    actor = _actor()
    overlap = body.whole(request, "overlap_seconds", 24 * 3600, 0, 365 * 24 * 3600)
    with services().database.session_scope() as session:
        issued = keys.rotate(session, key_id, overlap_seconds=overlap, by=actor)
    return _json(dataclasses.asdict(issued), 201)


@admin.post("/keys/<key_id>/revoke")
def revoke_key(key_id: str) -> Response:
    actor = _actor()
    with services().database.session_scope() as session:
        return _json(dataclasses.asdict(keys.revoke(session, key_id, by=actor)))


@admin.get("/moderation")
def moderation_log() -> Response:
    _actor()
    limit = body.whole(request, "limit", 100, 1, MOST_ENTRIES)
    wanted = {name: request.args[name] for name in MODERATED_BY if name in request.args}
    with services().database.session_scope() as session:
        found = moderation.recent(session, wanted, limit=limit)
    return _json([dataclasses.asdict(each) for each in found])


@admin.get("/metrics")
def metrics() -> Response:
    _actor()
    with services().database.session_scope() as session:
        workers, queues = lookup.live_workers(session), lookup.queues(session)
        decided = moderation.counts(session, {}, hours=1)
    return gauges.answer(gauges.busy(workers, queues), gauges.moderated(decided))


@admin.get("/audit")
def list_audit() -> Response:
    _actor()
    limit = body.whole(request, "limit", 100, 1, MOST_ENTRIES)
    with services().database.session_scope() as session:
        return _json([dataclasses.asdict(each) for each in audit.recent(session, limit=limit)])


def _actor() -> str:
    """Who the audit names; every view asks, so none is open."""
    return f"key {services().authenticator.caller(request, scope='admin').key_id}"


def _json(content: Any, status: int = 200) -> Response:
    text = json.dumps(content, default=str)
    return current_app.response_class(text, status=status, mimetype="application/json")
