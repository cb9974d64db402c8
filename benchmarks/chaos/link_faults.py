"""Faults of links and of the object store: cut, mute, late, narrow, half-open; 500, slow, partial, full."""

import random
import resource
from collections.abc import Callable, Generator

from benchmarks.chaos.farm import Farm
from benchmarks.chaos.kinds import Effect, eventually, kind
from benchmarks.chaos.proxy import Link, Suffered, Weather

REFUSAL = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>InternalError</Code>'
    b"<Message>We encountered an internal error.</Message></Error>"
)
INTERNAL_ERROR = (
    b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/xml\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(REFUSAL), REFUSAL)
)
PART_OF_A_PICTURE = 6000
"""Bytes: more than a request's head, less than what a picture takes."""
AWAY = "part is away"
PARTS = ("postgres", "redis", "store")


def busy_link(farm: Farm, choose: random.Random) -> Link:
    """The first in an order by the seed on which something is under way right now."""
    names = [f"worker-{n + 1}>{part}" for n in range(len(farm.workers)) for part in PARTS]
    names += ["api>postgres", "api>redis", "maintenance>postgres", "maintenance>redis", "clients>api"]
    links = [farm.net.links[name] for name in choose.sample(names, len(names))]
    return eventually(lambda: next((link for link in links if link.in_flight), None)) or links[0]


def holders(farm: Farm, link: Link) -> list[int]:
    """The workers whose link it is; all of them where it is not a worker's."""
    own = [slot.pid for slot in farm.workers if link.name.startswith(f"{slot.name}>")]
    return own or [slot.pid for slot in farm.workers]


def store_links(farm: Farm) -> list[Link]:
    return [link for name, link in farm.net.links.items() if name.startswith("worker-") and name.endswith(">store")]


def suffer(
    farm: Farm, links: list[Link], effect: Effect, weather: Weather, measure: Callable[[Suffered], int], what: str
) -> Generator[None]:
    """Links in bad weather for as long as the fault lasts."""
    effect.held = farm.witness.held_by([pid for link in links for pid in holders(farm, link)])
    effect.notes["links"] = [link.name for link in links]
    for link in links:
        link.change(weather)
    try:
        yield
        found = eventually(lambda: sum(measure(link.suffered) for link in links), 2 * farm.size.lease_seconds)
    finally:
        for link in links:
            link.clear()
    effect.met(what, found)


@kind("link cut", leases=(0.3, 0.9))
def link_cut(farm: Farm, choose: random.Random, effect: Effect) -> Generator[None]:
    link = busy_link(farm, choose)
    effect.held = farm.witness.held_by(holders(farm, link))
    effect.notes["links"] = [link.name]
    link.cut()
    try:
        yield
        found = eventually(lambda: link.suffered.cut_in_flight, 2 * farm.size.lease_seconds)
    finally:
        link.clear()
    effect.met("connections cut with bytes in flight, or refused", found)


@kind("all of Redis' connections cut", costs_leases=False)
def broker_cut(farm: Farm, _choose: random.Random, effect: Effect) -> Generator[None]:
    effect.met("connections cut with bytes in flight", eventually(lambda: cut_while_busy(farm.net.to("redis"))))
    yield


def cut_while_busy(links: list[Link]) -> int:
    """Connections that were cut with bytes in flight, which may have arrived between a look and the cut."""
    if any(link.in_flight for link in links):
        for link in links:
            link.cut_once()
    return sum(link.suffered.cut_in_flight for link in links)


@kind("link a black hole", leases=(0.7, 1.5))
def link_mute(farm: Farm, choose: random.Random, effect: Effect) -> Generator[None]:
    links = [busy_link(farm, choose)]
    return suffer(farm, links, effect, Weather(mute=True), lambda s: s.held_bytes, "bytes that waited")


@kind("link late", leases=(1.0, 2.0))
def link_late(farm: Farm, choose: random.Random, effect: Effect) -> Generator[None]:
    links = [busy_link(farm, choose)]
    weather = Weather(delay_seconds=choose.uniform(0.1, 1.0) * farm.size.lease_seconds)
    return suffer(farm, links, effect, weather, lambda s: s.late_chunks, "chunks that came late")


@kind("link narrow", leases=(1.0, 2.0))
def link_narrow(farm: Farm, choose: random.Random, effect: Effect) -> Generator[None]:
    links = [busy_link(farm, choose)]
    weather = Weather(bytes_per_second=choose.uniform(500, 5000))
    return suffer(farm, links, effect, weather, lambda s: s.narrow_bytes, "bytes that came slowly")


@kind("link half open", leases=(0.7, 1.5))
def link_half_open(farm: Farm, choose: random.Random, effect: Effect) -> Generator[None]:
    link = busy_link(farm, choose)
    effect.held = farm.witness.held_by(holders(farm, link))
    effect.notes["links"] = [link.name]
    link.lose_far_side()
    orphaned = link.suffered.orphaned
    try:
        yield
    finally:
        link.clear()
    effect.met("connections whose far side was gone", orphaned)


@kind("store answers 500", leases=(0.5, 1.5))
def store_refuses(farm: Farm, _choose: random.Random, effect: Effect) -> Generator[None]:
    weather = Weather(answer=INTERNAL_ERROR)
    return suffer(farm, store_links(farm), effect, weather, lambda s: s.answered, "requests answered so")


@kind("store does not answer", leases=(0.5, 2.5))
def store_mute(farm: Farm, _choose: random.Random, effect: Effect) -> Generator[None]:
    weather = Weather(mute=True)
    return suffer(farm, store_links(farm), effect, weather, lambda s: s.held_bytes, "bytes that waited")


@kind("store slow", leases=(1.0, 2.0))
def store_slow(farm: Farm, choose: random.Random, effect: Effect) -> Generator[None]:
    weather = Weather(bytes_per_second=choose.uniform(4000, 20000))
    return suffer(farm, store_links(farm), effect, weather, lambda s: s.narrow_bytes, "bytes that came slowly")


@kind("store takes a part and breaks off", leases=(0.5, 1.5))
def store_partial(farm: Farm, _choose: random.Random, effect: Effect) -> Generator[None]:
    weather = Weather(breaks_after=PART_OF_A_PICTURE)
    return suffer(farm, store_links(farm), effect, weather, lambda s: s.broken_off, "uploads broken off")


@kind("store's disk full", leases=(0.5, 1.5))
def store_full(farm: Farm, _choose: random.Random, effect: Effect) -> Generator[None]:
    """By a limit on the size of the files it may write, set from outside."""
    effect.held = farm.witness.held()
    before = farm.said_by_workers(AWAY)
    hard = resource.prlimit(farm.store.pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(farm.store.pid, resource.RLIMIT_FSIZE, (1024, hard))
    try:
        yield
        refused = eventually(lambda: farm.said_by_workers(AWAY) - before, 2 * farm.size.lease_seconds)
    finally:
        resource.prlimit(farm.store.pid, resource.RLIMIT_FSIZE, (hard, hard))
    effect.met("times that a worker missed the store", refused)
