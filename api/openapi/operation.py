"""One method of one path, and what it may answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

JSON = "application/json"
RATE = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")
CONCURRENCY = ("X-Concurrency-Limit", "X-Concurrency-Remaining")
EVENT_STREAM = "text/event-stream"
KEYED = ("unauthenticated", "forbidden", "rate_limited", "unavailable")
CREATES = (
    *("idempotency_mismatch", "idempotency_in_flight", "bad_request", "invalid_input", "model_not_found"),
    *("safety_checker_required", "prompt_blocked", "tenant_suspended", "model_not_allowed", "body_too_large"),
    *("unsupported_media_type", "concurrency_limited", "queue_full", *KEYED),
)
"""What every call that creates may be refused with, at any door."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One successful answer: a named schema or a media type, and its headers beside those on every answer."""

    description: str
    schema: str | dict[str, Any] | None = None
    media_types: tuple[str, ...] = (JSON,)
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    name: str
    method: str
    path: str
    summary: str
    description: str
    answers: dict[int, Answer]
    errors: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    scope: str | None = None
    body: str | None = None
    same_as: str | None = None
    refusal: str = "Error"
    """The shape of its errors."""
    numbers: Mapping[str, int] = field(default_factory=dict)
    """HTTP numbers of codes that are others there."""
