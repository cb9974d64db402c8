"""Safety checkers that a test makes up, good ones and villains; they look at the picture's first pixel alone."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from worker.pipelines import Pixels, Verdict

GOOD, BAD = 0, 255
"""What a picture's red is where the made-up checkers shall let it through, or not."""


def picture(red: int = GOOD) -> Pixels:
    return np.full((64, 64, 3), (red, 90, 90), np.uint8)


@dataclass
class MadeUp:
    """Blocks what is red."""

    name: str = "made-up@1"

    def check(self, pixels: Pixels) -> Verdict:
        score = int(pixels[0, 0, 0]) / 255
        return Verdict("red", score, 0.5, blocked=score >= 0.5)


class Raising(MadeUp):
    def check(self, pixels: Pixels) -> Verdict:
        raise ZeroDivisionError


class NotANumber(MadeUp):
    def check(self, pixels: Pixels) -> Verdict:
        return Verdict("red", float("nan"), 0.5, blocked=False)


class Nonsense(MadeUp):
    def check(self, pixels: Pixels) -> Any:
        return None


@dataclass
class Slow(MadeUp):
    """Says what `MadeUp` says once it is let go; one that never is hangs."""

    asked: threading.Event = field(default_factory=threading.Event)
    let_go: threading.Event = field(default_factory=threading.Event)

    def check(self, pixels: Pixels) -> Verdict:
        self.asked.set()
        self.let_go.wait()
        return super().check(pixels)


VILLAINS: tuple[Callable[[], MadeUp], ...] = (Raising, NotANumber, Nonsense, Slow)
