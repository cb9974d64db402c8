"""The sliding log of calls against a real Valkey, and what is left of it while that is away."""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import cast

import pytest
import redis

from fluxfarm.breaker import Breaker
from fluxfarm.local.valkey import PrivateValkey
from fluxfarm.queue import PUBLISH_SECONDS, redis_client
from fluxfarm.ratelimit import WINDOW_SECONDS, RateLimiter, Taken
from fluxfarm.settings import Settings
from tests.processes import wait_until

LIMIT = 10

pytestmark = pytest.mark.usefixtures("clean_redis")


@pytest.fixture
def client(settings: Settings) -> Iterator[redis.Redis]:
    client = redis_client(settings)
    yield client
    client.close()


@pytest.fixture
def limiter(client: redis.Redis) -> RateLimiter:
    return RateLimiter(client, processes=2)


@pytest.fixture
def black_hole() -> Iterator[Settings]:
    """Settings whose Redis takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield Settings(redis_url=f"redis://127.0.0.1:{silent.getsockname()[1]}/0")


def let_time_pass(client: redis.Redis, seconds: float) -> None:
    """By Redis' clock: every call it remembers was made that much earlier."""
    for bucket in client.scan_iter("fluxfarm:rate:*"):
        for member in client.zrange(bucket, 0, -1):
            client.zincrby(bucket, -seconds * 1000, cast("bytes", member))


def take_many(url: str) -> int:
    client = redis_client(Settings(redis_url=url))
    limiter = RateLimiter(client, processes=1)
    with ThreadPoolExecutor(4) as pool:
        allowed = sum(pool.map(lambda _: limiter.take("shared", LIMIT).allowed, range(20)))
    client.close()
    return allowed


def test_who_comes_in_a_rush_waits_for_a_connection(client: redis.Redis) -> None:
    pool = client.connection_pool
    taken = [pool.get_connection() for _ in range(pool.max_connections)]
    with ThreadPoolExecutor(1) as rush:
        asked = rush.submit(client.ping)
        wait_until(lambda: asked.done() or pool.pool.not_empty._waiters)
        pool.release(taken.pop())
        assert asked.result() is True
    for each in taken:
        pool.release(each)


def test_the_limit_is_exact_over_processes_and_threads(settings: Settings, client: redis.Redis) -> None:
    with ProcessPoolExecutor(3, mp_context=get_context("forkserver")) as pool:
        assert sum(pool.map(take_many, [settings.require_redis_url()] * 3)) == LIMIT


def test_it_counts_down_refuses_and_says_when_to_come_back(limiter: RateLimiter) -> None:
    remaining = [limiter.take("one", 3).remaining for _ in range(3)]
    assert remaining == [2, 1, 0]
    refused = limiter.take("one", 3)
    assert (refused.allowed, refused.limit, refused.remaining) == (False, 3, 0)
    assert WINDOW_SECONDS - 5 < refused.reset_seconds <= WINDOW_SECONDS
    assert limiter.take("another", 3).allowed


def test_the_window_slides(client: redis.Redis, limiter: RateLimiter) -> None:
    assert limiter.take("one", 2).allowed
    let_time_pass(client, 40)
    assert limiter.take("one", 2).allowed
    refused = limiter.take("one", 2)
    assert not refused.allowed
    assert 15 < refused.reset_seconds <= 20
    let_time_pass(client, 20.5)
    # Only the first call has left the window: never more than two within any minute.
    assert limiter.take("one", 2).allowed
    assert not limiter.take("one", 2).allowed


def test_a_refused_call_and_a_look_count_for_nothing(client: redis.Redis, limiter: RateLimiter) -> None:
    assert limiter.look("one", 1) == Taken(allowed=True, limit=1, remaining=1, reset_seconds=WINDOW_SECONDS)
    limiter.take("one", 1)
    for _ in range(3):
        assert not limiter.take("one", 1).allowed
        assert not limiter.look("one", 1).allowed
    assert client.zcard("fluxfarm:rate:one") == 1


def test_several_calls_at_once_are_counted_one_by_one(client: redis.Redis, limiter: RateLimiter) -> None:
    limiter.take("one", 5)
    taken = limiter.take_several("one", 5, 6)
    assert [each.allowed for each in taken] == [True] * 4 + [False] * 2
    assert [each.remaining for each in taken] == [3, 2, 1, 0, 0, 0]
    assert client.zcard("fluxfarm:rate:one") == 5


def test_a_bucket_is_forgotten_with_its_last_call(client: redis.Redis, limiter: RateLimiter) -> None:
    limiter.take("one", 5)
    assert 0 < client.pttl("fluxfarm:rate:one") <= WINDOW_SECONDS * 1000


def test_without_redis_each_process_has_its_share() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    client = redis_client(Settings(redis_url=f"redis://127.0.0.1:{port}/0"))
    limiter = RateLimiter(client, processes=4)
    taken = [limiter.take("one", 8) for _ in range(3)]
    assert [each.allowed for each in taken] == [True, True, False]
    assert taken[0].limit == 2
    assert [each.allowed for each in limiter.take_several("several", 8, 3)] == [True, True, False]
    assert not limiter.look("one", 8).allowed
    assert not limiter.reachable()
    assert limiter.take("another", 1).allowed, "even the smallest limit leaves each process one"


def test_a_black_hole_costs_the_first_caller_its_patience_and_the_others_nothing(black_hole: Settings) -> None:
    limiter = RateLimiter(redis_client(black_hole), processes=1)
    began = time.monotonic()
    limiter.take("one", 5)
    first = time.monotonic() - began
    assert PUBLISH_SECONDS / 2 < first < 4 * PUBLISH_SECONDS
    began = time.monotonic()
    for _ in range(100):
        limiter.take("one", 500)
    assert time.monotonic() - began < PUBLISH_SECONDS / 2


def test_it_finds_redis_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with PrivateValkey(tmp_path / "valkey") as server:
        client = redis_client(Settings(redis_url=server.url))
        limiter = RateLimiter(client, processes=1)
        assert limiter.take("one", 5).remaining == 4
        os.kill(server.pid, signal.SIGSTOP)
        try:
            assert limiter.take("one", 5).remaining == 4, "its own log starts empty"
        finally:
            os.kill(server.pid, signal.SIGCONT)
        deadline = time.monotonic() + 60
        while not limiter.reachable():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert limiter.look("one", 5).remaining <= 4
        client.close()
    told = [record.message for record in caplog.records if record.name == "fluxfarm"]
    assert told[0] == "part is away"


def test_no_caller_waits_to_learn_that_it_is_still_away() -> None:
    breaker = Breaker("test")
    tries: list[threading.Thread] = []
    go_on = threading.Event()

    def fail() -> None:
        raise ConnectionError

    def wait() -> None:
        tries.append(threading.current_thread())
        go_on.wait(30)

    assert breaker.call(fail) is None
    assert breaker.broken
    wait_until(lambda: breaker.call(wait) or tries)
    for _ in range(100):
        assert breaker.call(wait) is None, "one tries, aside"
    assert tries != [threading.current_thread()]
    go_on.set()
    wait_until(lambda: not breaker.broken)
    assert len(tries) == 1
    assert breaker.call(lambda: "found") == "found"
