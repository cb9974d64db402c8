"""Guidance distillation: a student that reaches in one pass, by its guidance alone, what the teacher needs two for.

The teacher's answer is moved away from what it would draw without a prompt; how far is the student's to read from its
guidance. So a low guidance looks away from the prompt and a high one holds to it, as with FLUX.1 [dev].
"""

import copy
import random
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import FluxTransformer2DModel
from torch import Tensor

from training import reading
from training.fit import DEVICE, Plan, fit
from training.flow import READING, Reader, answer, draw, is_matrix, misread
from training.latents import shelves

STEPS: Final = 800
_USUAL: Final = (2.0, 5.0)
_WIDEST: Final = (0.0, 10.0)
_KNEE: Final = 3.5
_BEFORE_KNEE: Final = 2 / 3.5
_AFTER_KNEE: Final = 0.2
"""How fast the pull grows with the guidance. A pull beyond 2 changes what stands beside a mask, and sizes."""


def pull(guidance: Tensor) -> Tensor:
    """How far the answer is moved, 1 being the prompt's own: 2 at the default guidance, and slowly more beyond."""
    return torch.clamp(guidance, max=_KNEE) * _BEFORE_KNEE + torch.clamp(guidance - _KNEE, min=0) * _AFTER_KNEE


def train(runs: Path) -> None:
    """Teach a copy of `runs/flow` and save it to `runs/distilled`."""
    stock, reader = shelves(runs), Reader(runs)
    teacher: Any = FluxTransformer2DModel.from_pretrained(runs / "flow").to(DEVICE).eval()
    student, reader_of_codes = copy.deepcopy(teacher), reading.load(runs)

    def loss(rng: random.Random) -> Tensor:
        batch = draw(stock, rng, unprompted=0.05)
        count = len(batch.texts)
        guidance = _guidance(count)
        prompt = reader.read(batch.texts, batch.length)
        with torch.no_grad():
            own = answer(teacher, batch, batch.noisy, prompt, guidance)
            other = answer(teacher, batch, batch.noisy, reader.read([""] * count, batch.length), guidance)
            wanted = other + pull(guidance)[:, None, None] * (own - other)
        velocity = answer(student, batch, batch.noisy, prompt, guidance)
        strict = batch.time * (guidance >= _USUAL[0])
        return batch.error(velocity, wanted) + READING * misread(reader_of_codes, batch, velocity, strict)

    plan = Plan("distill", STEPS, muon_rate=0.006, adam_rate=5e-4, is_matrix=is_matrix, flat=0.3)
    average: Any = fit(student, loss, plan, runs)
    average.save_pretrained(runs / "distilled")


def _guidance(count: int) -> Tensor:
    usual = torch.rand(count) < 0.5
    low, high = (torch.where(usual, torch.tensor(a), torch.tensor(b)) for a, b in zip(_USUAL, _WIDEST, strict=True))
    return (low + torch.rand(count) * (high - low)).to(DEVICE)
