"""Which scenes are trained on: of all the sides the aspect ratios give, never a held-out combination."""

import random
from collections.abc import Sequence
from itertools import islice
from typing import Final

from fluxfarm.sizes import BY_RATIO, render_size
from training import held_out
from training.world import SHAPES, Scene, one_thing, two_things

NATIVE_SIDE: Final = 64
SIDES: Final = tuple(
    dict.fromkeys(
        (size.width, size.height) for size in (render_size(ratio, NATIVE_SIDE) for ratio in BY_RATIO.values())
    )
)
"""Width and height of every picture that an aspect ratio leads to at the native side, the square first."""
_TWO: Final = 0.25


def scenes(
    rng: random.Random, picture: tuple[int, int], count: int, *, shapes: Sequence[str] = SHAPES, two: float = _TWO
) -> list[Scene]:
    """Scenes of these sides for training, a part of them of two things."""

    def draw() -> Scene:
        return (two_things if rng.random() < two else one_thing)(rng, picture, shapes)

    return list(islice(held_out.scenes(draw, held_out=False), count))
