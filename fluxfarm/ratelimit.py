"""A sliding log of calls per minute in Redis, for reads, refused attempts and wrong keys.

Creates are limited by their own rows (`admission`). While Redis is away, each process falls back to a log of its own
with its share of the limit.
"""

import secrets
import time
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Any

import redis

from fluxfarm.breaker import Breaker

WINDOW_SECONDS = 60
MOST_LOCAL_LOGS = 10_000

# A log, not a token bucket or GCRA: those let up to twice the limit into one minute.
# Returns: how many of the calls are allowed, how many were in the window before, milliseconds until the oldest leaves.
TAKE = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local window = tonumber(ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - window)
local n = redis.call('ZCARD', KEYS[1])
local allowed = math.max(0, math.min(tonumber(ARGV[4]), tonumber(ARGV[2]) - n))
for i = 1, allowed do redis.call('ZADD', KEYS[1], now, ARGV[3] .. i) end
if allowed > 0 then redis.call('PEXPIRE', KEYS[1], window) end
local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
local reset = oldest[2] and (oldest[2] + window - now) or window
return {allowed, n, reset}
"""


@dataclass(frozen=True, slots=True)
class Taken:
    """The answer to one call: whether it may go on, and where the bucket stands."""

    allowed: bool
    limit: int
    remaining: int
    reset_seconds: float


class RateLimiter:
    def __init__(self, client: redis.Redis, *, processes: int) -> None:
        self._client = client
        self._take = client.register_script(TAKE)
        self._breaker = Breaker("rate limits")
        self._processes = processes
        self._local: OrderedDict[str, deque[float]] = OrderedDict()

    def take(self, bucket: str, limit: int) -> Taken:
        """Count one call against `limit` a minute, if there is room."""
        return self.take_several(bucket, limit, 1)[0]

    def take_several(self, bucket: str, limit: int, calls: int) -> list[Taken]:
        """As `take`, for so many calls that came one after the other, in one round trip."""
        found = self._ask(bucket, limit, calls)
        if found is None:
            return [self._ask_locally(bucket, limit, count=True) for _ in range(calls)]
        allowed, before, reset = found
        used = [before + min(place, allowed) for place in range(1, calls + 1)]
        return [Taken(place < allowed, limit, max(0, limit - n), reset) for place, n in enumerate(used)]

    def look(self, bucket: str, limit: int) -> Taken:
        """Whether there is room, without counting a call."""
        found = self._ask(bucket, limit, 0)
        if found is None:
            return self._ask_locally(bucket, limit, count=False)
        _, n, reset = found
        return Taken(n < limit, limit, max(0, limit - n), reset)

    def reachable(self) -> bool:
        """Whether Redis answers; asks it, unless it was found away a moment ago."""
        return self._breaker.call(self._client.ping) is not None

    def _ask(self, bucket: str, limit: int, calls: int) -> tuple[int, int, float] | None:
        """How many of the calls are allowed, the calls before them, and seconds to the reset; None if Redis is away."""
        arguments: list[str | int] = [WINDOW_SECONDS * 1000, limit, secrets.token_hex(8), calls]
        found: Any = self._breaker.call(lambda: self._take(keys=[f"fluxfarm:rate:{bucket}"], args=arguments))
        if found is None:
            return None
        allowed, before, reset = (int(value) for value in found)
        return allowed, before, reset / 1000

    def _ask_locally(self, bucket: str, limit: int, *, count: bool) -> Taken:
        now = time.monotonic()
        log = self._local.setdefault(bucket, deque())
        self._local.move_to_end(bucket)
        if len(self._local) > MOST_LOCAL_LOGS:
            self._local.popitem(last=False)
        while log and log[0] <= now - WINDOW_SECONDS:
            log.popleft()
        share = max(1, limit // self._processes)
        allowed = len(log) < share
        if allowed and count:
            log.append(now)
        reset = log[0] + WINDOW_SECONDS - now if log else WINDOW_SECONDS
        return Taken(allowed, share, max(0, share - len(log)), reset)
