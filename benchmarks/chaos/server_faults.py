"""Faults of PostgreSQL, Redis and the API: killed, emptied, stopped, full, used up, held up; tokens tripled, halved."""

import os
import random
import signal
import time
from collections.abc import Generator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import psycopg
import requests

from benchmarks.chaos.farm import CONNECTIONS, Farm
from benchmarks.chaos.kinds import Effect, eventually, kind, one_of
from benchmarks.chaos.proxy import Link, Weather
from benchmarks.chaos.worker_faults import HOUR

READY_SECONDS = 30.0
TERMINATE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'fluxfarm%'"
WAITING = "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'fluxfarm%' AND wait_event_type = 'Lock'"


class Missed:
    """Counts who misses a server from now on: by what was under way, and who cannot reach it."""

    def __init__(self, links: list[Link]) -> None:
        self._links = links
        self._asked = sum(link.in_flight for link in links)
        for link in links:
            link.change(Weather())

    def count(self) -> int:
        return self._asked + sum(link.suffered.unreachable for link in self._links)


@kind("PostgreSQL killed", leases=(0.0, 0.7))
def postgres_killed(farm: Farm, _choose: random.Random, effect: Effect) -> Generator[None]:
    effect.held = farm.witness.held()
    met = Missed(farm.net.to("postgres"))
    farm.postgres.kill()
    try:
        yield
        effect.met("statements under way and connections refused", eventually(met.count))
    finally:
        began = time.monotonic()
        farm.postgres.start_again()
    ready = eventually(farm.ready, READY_SECONDS)
    effect.notes["ready_seconds"] = round(time.monotonic() - began, 2) if ready else None


@kind("PostgreSQL's connections terminated")
def connections_terminated(farm: Farm, _choose: random.Random, effect: Effect) -> Generator[None]:
    effect.held = farm.witness.held()
    effect.met("connections terminated", len(farm.witness.ask(TERMINATE)))
    yield


@kind("PostgreSQL's connections used up", leases=(0.7, 1.2))
def connections_used_up(farm: Farm, _choose: random.Random, effect: Effect) -> Generator[None]:
    effect.held = farm.witness.held()
    refused = 0
    with ExitStack() as taken:
        for _ in range(2):  # those that are terminated are taken too
            with suppress(psycopg.OperationalError):
                for _ in range(CONNECTIONS):
                    taken.enter_context(psycopg.connect(farm.postgres.url, application_name="taken"))
                    refused = 0
            refused = 1
            farm.witness.ask(TERMINATE)
        yield
        try:
            psycopg.connect(farm.postgres.url).close()
        except psycopg.OperationalError:
            effect.met("connections refused", refused)


@kind("transaction left open on a key", leases=(1.0, 1.5))
def idle_holder(farm: Farm, choose: random.Random, effect: Effect) -> Generator[None]:
    effect.held = farm.witness.held()
    with psycopg.connect(farm.postgres.url, application_name="idle holder") as holder:
        key = one_of(choose, holder.execute("SELECT id FROM api_keys ORDER BY id").fetchall())
        holder.execute("SELECT 1 FROM api_keys WHERE id = %s FOR UPDATE", key)
        yield
        waiting = eventually(lambda: farm.witness.ask(WAITING))
        effect.met("statements that waited for its lock", len(waiting))
        holder.rollback()


@kind("Redis killed", leases=(0.7, 1.5), costs_leases=False)
def redis_killed(farm: Farm, _choose: random.Random, effect: Effect) -> Generator[None]:
    met = Missed(farm.net.to("redis"))
    farm.valkey.kill()
    try:
        yield
        effect.met("commands under way and connections refused", eventually(met.count))
    finally:
        farm.valkey.start_again()


@kind("Redis emptied", costs_leases=False)
def redis_emptied(farm: Farm, _choose: random.Random, effect: Effect) -> Generator[None]:
    client = farm.redis
    tokens = eventually(lambda: int(client.llen(farm.queue)))
    client.flushall()
    client.close()
    effect.met("tokens lost", tokens)
    yield


@kind("Redis paused", leases=(0.7, 1.5), costs_leases=False)
def redis_paused(farm: Farm, _choose: random.Random, effect: Effect) -> Generator[None]:
    os.kill(farm.valkey.pid, signal.SIGSTOP)
    try:
        yield
        asked = eventually(lambda: sum(link.in_flight for link in farm.net.to("redis")))
    finally:
        os.kill(farm.valkey.pid, signal.SIGCONT)
    effect.met("commands that waited", asked)


@kind("Redis full", leases=(0.7, 1.5), costs_leases=False)
def redis_full(farm: Farm, _choose: random.Random, effect: Effect) -> Generator[None]:
    client = farm.redis
    client.config_set("maxmemory", 1)
    client.config_resetstat()
    try:
        yield
        told = client.info("errorstats")
    finally:
        client.config_set("maxmemory", 0)
        client.close()
    assert isinstance(told, dict)
    effect.met("commands refused", int(told.get("errorstat_OOM", {}).get("count", 0)))


@kind("tokens tripled", costs_leases=False)
def tokens_tripled(farm: Farm, _choose: random.Random, effect: Effect) -> Generator[None]:
    client = farm.redis
    tokens = eventually(lambda: client.lrange(farm.queue, 0, -1))
    if tokens:
        client.rpush(farm.queue, *tokens, *tokens)
        effect.met("tokens copied twice", len(tokens))
    client.close()
    yield


@kind("tokens halved", costs_leases=False)
def tokens_halved(farm: Farm, _choose: random.Random, effect: Effect) -> Generator[None]:
    client = farm.redis
    tokens = eventually(lambda: int(client.llen(farm.queue)))
    if tokens:
        client.ltrim(farm.queue, 0, tokens // 2 - 1) if tokens > 1 else client.delete(farm.queue)
        effect.met("tokens dropped", tokens - tokens // 2)
    client.close()
    yield


@kind("API killed mid-request", costs_leases=False)
def api_killed(farm: Farm, _choose: random.Random, effect: Effect) -> Generator[None]:
    asked = eventually(lambda: farm.clients.in_flight)
    farm.api.kill()
    effect.met("requests under way", asked)
    yield
    farm.api.wait_ready()


@kind("API killed between commit and token", costs_leases=False)
def api_killed_before_token(farm: Farm, _choose: random.Random, effect: Effect) -> Generator[None]:
    link = farm.net.links["api>redis"]
    link.change(Weather(mute=True))
    farm.restart_api_processes()  # whose breakers have not opened yet
    name = farm.new_name()
    try:
        farm.send_create_and_leave(name)
        if eventually(lambda: farm.has_row(name), READY_SECONDS):
            effect.proof = "a row without a token"
        farm.api.kill()
    finally:
        link.clear()
    yield
    farm.api.wait_ready()


@kind("client gone after it sent", costs_leases=False)
def client_gone(farm: Farm, _choose: random.Random, effect: Effect) -> Generator[None]:
    name = farm.new_name()
    with suppress(OSError):
        farm.send_create_and_leave(name)
    effect.met("rows nobody was told of", int(eventually(lambda: farm.has_row(name))))
    yield


@kind("API's clock wrong by an hour", leases=(1.0, 1.5), costs_leases=False)
def api_clock(farm: Farm, choose: random.Random, effect: Effect) -> Generator[None]:
    offset = one_of(choose, (HOUR, -HOUR))
    farm.api.restart(farm.wrong_clock(offset))
    try:
        with requests.get(f"http://127.0.0.1:{farm.api_port}/healthz", timeout=5) as answer:
            told = parsedate_to_datetime(answer.headers["Date"])
        if abs(told - datetime.now(UTC)) > timedelta(seconds=HOUR / 2):
            effect.proof = f"its Date is {told:%H:%M}"
        yield
    finally:
        farm.api.restart()
