"""Ends this process when the device's thread hangs, by a timer that needs no GIL: a hung device call may hold it."""

import faulthandler
import os
import sys
import time
from typing import NoReturn

SPARE_SECONDS = 1.0


class Watchdog:
    """Armed anew at each stage; if it ever runs out, the stacks go to standard error and the process ends at once.

    The lease then runs out too, and the supervisor starts the worker again.
    """

    def __init__(self) -> None:
        self._armed: tuple[float, float] | None = None

    def arm(self, seconds: float) -> None:
        # Each time a thread ends and another starts, under the GIL: dear between steps that follow one another fast.
        now = time.monotonic()
        if self._armed is not None and self._armed[0] == seconds and now - self._armed[1] < SPARE_SECONDS:
            return
        self._armed = (seconds, now)
        # A little later than the stage's own limit, after which the lease is renewed no more.
        faulthandler.dump_traceback_later(seconds * 1.1 + SPARE_SECONDS, exit=True, file=sys.__stderr__ or sys.stderr)

    def disarm(self) -> None:
        self._armed = None
        faulthandler.cancel_dump_traceback_later()


def end_stuck_process() -> NoReturn:
    """For a hang elsewhere than on the device: end the process just as abruptly, with the stacks as the reason."""
    faulthandler.dump_traceback(file=sys.__stderr__ or sys.stderr)
    os._exit(os.EX_SOFTWARE)
