"""When a prediction's pictures may be expected, and when to ask for them again."""

import math
from datetime import timedelta

from api.services import services
from fluxfarm.line import LONGEST_BEAT_SECONDS
from fluxfarm.lookup import PredictionView
from fluxfarm.outcomes import Progress
from fluxfarm.status import TERMINAL, Stage, Status

LONGEST_RETRY_AFTER = 30
NOT_BEGUN = frozenset({Stage.CLAIMED, Stage.FETCH})


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
    at = view.progress or Progress()
    left = at.left_seconds(len(view.plan.seeds))
    return _expected(view, at) if left is None else max(0.0, left - _noted_seconds_ago(view))


def _expected(view: PredictionView, at: Progress) -> float:
    """Of one that has made no step yet of its present picture."""
    line = services().lines.of(view.model, view.version)
    if line is None:
        return view.cost_seconds
    if at.stage in NOT_BEGUN:
        return line.left(view.worker_id, view.cost_seconds)
    return view.cost_seconds * line.pace * (1 - max(0, at.picture - 1) / len(view.plan.seeds))


def _noted_seconds_ago(view: PredictionView) -> float:
    """How old its progress is: it is noted with each renewal of its lease."""
    if view.lease_until is None:
        return 0.0
    renewed = view.lease_until - timedelta(seconds=services().settings.lease_seconds)
    return min(LONGEST_BEAT_SECONDS, max(0.0, (view.now - renewed).total_seconds()))
