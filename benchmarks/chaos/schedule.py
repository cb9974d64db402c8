"""Which fault comes when: all kinds in a shuffled round, then another round, drawn from one seed."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.chaos import link_faults, server_faults, worker_faults
from benchmarks.chaos.kinds import KINDS, Kind

SOURCES = (worker_faults, server_faults, link_faults)
"""Each registers its kinds when it is imported."""
ALL = tuple(KINDS)


@dataclass(frozen=True, slots=True)
class Planned:
    number: int
    kind: Kind
    seconds: float
    pause_seconds: float
    choose: random.Random
    """For what the fault itself has to choose."""


def schedule(seed: int, names: Sequence[str], *, lease_seconds: float) -> Iterator[Planned]:
    """An endless schedule; the same for the same seed, kinds and lease."""
    draw = random.Random(seed)
    number = 0
    while True:
        for name in draw.sample(list(names), len(names)):
            kind, number = KINDS[name], number + 1
            yield Planned(
                number=number,
                kind=kind,
                seconds=draw.uniform(*kind.lasts) * lease_seconds,
                pause_seconds=draw.uniform(0.1, 0.5) * lease_seconds,
                choose=random.Random(f"{seed}-{number}"),
            )
