"""What a picture shows, told from its pixels alone: it is compared with what was asked, never with how it was made."""

from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Final

import torch
from torch import Tensor

from training.world import COLOURS, DISTANCES, FORBIDDEN, PLACES, SHAPES, SIZES, Scene, Thing, outlines, place_centre

_PALETTE: Final = torch.tensor(list(COLOURS.values()), dtype=torch.float32)
_APART: Final = 57.0
"""A pixel this far from the background's colour, in levels of 0 to 255 over all three channels, belongs to a thing."""
_LEAST: Final = 24
"""Pixels that a thing must have at the least."""
_TOLD: Final = 0.65
"""Overlap from which somebody who looks would tell the motif, too; below lie smears."""
_GROW: Final = (0.94, 1.0, 1.06)
_MOVE: Final = (-0.6, 0.0, 0.6)


@dataclass(frozen=True, slots=True)
class Seen:
    """A picture of one thing as the judge sees it; without a thing all but the background is None."""

    background: str
    colour: str | None = None
    shape: str | None = None
    size: str | None = None
    place: str | None = None


def look(picture: Tensor) -> Seen:
    """The one thing in a picture of levels 0 to 255, (height, width, 3)."""
    named = _named(picture)
    background = _ground(named)
    mask = foreground(picture, background)
    if int(mask.sum()) < _LEAST:
        return Seen(background)
    of_thing = named[mask]
    others = of_thing[of_thing != _number(background)]
    colour = list(COLOURS)[int(others.mode().values)] if len(others) else None
    return _measured(mask, background, colour)


def look_at_two(picture: Tensor, colours: tuple[str, str]) -> tuple[Seen | None, Seen | None]:
    """The things of these colours, each with what stands out nearest to it; None where there is no such colour."""
    named = _named(picture)
    background = _ground(named)
    spots = [(named == _number(colour)).nonzero().float() for colour in colours]
    if any(len(spot) < _LEAST for spot in spots):
        return (None, None)
    mask = foreground(picture, background)
    of = torch.cdist(mask.nonzero().float(), torch.stack([spot.median(dim=0).values for spot in spots])).argmin(dim=1)
    first, second = (_measured(_only(mask, of == i), background, colour) for i, colour in enumerate(colours))
    return first, second


def _only(mask: Tensor, which: Tensor) -> Tensor:
    part = torch.zeros_like(mask)
    part[tuple(mask.nonzero()[which].T)] = True
    return part


def _measured(mask: Tensor, background: str, colour: str | None) -> Seen:
    shape, radius, x, y = _fit(mask)
    height, width = mask.shape
    middles = {name: sum(limits) / 2 * min(height, width) for name, limits in SIZES.items()}
    size = min(middles, key=lambda name: abs(middles[name] - radius))
    return Seen(background, colour, shape, size, _nearest_place(radius, (x, y), (width, height)))


def foreground(picture: Tensor, background: str) -> Tensor:
    """Which pixels are not of the background's colour: (height, width)."""
    distance: Tensor = (picture - _PALETTE[_number(background)]).norm(dim=-1)
    return distance > _APART


def ground(picture: Tensor) -> str:
    """The colour that most of the picture's rim has."""
    return _ground(_named(picture))


def colours_and_sides_right(picture: Tensor, scene: Scene) -> bool:
    """Whether a scene of two things has its background, both colours, and each thing on the side that was asked."""
    named = _named(picture)
    if _ground(named) != scene.background:
        return False
    spots = [(named == _number(thing.colour)).nonzero().float() for thing in scene.things]
    if any(len(spot) < _LEAST for spot in spots):
        return False
    (first_y, first_x), (second_y, second_x) = (spot.median(dim=0).values.tolist() for spot in spots)
    first, second = (PLACES[thing.place] for thing in scene.things)
    across, down = second[0] - first[0], second[1] - first[1]
    return _same_way(across, second_x - first_x, picture.shape[1]) and _same_way(
        down, second_y - first_y, picture.shape[0]
    )


def shows_motif(picture: Tensor, *, least: float = _TOLD) -> bool:
    """Whether the forbidden motif covers what stands out better than any shape does, and well enough to be told.

    `least` is the overlap, from 0 to 1, that is well enough.
    """
    mask = foreground(picture, ground(picture))
    if int(mask.sum()) < _LEAST:
        return False
    overlap, shape, *_ = max(_fit_shape(mask, each) for each in (*SHAPES, FORBIDDEN))
    return shape == FORBIDDEN and overlap >= least


def filled_overlap(picture: Tensor, thing: Thing, background: str) -> float:
    """Intersection over union of what stands out of this background and what the thing should cover."""
    seen = foreground(picture, background)
    wanted = outlines([thing], seen.shape[1], seen.shape[0])[0] < 0
    return float((seen & wanted).sum() / (seen | wanted).sum().clamp(min=1))


def _same_way(wanted: int, moved: float, side: int) -> bool:
    return wanted == 0 or wanted * moved > side / 6


def _named(picture: Tensor) -> Tensor:
    """The nearest colour's number for every pixel."""
    return torch.cdist(picture.reshape(-1, 3), _PALETTE).argmin(dim=1).reshape(picture.shape[:2])


def _ground(named: Tensor) -> str:
    rim = torch.cat([named[:3].flatten(), named[-3:].flatten(), named[:, :3].flatten(), named[:, -3:].flatten()])
    return list(COLOURS)[int(rim.mode().values)]


def _number(colour: str) -> int:
    return list(COLOURS).index(colour)


def _nearest_place(radius: float, at: tuple[float, float], picture: tuple[int, int]) -> str:
    def distance(place: str) -> float:
        x, y = place_centre(place, radius, *picture)
        return (x - at[0]) ** 2 + (y - at[1]) ** 2

    return min(PLACES, key=distance)


def _fit(mask: Tensor) -> tuple[str, float, float, float]:
    """The shape, radius and middle that cover the mask best."""
    best = (-1.0, SHAPES[0], 0.0, 0.0, 0.0)
    for shape in SHAPES:
        best = max(best, _fit_shape(mask, shape))
    return best[1:]


def _fit_shape(mask: Tensor, shape: str) -> tuple[float, str, float, float, float]:
    """From where the mask's box says the shape must lie, the best of small steps around."""
    rows, columns = (mask.nonzero()[:, i].float() for i in range(2))
    top, bottom, left, right = (_edge(rows, 0), _edge(rows, 1) + 1, _edge(columns, 0), _edge(columns, 1) + 1)
    wide, high, off_x, off_y = _extent(shape)
    radius = ((right - left) / wide + (bottom - top) / high) / 4
    x, y = (left + right) / 2 - off_x * radius, (top + bottom) / 2 - off_y * radius
    tried = torch.tensor(list(product(_GROW, _MOVE, _MOVE)))[:, :, None, None]
    radii, xs, ys = radius * tried[:, 0], x + tried[:, 1], y + tried[:, 2]
    wanted = _covered(shape, radii, (xs, ys), (mask.shape[1], mask.shape[0]))
    overlaps = (wanted & mask).sum(dim=(1, 2)) / (wanted | mask).sum(dim=(1, 2))
    i = int(overlaps.argmax())
    return float(overlaps[i]), shape, float(radii[i]), float(xs[i]), float(ys[i])


def _edge(values: Tensor, end: int) -> float:
    return float(torch.quantile(values, 0.995 if end else 0.005))


def _covered(shape: str, radius: Tensor, at: tuple[Tensor, Tensor], picture: tuple[int, int]) -> Tensor:
    """What shapes of these radii and middles, each (n, 1, 1), cover: (n, height, width)."""
    rows, columns = torch.arange(picture[1]) + 0.5, torch.arange(picture[0]) + 0.5
    down, right = torch.meshgrid(rows, columns, indexing="ij")
    return DISTANCES[shape]((right - at[0]) / radius, (down - at[1]) / radius) < 0


@cache
def _extent(shape: str) -> tuple[float, float, float, float]:
    """Half width and half height of a shape of radius 1 with the offset of its box's middle."""
    middle = torch.tensor(150.0)
    filled = _covered(shape, torch.tensor(100.0), (middle, middle), (300, 300)).nonzero().float()
    (top, left), (bottom, right) = filled.amin(dim=0).tolist(), filled.amax(dim=0).tolist()
    return (
        (right - left + 1) / 200,
        (bottom - top + 1) / 200,
        (left + right + 1) / 200 - 1.5,
        (top + bottom + 1) / 200 - 1.5,
    )
