"""Brings about the outcome that the header `X-Test-Outcome` asked for, for a client's program to be tried on."""

import time
from typing import Final

from fluxfarm.errors import PredictionFailed
from worker.job import Job

_SLOW: Final = "slow="
_LOOK_SECONDS: Final = 0.05


def bring_about(outcome: str, job: Job) -> None:
    """Hold the job for the seconds of `slow=…`, or end it with the code that `outcome` is.

    Raises:
        PredictionFailed: the outcome is a failure.
        Stopped: the job was cancelled, lost or is to be handed back while it waited.

    """
    if not outcome.startswith(_SLOW):
        raise PredictionFailed(outcome, "X-Test-Outcome asked for this end.")
    end = time.monotonic() + float(outcome.removeprefix(_SLOW))
    with job.off_device():
        while (left := end - time.monotonic()) > 0:
            job.check()
            time.sleep(min(left, _LOOK_SECONDS))
