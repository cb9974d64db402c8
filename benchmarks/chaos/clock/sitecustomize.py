"""A wall clock that is wrong by `CHAOS_CLOCK` seconds, for the process that finds this directory on its path.

Python imports it before anything else, so whoever asks the time afterwards is told the wrong one. The monotonic clock
stays right, as it does on a machine whose wall clock is wrong. What signs requests to the store is told the right time:
S3 refuses everybody who is more than a quarter of an hour off, and then nothing else could be tried.
"""

import datetime as dt
import os
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

OFFSET = float(os.environ.get("CHAOS_CLOCK", "0"))
RIGHT = dt.datetime


def _wrong(right: Callable[[], float]) -> Callable[[], float]:
    return lambda: right() + OFFSET


class _AlsoRight(type):
    """What others made with the right class counts as one of ours."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, RIGHT)


class WrongDatetime(RIGHT, metaclass=_AlsoRight):
    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> Any:
        return RIGHT.fromtimestamp(_time_for(sys._getframe(1)), tz)  # noqa: SLF001 (who asks matters)

    @classmethod
    def utcnow(cls) -> Any:
        return RIGHT.fromtimestamp(_time_for(sys._getframe(1)), dt.UTC).replace(tzinfo=None)  # noqa: SLF001 (who asks matters)


def _time_for(caller: FrameType) -> float:
    name: str = caller.f_globals.get("__name__", "")
    return time.time() - OFFSET * name.startswith("botocore")


if OFFSET:
    time.time = _wrong(time.time)
    dt.datetime = WrongDatetime  # type: ignore[misc]
