"""Ends this process when the device's thread hangs, by a timer that needs no GIL: a hung device call may hold it."""

import faulthandler
import os
import sys
from typing import NoReturn


class Watchdog:
    """Armed anew at each stage; if it ever runs out, the stacks go to standard error and the process ends at once.

    The lease then runs out too, and the supervisor starts the worker again.
    """

    def arm(self, seconds: float) -> None:
        # A little later than the stage's own limit, after which the lease is renewed no more.
        faulthandler.dump_traceback_later(seconds * 1.1 + 1, exit=True, file=sys.__stderr__ or sys.stderr)

    def disarm(self) -> None:
        faulthandler.cancel_dump_traceback_later()


def end_stuck_process() -> NoReturn:
    """For a hang elsewhere than on the device: end the process just as abruptly, with the stacks as the reason."""
    faulthandler.dump_traceback(file=sys.__stderr__ or sys.stderr)
    os._exit(os.EX_SOFTWARE)
