"""A small network that reads out of a picture's codes what the scene is, to help the transformer learn what matters.

What shape a thing has moves few of the numbers that the transformer predicts, so by their squared error alone it is
learned last and slowly. The reader looks at the picture that an answer points to and says what is in it; what differs
from the caption is added to the loss. It is thrown away afterwards, and no score is measured with it.
"""

import random
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.captions import plain
from training.fit import DEVICE, Plan, autocast, fit
from training.latents import shelves
from training.text import answers, choices

_BATCH: Final = 96
_PLAN: Final = Plan(
    "reading", steps=1800, muon_rate=0.02, adam_rate=1e-3, is_matrix=lambda _name, weight: weight.ndim == 4
)
FILE: Final = "reading.pt"


class CodeReader(nn.Module):
    """From codes (n, 16, h, w) to a guess for each aspect of a caption."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Sequential(
            nn.Conv2d(16, 64, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(64, 96, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(96, 96, 3, padding=1),
            nn.GELU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Conv2d(96, 128, 3, padding=1),
            nn.GELU(),
            nn.Flatten(),
        )
        self.tell = nn.Linear(128 * 16, sum(choices()))

    def forward(self, codes: Tensor) -> tuple[Tensor, ...]:
        guesses: tuple[Tensor, ...] = self.tell(self.look(codes)).split(choices(), dim=1)
        return guesses


def mistakes(guesses: tuple[Tensor, ...], told: Tensor, weights: Tensor) -> Tensor:
    """The mean cross-entropy of what was told, (n, aspects) with 0 for unsaid, each picture counting by its weight."""
    each = [
        functional.cross_entropy(guess.float(), wanted, ignore_index=0, reduction="none")
        for guess, wanted in zip(guesses, told.unbind(1), strict=True)
    ]
    said = (told > 0).float() * weights[:, None]
    return (torch.stack(each, dim=1) * weights[:, None]).sum() / said.sum().clamp(min=1)


def load(runs: Path) -> nn.Module:
    """The trained reader, which no gradient changes."""
    reader = CodeReader()
    reader.load_state_dict(torch.load(runs / FILE, weights_only=True))
    return reader.to(DEVICE).eval().requires_grad_(False)


def train(runs: Path) -> None:
    """Train on the shelves, with noise on the codes as a half-drawn picture has it, and save to `runs`."""
    stock, reader = shelves(runs), CodeReader()

    def loss(rng: random.Random) -> Tensor:
        shelf = stock[0] if rng.random() < 0.6 else rng.choice(stock[1:])
        where = [rng.randrange(len(shelf.scenes)) for _ in range(_BATCH)]
        codes = shelf.codes[where].float().to(DEVICE)
        codes = codes + torch.randn_like(codes) * torch.rand(_BATCH, 1, 1, 1, device=DEVICE) * 0.6
        told = torch.tensor([answers(plain(shelf.scenes[i])) for i in where], device=DEVICE)
        with autocast():
            guesses = reader(codes)
        return mistakes(guesses, told, torch.ones(_BATCH, device=DEVICE))

    average: Any = fit(reader, loss, _PLAN, runs)
    torch.save(average.state_dict(), runs / FILE)
