"""Who is waiting hears about it: what moved is told through Redis, after the commit, by whoever moved it.

A doorbell that all hear, and events of each prediction that are kept for a while. Nothing depends on them: what is not
heard is found out by looking at the rows. While Redis is away nothing is told.
"""

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import redis

from fluxfarm.breaker import AWAY, Breaker
from fluxfarm.moves import ENDS, Moved, Word

log = logging.getLogger("fluxfarm")

CHANNEL = "fluxfarm:moved"
CANCELS = "fluxfarm:canceling"
"""Only wishes to cancel what is rendered: for workers, which need not hear each step of all others."""

MOST_KEPT = 500
"""Events of one prediction, and"""
MOST_KEPT_OF_KEY = 2000
"""of one key, as long as somebody follows it."""
KEPT_SECONDS = 3600
KEPT_AFTER_END_SECONDS = 300

MOST_WAITING = 10_000
"""What cannot be told so fast is dropped, the oldest first."""
MOST_AT_ONCE = 100
REST_SECONDS = 0.05
"""Steps that follow one another faster are told together; a move is told at once."""
LAST_WORDS_SECONDS = 1.0

PING_SECONDS = 5.0
PAUSE_SECONDS = 0.5

# An event that is not later than the last one was told before, or by a worker that has lost its lease. A key's events
# are kept only where somebody has asked for them.
TELL = """
for i = 1, #KEYS, 2 do
    local at = (i - 1) / 2 * 4 + 5
    local place, seconds, event, ring = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
    local new = true
    if place ~= '' then
        local added = redis.pcall('XADD', KEYS[i], 'MAXLEN', ARGV[2], place, 'event', event)
        if type(added) == 'table' and added.err then
            if not string.find(added.err, 'equal or smaller') then return added end
            new = false
        else
            redis.call('EXPIRE', KEYS[i], seconds)
        end
    end
    if new then
        redis.call('XADD', KEYS[i + 1], 'NOMKSTREAM', 'MAXLEN', ARGV[3], '*', 'event', event)
        redis.call('PUBLISH', ARGV[1], ring)
        if string.find(ring, ' canceling', 1, true) then
            redis.call('PUBLISH', ARGV[4], ring)
        end
    end
end
return redis.status_reply('OK')
"""


def prediction_events(prediction: object) -> str:
    return f"fluxfarm:events:{prediction}"


def key_events(key_id: str) -> str:
    return f"fluxfarm:events:key:{key_id}"


class Announcer:
    """Tells what it is given from a thread of its own, so that nobody waits for Redis; made after the fork."""

    def __init__(self, client: redis.Redis) -> None:
        self._tell_all = client.register_script(TELL)
        self._breaker = Breaker("announcements")
        self._waiting: deque[Moved] = deque(maxlen=MOST_WAITING)
        self._some = threading.Event()
        self._urgent = threading.Event()
        self._beginning = threading.Lock()
        self._thread: threading.Thread | None = None
        self._ending = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """What is left is told, if that takes no long time."""
        self._ending = True
        self._some.set()
        self._urgent.set()
        if self._thread is not None:
            self._thread.join(LAST_WORDS_SECONDS)

    def tell(self, moves: Iterable[Moved]) -> None:
        """Tell it soon; returns at once."""
        told = tuple(moves)
        self._waiting.extend(told)
        with self._beginning:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="announce", daemon=True)
                self._thread.start()
        self._some.set()
        if any(each.word is not Word.PROGRESS for each in told):
            self._urgent.set()

    def _run(self) -> None:
        while not self._ending or self._waiting:
            self._some.wait()
            self._some.clear()
            self._urgent.clear()
            while self._waiting:
                group = [self._waiting.popleft() for _ in range(min(MOST_AT_ONCE, len(self._waiting)))]
                try:
                    self._breaker.call(partial(self._send, group))
                except Exception:
                    log.exception("some announcements were not told")
            if not self._ending:
                self._urgent.wait(REST_SECONDS)

    def _send(self, group: list[Moved]) -> None:
        keys: list[str] = []
        arguments: list[str | int] = [CHANNEL, MOST_KEPT, MOST_KEPT_OF_KEY, CANCELS]
        for each in group:
            keys += [prediction_events(each.prediction), key_events(each.key_id)]
            arguments += _told(each)
        self._tell_all(keys=keys, args=arguments)


def _told(moved: Moved) -> list[str | int]:
    place = moved.place
    # A create has no story yet; of many, nobody follows most.
    kept = place is not None and (moved.word is not Word.QUEUED or moved.attempt > 0)
    event = {"prediction": str(moved.prediction), "word": moved.word, "attempt": moved.attempt}
    event |= {"picture": moved.picture, "step": moved.step, **moved.more}
    return [
        f"{place.attempt}-{place.within}" if kept and place is not None else "",
        KEPT_AFTER_END_SECONDS if moved.word in ENDS else KEPT_SECONDS,
        json.dumps(event, separators=(",", ":")),
        f"{moved.prediction} {moved.key_id} {moved.word}",
    ]


RING_PARTS = 3


@dataclass(frozen=True, slots=True)
class Ring:
    """The doorbell: of which prediction of which key something was told, and what kind of thing."""

    prediction: str
    key_id: str
    word: str


class Doorbell:
    """One subscription to all that is told, held for as long as the process lives."""

    def __init__(self, client: redis.Redis, channel: str = CHANNEL) -> None:
        self._client = client
        self._channel = channel
        self.heard = False
        """Whether what is told now reaches us."""
        self._told_away = False

    def listen(self, hear: Callable[[Ring], None], changed: Callable[[], None]) -> None:
        """Hear every ring, for ever; `changed` is called when the doorbell was lost or is back.

        What was told meanwhile is not heard any more: whoever waits must look.
        """
        while True:
            try:
                self._follow_while_there(hear, changed)
            except Exception:
                log.exception("the doorbell broke")
            time.sleep(PAUSE_SECONDS)

    def _follow_while_there(self, hear: Callable[[Ring], None], changed: Callable[[], None]) -> None:
        try:
            self._follow(hear, changed)
        except AWAY as error:
            if self.heard or not self._told_away:
                log.warning("part is away", extra={"fields": {"part": "doorbell", "reason": type(error).__name__}})
            self._told_away = True
        finally:
            if self.heard:
                self.heard = False
                changed()

    def _follow(self, hear: Callable[[Ring], None], changed: Callable[[], None]) -> None:
        with closing(self._client.pubsub()) as subscription:  # type: ignore[no-untyped-call]
            subscription.subscribe(self._channel)
            last, pinged = time.monotonic(), False
            while True:
                message: dict[str, Any] | None = subscription.get_message(timeout=PING_SECONDS)
                if message is not None:
                    last, pinged = time.monotonic(), False
                    self._heed(message, hear, changed)
                elif time.monotonic() - last > 2 * PING_SECONDS:
                    raise redis.exceptions.TimeoutError("no answer to a ping")
                elif not pinged:
                    subscription.ping()
                    pinged = True

    def _heed(self, message: dict[str, Any], hear: Callable[[Ring], None], changed: Callable[[], None]) -> None:
        if message["type"] == "message":
            told = message["data"].decode(errors="replace").split(" ")
            if len(told) == RING_PARTS:
                hear(Ring(*told))
        elif message["type"] == "subscribe":
            self.heard = True
            log.info("the doorbell is heard")
            changed()
