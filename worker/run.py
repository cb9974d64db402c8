"""The story of one prediction on the device: render each picture, pass it on, and say how it ends."""

import logging
from contextlib import closing

from fluxfarm.errors import PredictionFailed, Unavailable, WorkerFault
from worker import test_outcome
from worker.finisher import End, Finisher
from worker.job import Job, Stopped, StopReason
from worker.pipelines import Pipeline
from worker.prepare import Ready

log = logging.getLogger("fluxfarm")


def render(ready: Ready, pipeline: Pipeline, finisher: Finisher) -> End | PredictionFailed:
    """Render a prediction and hand its pictures and its end to the finisher; returns that end."""
    with ready.job.on_device():
        end = _end_of(ready, pipeline, finisher)
    finisher.end(ready.job, end)
    return end


def give_up(job: Job, finisher: Finisher) -> None:
    """Hand back a job that was never begun."""
    job.stop = job.stop or StopReason.HANDED_BACK
    finisher.end(job, End.STOPPED)


def _end_of(ready: Ready, pipeline: Pipeline, finisher: Finisher) -> End | PredictionFailed:
    try:
        _draw(ready, pipeline, finisher)
    except Stopped:
        return End.STOPPED
    except PredictionFailed as failure:
        return failure
    except Unavailable:
        return End.AWAY
    except Exception as error:
        fields = {"prediction": ready.job.claimed.id, "request_id": ready.job.claimed.request_id, "reason": str(error)}
        trace = None if isinstance(error, WorkerFault) else error
        log.error("the worker failed at a render", exc_info=trace, extra={"fields": fields})  # noqa: TRY400 (a known fault needs no trace)
        return End.FAULT
    return End.COMPLETE


def _draw(ready: Ready, pipeline: Pipeline, finisher: Finisher) -> None:
    job, order = ready.job, ready.order
    # First, for a fetch that was stopped has failed too.
    job.check()
    if ready.failure is not None:
        raise ready.failure
    assert order is not None
    finisher.require_checks(job)
    if (outcome := job.claimed.plan.test_outcome) is not None:
        test_outcome.bring_about(outcome, job)
    if notice := pipeline.prompt_notice(order.prompt):
        job.notices.append(notice)
    # Closed here: what it has put on the device is off again before anything else is rendered, or that fails.
    with closing(pipeline.render(order, job)) as pictures:
        for rendered in pictures:
            finisher.picture(job, rendered)
