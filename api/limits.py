"""The headers that tell a caller where its key stands: `RateLimit-*` and `X-Concurrency-*`."""

import math

from flask import g
from werkzeug.wrappers import Response

from fluxfarm.errors import LimitState
from fluxfarm.ratelimit import Taken


def tell(state: LimitState | Taken) -> None:
    """Remember what this response's headers shall say."""
    g.limits = state


def add_headers(response: Response) -> None:
    state: LimitState | Taken | None = g.get("limits")
    if isinstance(state, LimitState):
        rate = (state.rate_limit, state.rate_remaining, state.rate_reset_seconds)
        response.headers["X-Concurrency-Limit"] = str(state.active_limit)
        response.headers["X-Concurrency-Remaining"] = str(state.active_remaining)
    elif isinstance(state, Taken):
        rate = (state.limit, state.remaining, state.reset_seconds)
    else:
        return
    for name, value in zip(("Limit", "Remaining", "Reset"), rate, strict=True):
        response.headers[f"RateLimit-{name}"] = str(math.ceil(value))
