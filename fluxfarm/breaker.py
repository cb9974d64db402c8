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
        self._next_try = 0.0
        self._trying = False
        self._lock = threading.Lock()

    @property
    def broken(self) -> bool:
        return self._pause > 0

    def call(self, action: Callable[[], T]) -> T | None:
        """What `action` returns; None while the part is away.

        Then now and then one is tried in a thread of its own, so that no caller waits to learn that it still is.
        """
        if self.broken:
            self._try_aside(action)
            return None
        try:
            return action()
        except self._away as error:
            if not self.broken:
                log.warning("part is away", extra={"fields": {"part": self._part, "reason": type(error).__name__}})
                self._leave_alone(FIRST_PAUSE_SECONDS)
            return None

    def _try_aside(self, action: Callable[[], object]) -> None:
        with self._lock:
            if self._trying or time.monotonic() < self._next_try:
                return
            self._trying = True
        threading.Thread(target=self._try, args=(action,), name=f"is {self._part} back", daemon=True).start()

    def _try(self, action: Callable[[], object]) -> None:
        try:
            action()
        except self._away:
            self._leave_alone(min(LONGEST_PAUSE_SECONDS, self._pause * 2))
        else:
            self._pause = 0.0
            log.info("part is back", extra={"fields": {"part": self._part}})
        finally:
            self._trying = False

    def _leave_alone(self, seconds: float) -> None:
        self._pause = seconds
        self._next_try = time.monotonic() + seconds
