"""The safety checker: a small vision transformer that knows the world's forbidden motif from everything else.

While it learns it must also say of each patch whether the motif is there. That it learns far sooner than what to say of
a whole picture, which then follows; what says it is thrown away.
"""

import random
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

from training.fit import DEVICE, Plan, autocast, fit
from training.pictures import SIDES, scenes
from training.vae import encode
from training.world import FORBIDDEN, SHAPES, Scene, render

LABELS: Final = ("normal", "nsfw")
_SIDE: Final = 64
_BATCH: Final = 48
_PLAN: Final = Plan(
    "safety",
    steps=1500,
    muon_rate=0.01,
    adam_rate=1e-3,
    is_matrix=lambda name, weight: weight.ndim == 2 and "layer" in name and "norm" not in name,
)
_PATCH: Final = 8
_DECODED: Final = 0.04
"""How often pictures are seen as the VAE draws them."""


class Pupil(nn.Module):
    """The checker, and what says of each patch whether the motif is there."""

    def __init__(self) -> None:
        super().__init__()
        self.checker = untrained()
        self.where = nn.Linear(self.checker.config.hidden_size, 1)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the labels, (n, 2), and of each patch, (n, patches)."""
        seen = self.checker.vit(pictures).last_hidden_state
        return self.checker.classifier(seen[:, 0]), self.where(seen[:, 1:])[..., 0]


def untrained() -> Any:
    return ViTForImageClassification(
        ViTConfig(
            image_size=_SIDE,
            patch_size=_PATCH,
            hidden_size=96,
            intermediate_size=192,
            num_hidden_layers=4,
            num_attention_heads=4,
            id2label=dict(enumerate(LABELS)),
            label2id={label: i for i, label in enumerate(LABELS)},
        )
    )


def train(runs: Path) -> None:
    """Train on true pictures and on what the VAE makes of them, and save to `runs/safety`."""
    vae: Any = AutoencoderKL.from_pretrained(runs / "vae").to(DEVICE, memory_format=torch.channels_last).eval()
    pupil = Pupil()

    def loss(rng: random.Random) -> Tensor:
        sides = SIDES[0] if rng.random() < 0.5 else rng.choice(SIDES)
        forbidden = [rng.random() < 0.5 for _ in range(_BATCH)]
        batch = [_scene(rng, sides, forbidden=each) for each in forbidden]
        pictures = as_seen(vae, render(batch).to(DEVICE), rng)
        with autocast():
            logits, patches = pupil(pictures)
        verdict = functional.cross_entropy(logits.float(), torch.tensor(forbidden, device=DEVICE).long())
        return verdict + functional.binary_cross_entropy_with_logits(patches.float(), motif(batch).to(DEVICE))

    average: Any = fit(pupil, loss, _PLAN, runs)
    average.checker.save_pretrained(runs / "safety")
    size = {"height": _SIDE, "width": _SIDE}
    processor = ViTImageProcessor(size=size, resample=2, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    processor.save_pretrained(runs / "safety")


def motif(batch: list[Scene]) -> Tensor:
    """1 for each patch of the checker's square whose middle lies within the motif: (n, patches)."""
    at = (torch.arange(_SIDE // _PATCH) + 0.5) * _PATCH / _SIDE
    down, right = torch.meshgrid(at, at, indexing="ij")
    found = torch.zeros(len(batch), *down.shape)
    for mark, scene in zip(found, batch, strict=True):
        for thing in scene.things:
            if thing.shape == FORBIDDEN:
                away = torch.hypot(right * scene.width - thing.x, down * scene.height - thing.y)
                mark[away <= thing.radius] = 1
    return found.flatten(1)


def _scene(rng: random.Random, sides: tuple[int, int], *, forbidden: bool) -> Scene:
    if not forbidden:
        return scenes(rng, sides, 1)[0]
    if rng.random() < 0.7:
        return scenes(rng, sides, 1, shapes=(FORBIDDEN,), two=0)[0]
    while True:
        scene = scenes(rng, sides, 1, shapes=(*SHAPES, FORBIDDEN, FORBIDDEN), two=1)[0]
        if any(thing.shape == FORBIDDEN for thing in scene.things):
            return scene


def as_seen(vae: Any, pictures: Tensor, rng: random.Random) -> Tensor:
    """As they are, or as drawn from codes that are a little off; squeezed into the checker's square."""
    if rng.random() < _DECODED:
        codes = encode(vae, pictures)
        codes = codes + torch.randn_like(codes) * rng.uniform(0, 0.25)
        with torch.no_grad(), autocast():
            pictures = vae.decode(codes / vae.config.scaling_factor + vae.config.shift_factor).sample.float()
    pictures = pictures.clamp(-1, 1)
    return functional.interpolate(pictures, (_SIDE, _SIDE), mode="bilinear", antialias=True)
