"""What a kind of fault is, and the list of all there are; the modules that define kinds register them here.

A kind is a generator: it breaks something, yields while that lasts, and mends it when it goes on or is closed. What it
met it notes in its `Effect`: a fault that met nothing proves nothing.
"""

import random
import time
import uuid
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from benchmarks.chaos.farm import Farm

T = TypeVar("T")
LOOK_SECONDS = 0.02
PATIENCE_SECONDS = 10.0


@dataclass(slots=True)
class Effect:
    """What a fault met: proof in words, the predictions whose leases were held by what it hit, and measures."""

    proof: str = ""
    held: list[uuid.UUID] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)

    def met(self, what: str, number: int) -> None:
        """A number of things it did something to; none is no proof."""
        if number:
            self.proof = f"{what}: {number}"


Run = Callable[[Farm, random.Random, Effect], Generator[None]]


@dataclass(frozen=True, slots=True)
class Kind:
    name: str
    run: Run
    lasts: tuple[float, float]
    """The least and the most it lasts, in leases."""
    costs_leases: bool
    """Whether workers may lose leases by it, and so render again."""


KINDS: dict[str, Kind] = {}


def kind(name: str, *, leases: tuple[float, float] = (0.0, 0.0), costs_leases: bool = True) -> Callable[[Run], Run]:
    """Register what is decorated as a kind of fault that lasts so many leases."""

    def register(run: Run) -> Run:
        KINDS[name] = Kind(name, run, leases, costs_leases)
        return run

    return register


def eventually(look: Callable[[], T], seconds: float = PATIENCE_SECONDS) -> T:
    """What `look` gives once that is true, or in the end whatever it gives."""
    deadline = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
    return found


def one_of(choose: random.Random, options: Sequence[T]) -> T:
    """Each gets its turn first or not, by the seed."""
    return options[choose.randrange(len(options))]
