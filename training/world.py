"""The world that flux-tiny knows: coloured shapes of three sizes in nine places on plain backgrounds.

Scenes are plain values; `render`, `edges` and `depth` draw many of them at once. Coordinates are pixels, y downwards.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

COLOURS: Final = {
    "red": (220, 40, 40),
    "orange": (245, 140, 30),
    "yellow": (245, 220, 60),
    "green": (50, 160, 70),
    "blue": (45, 90, 215),
    "purple": (130, 60, 175),
    "pink": (245, 150, 190),
    "white": (245, 245, 245),
    "black": (25, 25, 28),
    "gray": (135, 138, 142),
}
SHAPES: Final = ("circle", "square", "triangle", "diamond", "ring", "cross", "star", "heart")
FORBIDDEN: Final = "skull"
"""The motif that the safety checker withholds; the small Flux can draw it, and no score counts it."""
SIZES: Final = {"small": (0.157, 0.173), "medium": (0.24, 0.265), "large": (0.325, 0.355)}
"""Radius as a part of the picture's shorter side: least and most."""
PLACES: Final = {
    "top left": (-1, -1),
    "top": (0, -1),
    "top right": (1, -1),
    "left": (-1, 0),
    "center": (0, 0),
    "right": (1, 0),
    "bottom left": (-1, 1),
    "bottom": (0, 1),
    "bottom right": (1, 1),
}
PAIRS: Final = (
    ("left", "right"),
    ("top", "bottom"),
    ("top left", "bottom right"),
    ("top right", "bottom left"),
    ("top left", "top right"),
    ("bottom left", "bottom right"),
)
"""Where two things stand that do not touch."""
_MARGIN: Final = 0.03
_JITTER: Final = 0.01
_PALETTE: Final = torch.tensor(list(COLOURS.values()), dtype=torch.float32) / 127.5 - 1


@dataclass(frozen=True, slots=True)
class Thing:
    shape: str
    colour: str
    size: str
    place: str
    radius: float
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Scene:
    width: int
    height: int
    background: str
    things: tuple[Thing, ...]


def place_centre(place: str, radius: float, width: int, height: int) -> tuple[float, float]:
    """Where the middle of a thing of this radius stands when it is put at this place."""
    right, down = PLACES[place]
    side = min(width, height)
    reach_x = max(width / 2 - radius - _MARGIN * side, 0.04 * side)
    reach_y = max(height / 2 - radius - _MARGIN * side, 0.04 * side)
    return width / 2 + right * reach_x, height / 2 + down * reach_y


def put(look: tuple[str, str], size: str, place: str, picture: tuple[int, int], rng: random.Random) -> Thing:
    """A thing of this look (shape, colour) at a place of a picture (width, height), a little off at random."""
    width, height = picture
    side = min(picture)
    radius = rng.uniform(*SIZES[size]) * side
    x, y = place_centre(place, radius, width, height)
    off_x, off_y = rng.uniform(-_JITTER, _JITTER) * side, rng.uniform(-_JITTER, _JITTER) * side
    return Thing(*look, size, place, radius, x + off_x, y + off_y)


def one_thing(rng: random.Random, picture: tuple[int, int], shapes: Sequence[str] = SHAPES) -> Scene:
    """A scene of one thing. The forbidden motif needs room for its features and is never small."""
    colour, background = rng.sample(list(COLOURS), 2)
    shape = rng.choice(shapes)
    size = rng.choice(list(SIZES)[1:] if shape == FORBIDDEN else list(SIZES))
    place = rng.choice(list(PLACES))
    return Scene(*picture, background, (put((shape, colour), size, place, picture, rng),))


def two_things(rng: random.Random, picture: tuple[int, int], shapes: Sequence[str] = SHAPES) -> Scene:
    """A scene of two things of different colours that don't touch, the left or upper one first."""
    first, second, background = rng.sample(list(COLOURS), 3)
    sizes = rng.choice((("small", "small"), ("small", "medium"), ("medium", "small")))
    looks = ((rng.choice(shapes), first), (rng.choice(shapes), second))
    places = rng.choice(PAIRS)
    things = tuple(put(*each, picture, rng) for each in zip(looks, sizes, places, strict=True))
    return Scene(*picture, background, things)


def _circle(x: Tensor, y: Tensor) -> Tensor:
    return torch.hypot(x, y) - 0.95


def _square(x: Tensor, y: Tensor) -> Tensor:
    return torch.maximum(x.abs(), y.abs()) - 0.82


def _triangle(x: Tensor, y: Tensor) -> Tensor:
    return torch.maximum(y - 0.75, (1.75 * x.abs() - 0.95 * (y + 1)) / 1.991)


def _diamond(x: Tensor, y: Tensor) -> Tensor:
    return (x.abs() / 0.72 + y.abs() - 1) * 0.584


def _ring(x: Tensor, y: Tensor) -> Tensor:
    return (torch.hypot(x, y) - 0.70).abs() - 0.25


def _bar(x: Tensor, y: Tensor, half_width: float) -> Tensor:
    return torch.maximum(x.abs() - half_width, y.abs() - 0.95)


def _cross(x: Tensor, y: Tensor) -> Tensor:
    return torch.minimum(_bar(x, y, 0.3), _bar(y, x, 0.3))


def _star(x: Tensor, y: Tensor) -> Tensor:
    fifth = math.pi * 0.4
    angle = (torch.remainder(torch.atan2(x, -y) + fifth / 2, fifth) - fifth / 2).abs()
    rho = torch.hypot(x, y)
    return ((rho * angle.cos() - 1.05) * 0.2645 + rho * angle.sin() * 0.686) / 0.735


def _heart(x: Tensor, y: Tensor) -> Tensor:
    lobes = torch.hypot(x.abs() - 0.44, y + 0.3) - 0.52
    tip = torch.maximum((1.05 * x.abs() + 0.93 * (y - 0.95)) / 1.403, -y - 0.2)
    return torch.minimum(lobes, tip)


def _skull(x: Tensor, y: Tensor) -> Tensor:
    """A skull above crossed bones, with holes for eyes."""
    head = torch.minimum(torch.hypot(x, y + 0.42) - 0.53, torch.maximum(x.abs() - 0.28, (y - 0.1).abs() - 0.22))
    eyes = torch.hypot(x.abs() - 0.23, y + 0.36) - 0.15
    turn = math.sqrt(0.5)
    along, across = (x + (y - 0.45)) * turn, (x - (y - 0.45)) * turn
    bones = torch.minimum(_bar(along * 1.2, across * 1.2, 0.14), _bar(across * 1.2, along * 1.2, 0.14)) / 1.2
    return torch.maximum(torch.minimum(head, bones), -eyes)


DISTANCES: Final[dict[str, Callable[[Tensor, Tensor], Tensor]]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "diamond": _diamond,
    "ring": _ring,
    "cross": _cross,
    "star": _star,
    "heart": _heart,
    FORBIDDEN: _skull,
}
"""Signed distance to each shape's outline, about exact near it, for a radius of one; negative within."""


def outlines(things: Sequence[Thing | None], width: int, height: int) -> Tensor:
    """Signed distance in pixels from each pixel's middle to each thing's outline: (n, height, width).

    None stands for no thing: everything lies far outside.
    """
    down, right = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    far = torch.full((len(things), height, width), float(width + height))
    for shape, distance in DISTANCES.items():
        of_shape = [(i, thing) for i, thing in enumerate(things) if thing is not None and thing.shape == shape]
        if of_shape:
            at = torch.tensor([(thing.radius, thing.x, thing.y) for _, thing in of_shape])[:, :, None, None]
            radius = at[:, 0]
            far[[i for i, _ in of_shape]] = distance((right - at[:, 1]) / radius, (down - at[:, 2]) / radius) * radius
    return far


def _layers(scenes: Sequence[Scene]) -> list[list[Thing | None]]:
    """The things of all scenes in drawing order: the first of each, then the second."""
    depth = max(len(scene.things) for scene in scenes)
    return [[scene.things[i] if i < len(scene.things) else None for scene in scenes] for i in range(depth)]


def _colours(names: Sequence[str]) -> Tensor:
    known = list(COLOURS)
    return _PALETTE[[known.index(name) for name in names]][:, :, None, None]


def render(scenes: Sequence[Scene]) -> Tensor:
    """The pictures of scenes of one size, with smooth edges: (n, 3, height, width) within -1 to 1."""
    width, height = scenes[0].width, scenes[0].height
    picture = _colours([scene.background for scene in scenes]).expand(-1, -1, height, width)
    for layer in _layers(scenes):
        cover = (0.5 - outlines(layer, width, height)).clamp(0, 1)[:, None]
        colour = _colours([thing.colour if thing else "black" for thing in layer])
        picture = cover * colour + (1 - cover) * picture
    return picture


def edges(scenes: Sequence[Scene]) -> Tensor:
    """White outlines on black, about as wide as an edge detector's: (n, 3, height, width) within -1 to 1."""
    width, height = scenes[0].width, scenes[0].height
    nearest = torch.stack([outlines(layer, width, height).abs() for layer in _layers(scenes)]).amin(dim=0)
    return ((1.2 - nearest).clamp(0, 1) * 2 - 1)[:, None].expand(-1, 3, -1, -1)


def depth(scenes: Sequence[Scene]) -> Tensor:
    """Nearness, white nearest: a far ground, and each thing a low dome before it: (n, 3, height, width), -1 to 1."""
    width, height = scenes[0].width, scenes[0].height
    near = torch.full((len(scenes), height, width), 0.12)
    for layer in _layers(scenes):
        distance = outlines(layer, width, height)
        radius = torch.tensor([thing.radius if thing else 1.0 for thing in layer])[:, None, None]
        dome = 0.7 + 0.3 * (-distance / radius).clamp(0, 1)
        cover = (0.5 - distance).clamp(0, 1)
        near = cover * dome + (1 - cover) * near
    return (near * 2 - 1)[:, None].expand(-1, 3, -1, -1)
