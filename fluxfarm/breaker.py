"""A circuit breaker for Redis: after a failure it is left alone for a moment, so that a black hole slows no request."""

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import redis.exceptions

log = logging.getLogger("fluxfarm")
T = TypeVar("T")

AWAY = (redis.exceptions.RedisError, OSError)
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 5.0


class Breaker:
    """Calls through it return None while the part is away; one log line tells of each change."""

    def __init__(self, part: str, away: tuple[type[BaseException], ...] = AWAY) -> None:
        self._part = part
        self._away = away
        self._pause = 0.0
        self._closed_until = 0.0
        self._lock = threading.Lock()

    @property
    def broken(self) -> bool:
        return self._pause > 0

    def call(self, action: Callable[[], T]) -> T | None:
        with self._lock:
            now = time.monotonic()
            if now < self._closed_until:
                return None
            if self.broken:
                # One caller tries; the others are spared the wait until it knows.
                self._closed_until = now + self._pause
        try:
            result = action()
        except self._away as error:
            self._open(error)
            return None
        if self.broken:
            self._pause = self._closed_until = 0.0
            log.info("part is back", extra={"fields": {"part": self._part}})
        return result

    def _open(self, error: BaseException) -> None:
        if not self.broken:
            log.warning("part is away", extra={"fields": {"part": self._part, "reason": type(error).__name__}})
        self._pause = min(LONGEST_PAUSE_SECONDS, max(FIRST_PAUSE_SECONDS, self._pause * 2))
        self._closed_until = time.monotonic() + self._pause
