"""Each request has an id, taken from the caller or made here, and hands on the caller's `traceparent`."""

import re
import uuid

from flask import Request, g

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
# https://www.w3.org/TR/trace-context/#traceparent-header
TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)


def name_request(request: Request) -> None:
    sent = request.headers.get("X-Request-Id", "")
    g.request_id = sent if REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex


def traceparent(request: Request) -> str | None:
    sent = request.headers.get("traceparent", "")
    return sent if TRACEPARENT.fullmatch(sent) else None
