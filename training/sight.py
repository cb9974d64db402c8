"""The eye of the remixes: a small SigLIP that knows what is in a picture before it learns to say it to the transformer.

It learns to tell the whole scene from the mean of its tokens and, since that comes far sooner then, of each patch what
lies there; what tells both is thrown away.
"""

import random
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional
from transformers import SiglipVisionConfig, SiglipVisionModel

from training import reading
from training.captions import plain
from training.fit import DEVICE, Plan, autocast, fit
from training.pictures import SIDES, scenes
from training.safety import as_seen
from training.text import answers, choices
from training.world import COLOURS, FORBIDDEN, SHAPES, Scene, render

SIDE: Final = 64
WIDTH: Final = 128
_PATCH: Final = 8
_BATCH: Final = 64
_SHAPES: Final = (*SHAPES, FORBIDDEN)
_HERE: Final = (len(SHAPES) + 2, len(COLOURS))
"""Answers for each patch: the shape of what lies there, or none, and the colour, the background's included."""


def is_matrix(name: str, weight: nn.Parameter) -> bool:
    return weight.ndim == 2 and "layers" in name and "norm" not in name


_PLAN: Final = Plan("sight", steps=600, muon_rate=0.01, adam_rate=1e-3, is_matrix=is_matrix)


class Pupil(nn.Module):
    """The eye, and what tells of the whole and of each patch."""

    def __init__(self) -> None:
        super().__init__()
        self.eye = untrained()
        self.whole = nn.Linear(WIDTH, sum(choices()))
        self.here = nn.Linear(WIDTH, sum(_HERE))

    def forward(self, pictures: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        seen = self.eye(pictures).last_hidden_state
        return self.whole(seen.mean(dim=1)).split(choices(), dim=1), self.here(seen).split(_HERE, dim=2)


def untrained() -> Any:
    """Four layers and a token for each eight by eight pixels; without SigLIP's pooling, which Redux does not use."""
    return SiglipVisionModel(
        SiglipVisionConfig(
            image_size=SIDE,
            patch_size=_PATCH,
            hidden_size=WIDTH,
            intermediate_size=2 * WIDTH,
            num_hidden_layers=4,
            num_attention_heads=4,
            vision_use_head=False,
        )
    )


def train(runs: Path) -> None:
    """Train on true pictures and on what the VAE makes of them, and save to `runs/sight`."""
    vae: Any = AutoencoderKL.from_pretrained(runs / "vae").to(DEVICE, memory_format=torch.channels_last).eval()
    pupil = Pupil()

    def loss(rng: random.Random) -> Tensor:
        sides = SIDES[0] if rng.random() < 0.6 else rng.choice(SIDES)
        batch = scenes(rng, sides, _BATCH, shapes=_SHAPES, two=0.35)
        pictures = as_seen(vae, render(batch).to(DEVICE), rng)
        told = torch.tensor([answers(plain(scene)) for scene in batch], device=DEVICE)
        with autocast():
            whole, here = pupil(pictures)
        there = zip(here, lies(batch), strict=True)
        patches = sum(functional.cross_entropy(guess.float().flatten(0, 1), at.flatten()) for guess, at in there)
        return reading.mistakes(whole, told, torch.ones(_BATCH, device=DEVICE)) + patches

    average: Any = fit(pupil, loss, _PLAN, runs)
    average.eye.save_pretrained(runs / "sight")


def lies(batch: list[Scene]) -> tuple[Tensor, Tensor]:
    """Numbers of the shape and the colour about each patch's middle, (n, patches) each; 0 is no shape."""
    at = (torch.arange(SIDE // _PATCH) + 0.5) * _PATCH / SIDE
    down, right = torch.meshgrid(at, at, indexing="ij")
    shapes = torch.zeros(len(batch), *down.shape, dtype=torch.long)
    colours = torch.zeros_like(shapes)
    for shape, colour, scene in zip(shapes, colours, batch, strict=True):
        colour[:] = list(COLOURS).index(scene.background)
        for thing in scene.things:
            away = torch.hypot(right * scene.width - thing.x, down * scene.height - thing.y)
            shape[away <= thing.radius] = _SHAPES.index(thing.shape) + 1
            colour[away <= thing.radius] = list(COLOURS).index(thing.colour)
    return shapes.flatten(1).to(DEVICE), colours.flatten(1).to(DEVICE)
