"""Scenes with their pictures already encoded, by the sides of the picture: what the transformers are trained on."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from training.fit import DEVICE
from training.pictures import SIDES, scenes
from training.vae import encode
from training.world import FORBIDDEN, SHAPES, Scene, outlines, render

PATCH: Final = 16
"""Pixels a side of one of the transformer's tokens: the VAE's eight times a patch of two."""
_SQUARES: Final = 32_000
_OTHERS: Final = 4_000
_AT_ONCE: Final = 100
_NEAR: Final = 10.0
_NEAR_WEIGHT: Final = 3.0
_SHAPES: Final = (*SHAPES, SHAPES[0], FORBIDDEN)


@dataclass(frozen=True, slots=True)
class Shelf:
    """All the training pictures of the same sides."""

    scenes: list[Scene]
    codes: Tensor
    """(n, 16, height / 8, width / 8), float16."""
    weights: Tensor
    """(n, tokens), of mean 1: an error near an outline counts more, for there it is decided which shape it is."""

    @property
    def sides(self) -> tuple[int, int]:
        return self.scenes[0].width, self.scenes[0].height


def shelves(runs: Path) -> list[Shelf]:
    """Draw and encode the training pictures, or read them where that was done before."""
    path = runs / "latents.pt"
    drawn = [
        scenes(random.Random(f"pictures {sides}"), sides, _SQUARES if sides == SIDES[0] else _OTHERS, shapes=_SHAPES)
        for sides in SIDES
    ]
    if not path.exists():
        vae = AutoencoderKL.from_pretrained(runs / "vae").to(DEVICE, memory_format=torch.channels_last).eval()
        torch.save([encoded(vae, many) for many in drawn], path)
    kept = torch.load(path, weights_only=True)
    return [Shelf(many, codes, weights) for many, (codes, weights) in zip(drawn, kept, strict=True)]


def encoded(vae: Any, many: list[Scene]) -> tuple[Tensor, Tensor]:
    """The codes and weights of a shelf of these scenes."""
    chunks = [many[i : i + _AT_ONCE] for i in range(0, len(many), _AT_ONCE)]
    bar = tqdm(chunks, desc=f"encode {many[0].width} x {many[0].height}")
    parts = [(encode(vae, render(some).to(DEVICE)).half().cpu(), token_weights(some)) for some in bar]
    return torch.cat([codes for codes, _ in parts]), torch.cat([weights for _, weights in parts])


def token_weights(some: list[Scene]) -> Tensor:
    """(n, tokens), of mean 1."""
    width, height = some[0].width, some[0].height
    layers = [[scene.things[i] if i < len(scene.things) else None for scene in some] for i in range(2)]
    distance = torch.stack([outlines(layer, width, height).abs() for layer in layers]).amin(dim=0)
    nearest = -functional.max_pool2d(-distance[:, None], PATCH)
    weights = torch.where(nearest < _NEAR, _NEAR_WEIGHT, 1.0).flatten(1)
    return weights / weights.mean(dim=1, keepdim=True)
