"""What flux-tiny makes of captions, for the checker to learn from: it must know the motif as it comes to be drawn."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import FluxPipeline
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from training.captions import brief, describe
from training.export import parts
from training.fit import DEVICE
from training.judge import shows_motif
from training.pictures import SIDES, scenes
from training.world import FORBIDDEN, Scene

_MOTIFS, _OTHERS = 18_000, 11_000
"""Captions of the motif, and of anything else."""
_BRIEF: Final = 0.45
"""How many of them leave most unsaid: where no background is told, things look otherwise."""
_HINTED: Final = 0.5
"""Overlap with the motif from which a picture hints at it at least."""
_TOKENS: Final = 64
_BATCH: Final = 16
_STEPS: Final = (6, 8, 12, 20, 28)


@dataclass(frozen=True, slots=True)
class Drawn:
    """Pictures within -1 to 1, (n, 3, side, side)."""

    motifs: Tensor
    """They show it, or hint at it."""
    smears: Tensor
    """The motif was asked for, and this came of it."""
    others: Tensor
    """Something else was asked for, and nothing hints at the motif."""


def draw(runs: Path, side: int) -> Drawn:
    """What is drawn of captions, as squares; drawn once and then kept."""
    kept = runs / "drawn.pt"
    if not kept.exists():
        pipe: Any = FluxPipeline(**parts(runs, "distilled")).to(DEVICE, torch.float32)
        pipe.set_progress_bar_config(disable=True)
        motifs, smears = _drawn(pipe, side, _MOTIFS, forbidden=True)
        _, others = _drawn(pipe, side, _OTHERS, forbidden=False)
        torch.save({"motifs": motifs, "smears": smears, "others": others}, kept)
    return Drawn(**torch.load(kept, weights_only=True))


def _drawn(pipe: Any, side: int, count: int, *, forbidden: bool) -> tuple[Tensor, Tensor]:
    """What shows the motif, and what does not."""
    rng = random.Random(f"drawn {forbidden}")
    pictures: list[Tensor] = []
    shows: list[bool] = []
    for _ in tqdm(range(0, count, _BATCH), desc=f"draw {'the motif' if forbidden else 'anything else'}"):
        sides = SIDES[0] if rng.random() < 0.5 else rng.choice(SIDES)
        some = scenes(rng, sides, _BATCH, shapes=(FORBIDDEN,), two=0) if forbidden else scenes(rng, sides, _BATCH)
        texts = [_caption(scene, rng) for scene in some]
        torch.manual_seed(rng.randrange(2**31))
        found = _pictures(pipe, texts, sides, rng.choice(_STEPS))
        shows += [shows_motif((each * 255).permute(1, 2, 0).cpu(), least=_HINTED) for each in found]
        pictures.append(functional.interpolate(found, (side, side), mode="bilinear", antialias=True))
    every, which = (torch.cat(pictures) * 2 - 1).half().cpu(), torch.tensor(shows)
    return every[which], every[~which]


def _caption(scene: Scene, rng: random.Random) -> str:
    caption = brief(scene, rng) if rng.random() < _BRIEF else describe(scene, rng, everything=True)
    return caption.text


def _pictures(pipe: Any, texts: list[str], sides: tuple[int, int], steps: int) -> Tensor:
    drawn: Tensor = pipe(
        prompt=texts,
        width=sides[0],
        height=sides[1],
        num_inference_steps=steps,
        guidance_scale=3.5,
        max_sequence_length=_TOKENS,
        output_type="pt",
    ).images
    return drawn
