"""Pictures of no scene: noise, clouds, gratings, and scenes that drown in them. There is nothing in them to find."""

import math
import random
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

_GRAINS: Final = (2, 3, 4, 6, 8, 16, 32, 64)


def strange(ordinary: Tensor, rng: random.Random) -> Tensor:
    """As many pictures as these ordinary ones, (n, 3, side, side) within -1 to 1; some with something of them left."""
    made = torch.stack([_clouds(ordinary.shape[-1], rng) for _ in ordinary])
    kept = torch.tensor([max(0.0, rng.uniform(-1, 0.9)) for _ in ordinary])[:, None, None, None]
    return (made * (1 - kept) + ordinary * kept).clamp(-1, 1)


def _clouds(side: int, rng: random.Random) -> Tensor:
    """Noise of a few grains on top of each other, or a grating; in colour or gray."""
    if rng.random() < 0.2:
        return _grating(side, rng)
    field = torch.zeros(3, side, side)
    for _ in range(rng.randint(1, 3)):
        grain = min(rng.choice(_GRAINS), side)
        noise = torch.randn(1, rng.choice((1, 3)), grain, grain)
        field = field + functional.interpolate(noise, (side, side), mode=rng.choice(("nearest", "bicubic")))[0]
    return (field * rng.uniform(0.2, 1.2) + torch.randn(3, 1, 1) * rng.uniform(0, 0.8)).clamp(-1, 1)


def _grating(side: int, rng: random.Random) -> Tensor:
    angle, turns = rng.uniform(0, math.pi), rng.uniform(1, 16)
    at = torch.linspace(0, 2 * math.pi, side)
    down, right = torch.meshgrid(at, at, indexing="ij")
    wave = torch.sin((right * math.cos(angle) + down * math.sin(angle)) * turns)
    return wave * torch.rand(3, 1, 1) + torch.randn(3, 1, 1) * 0.3
