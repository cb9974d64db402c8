"""What scores ask for, always of held-out combinations, and how what was drawn compares with it."""

import random
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

from training import held_out
from training.captions import describe
from training.drawing import SQUARE, share
from training.judge import Seen
from training.world import Scene, one_thing

SEED: Final = 4
ASPECTS: Final = ("background", "colour", "place", "size", "shape")


def asked(count: int, draw: Callable[[random.Random, tuple[int, int]], Scene] = one_thing) -> list[tuple[str, Scene]]:
    """Captions that leave nothing unsaid, with what they ask for; every scene of held-out combinations."""
    rng = random.Random(SEED)
    scenes = islice(held_out.scenes(lambda: draw(rng, SQUARE), held_out=True), count)
    return [(describe(scene, rng, everything=True).text, scene) for scene in scenes]


def shares(wanted: Sequence[Scene], seen: Sequence[Seen]) -> dict[str, float]:
    """For each aspect the share of pictures that have it right, and that have all five."""
    right = [_aspects(scene, each) for scene, each in zip(wanted, seen, strict=True)]
    result = {aspect: share(each[aspect] for each in right) for aspect in ASPECTS}
    return {**result, "all_five": share(all(each.values()) for each in right)}


def _aspects(scene: Scene, seen: Seen) -> dict[str, bool]:
    thing = scene.things[0]
    return {"background": scene.background == seen.background} | {
        aspect: getattr(thing, aspect) == getattr(seen, aspect) for aspect in ASPECTS[1:]
    }
