"""Shorthand for tests of the domain: put predictions in, as a caller would."""

import uuid
from dataclasses import replace
from typing import Any

from fluxfarm import admission, inputs
from fluxfarm.admission import Request, Rules
from fluxfarm.catalog import Model
from fluxfarm.database import Database
from fluxfarm.keys import Caller
from fluxfarm.plans import Plan
from fluxfarm.queue import queue_name, redis_client
from fluxfarm.safety_policy import Ruling
from fluxfarm.settings import Settings


def request(caller: Caller, model: Model, **sent: Any) -> Request:
    order = inputs.parse(model, {"prompt": "a red circle", **sent})
    plan = Plan.of(order, kept={}, ruling=Ruling())
    return Request(id=uuid.uuid4(), caller=caller, model=model, plan=plan, shown_input=order.echo, request_id="test")


def tokens_waiting(settings: Settings, model: str) -> int:
    client = redis_client(settings)
    waiting: Any = client.llen(queue_name(model))
    client.close()
    return int(waiting)


def create(
    database: Database,
    caller: Caller,
    model: Model,
    *,
    rules: Rules = Rules(max_queued=1_000_000),  # noqa: B008 (frozen)
    low_priority: bool = False,
    **sent: Any,
) -> uuid.UUID:
    asked = replace(request(caller, model, **sent), low_priority=low_priority)
    with database.session_scope() as session:
        admission.admit(session, asked, rules)
    return asked.id
