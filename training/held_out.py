"""The combinations of shape, colour and background that no training picture shows, so that the scores mean something.

`python -m training.held_out` chose them once; the file is not to be written again.
"""

import json
import random
from collections.abc import Callable, Iterator
from itertools import permutations
from pathlib import Path
from typing import Final

from training.world import COLOURS, SHAPES, Scene

FILE: Final = Path(__file__).with_name("held_out.json")
_SHARE: Final = 0.1
_SEED: Final = 20261120


def load() -> frozenset[tuple[str, str, str]]:
    """The (shape, colour, background) that are held out."""
    return frozenset((shape, colour, background) for shape, colour, background in json.loads(FILE.read_text()))


def shows(scene: Scene, held_out: frozenset[tuple[str, str, str]]) -> bool:
    """Whether any thing of the scene is one of these combinations."""
    return any((thing.shape, thing.colour, scene.background) in held_out for thing in scene.things)


def scenes(draw: Callable[[], Scene], *, held_out: bool) -> Iterator[Scene]:
    """Endlessly the scenes drawn, of held-out combinations alone or of none."""
    combinations = load()
    while True:
        scene = draw()
        if shows(scene, combinations) == held_out:
            yield scene


def _choose() -> list[tuple[str, str, str]]:
    """The same number of every shape, at random."""
    rng = random.Random(_SEED)
    pairs = list(permutations(COLOURS, 2))
    return [(shape, *pair) for shape in SHAPES for pair in sorted(rng.sample(pairs, round(len(pairs) * _SHARE)))]


if __name__ == "__main__":
    FILE.write_text("[\n" + ",\n".join(json.dumps(each) for each in _choose()) + "\n]\n")
