"""When a prediction's pictures may be expected, and when to ask for them again."""

import math

from fluxfarm.lookup import PredictionView
from fluxfarm.status import TERMINAL, Status

LONGEST_RETRY_AFTER = 30


def retry_after(view: PredictionView) -> int | None:
    """Seconds after which another look may pay; None once it has ended."""
    if view.status in TERMINAL:
        return None
    eta = eta_seconds(view)
    return LONGEST_RETRY_AFTER if eta is None else max(1, min(LONGEST_RETRY_AFTER, math.ceil(eta)))


def eta_seconds(view: PredictionView) -> float | None:
    """Seconds until the pictures may be expected; None while nobody can tell."""
    if view.status is Status.QUEUED:
        return view.place.eta_seconds if view.place else None
    at, pictures = view.progress, len(view.plan.seeds)
    if at is None or not at.steps:
        return view.cost_seconds
    done = (max(0, at.picture - 1) + at.step / at.steps) / pictures
    return view.cost_seconds * max(0.0, 1 - done)
