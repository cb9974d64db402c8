"""Sizes of pictures: the table of aspect ratios, what a caller may ask for, and what small weights render; pure."""

import math
from dataclasses import dataclass
from typing import Final

STEP: Final = 16
"""Every side is a multiple of this: the VAE halves three times, the transformer takes patches of two."""
SMALLEST: Final = 256
LARGEST: Final = 1440
NATIVE_SIDE: Final = 1024
"""Side of the square that FLUX.1 draws best."""


@dataclass(frozen=True, slots=True)
class Size:
    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width} x {self.height}"


BY_RATIO: Final = {
    "1:1": Size(1024, 1024),
    "16:9": Size(1344, 768),
    "21:9": Size(1536, 640),
    "3:2": Size(1216, 832),
    "2:3": Size(832, 1216),
    "4:5": Size(896, 1088),
    "5:4": Size(1088, 896),
    "3:4": Size(896, 1152),
    "4:3": Size(1152, 896),
    "9:16": Size(768, 1344),
    "9:21": Size(640, 1536),
}
SIDE_DIVISORS: Final = {"1": 1, "0.25": 2}
"""What a choice of megapixels divides both sides by."""
OWN_AREA: Final = "match_input"
"""The choice of as many megapixels as the source has."""

_MATCHING_AREA_WEIGHT: Final = 0.08
_RENDER_AREA_WEIGHT: Final = 0.15
# What a deviation in area counts against one in proportions. Matching: light enough that every size of the table (but
# 21:9, which is too wide) is the best match of itself. Rendering: heavy enough that steps of 16, coarse for small
# weights, don't leave the area they draw well.


def for_ratio(ratio: str, megapixels: str) -> Size:
    """The table's size for one of its aspect ratios."""
    size, divisor = BY_RATIO[ratio], SIDE_DIVISORS[megapixels]
    return Size(size.width // divisor, size.height // divisor)


def matching(source: Size, megapixels: str) -> Size:
    """The legal size closest to the proportions of `source`, at about the native area (or its quarter, or its own).

    Proportions are kept even where a limit of the sides costs area. Those beyond 1440 to 256 are clamped to that, so
    that the picture has to be cropped to cover.
    """
    own = source.width * source.height
    area = own if megapixels == OWN_AREA else (NATIVE_SIDE / SIDE_DIVISORS[megapixels]) ** 2
    sides = range(SMALLEST, LARGEST + 1, STEP)
    return _closest(source.width / source.height, area, sides=sides, area_weight=_MATCHING_AREA_WEIGHT)


def nearest_legal(width: int, height: int) -> Size:
    """The pair that a caller may ask for and that is closest to this one, each side by itself."""
    return Size(_nearest_step(width, SMALLEST, LARGEST), _nearest_step(height, SMALLEST, LARGEST))


def render_size(size: Size, native_side: int) -> Size:
    """What weights of this native side draw when `size` is wanted: smaller in proportion, nearly the same shape.

    Weights of the full native side draw the size itself.
    """
    if native_side >= NATIVE_SIDE:
        return size
    area = size.width * size.height * (native_side / NATIVE_SIDE) ** 2
    sides = range(STEP, max(size.width, size.height, STEP) + 1, STEP)
    return _closest(size.width / size.height, area, sides=sides, area_weight=_RENDER_AREA_WEIGHT)


def _closest(ratio: float, area: float, *, sides: range, area_weight: float) -> Size:
    def distance(shape: Size) -> float:
        of_ratio = abs(math.log(shape.width / shape.height / ratio))
        return of_ratio + area_weight * abs(math.log(shape.width * shape.height / area))

    return min((Size(w, _nearest_step(round(w / ratio), sides[0], sides[-1])) for w in sides), key=distance)


def _nearest_step(side: int, lowest: int, highest: int) -> int:
    return min(max((side + STEP // 2) // STEP * STEP, lowest), highest)
