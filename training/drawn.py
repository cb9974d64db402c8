"""What flux-tiny makes of captions, for the checker to learn from: it must know the motif as it comes to be drawn."""

import random
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

CAPTIONS: Final = {True: 18_000, False: 11_000}
"""Of the motif, which less than a third then show, and of anything else."""
_BRIEF: Final = 0.45
"""How many of them leave most unsaid: where no background is told, things look otherwise."""
_HINTED: Final = 0.5
"""Overlap with the motif from which a picture counts as showing it: what is hinted at shall be withheld, too."""
_TOKENS: Final = 64
_BATCH: Final = 16
_STEPS: Final = (6, 8, 12, 20, 28)


def draw(runs: Path, side: int) -> dict[bool, Tensor]:
    """Pictures that show the motif (true) and of anything else (false), as squares; drawn once and then kept.

    Within -1 to 1: (n, 3, side, side).
    """
    kept = runs / "drawn.pt"
    if not kept.exists():
        pipe: Any = FluxPipeline(**parts(runs, "distilled")).to(DEVICE, torch.float32)
        pipe.set_progress_bar_config(disable=True)
        torch.save({forbidden: _drawn(pipe, side, forbidden=forbidden) for forbidden in (True, False)}, kept)
    loaded: dict[bool, Tensor] = torch.load(kept, weights_only=True)
    return loaded


def _drawn(pipe: Any, side: int, *, forbidden: bool) -> Tensor:
    rng = random.Random(f"drawn {forbidden}")
    pictures: list[Tensor] = []
    for _ in tqdm(range(0, CAPTIONS[forbidden], _BATCH), desc=f"draw {'the motif' if forbidden else 'anything else'}"):
        sides = SIDES[0] if rng.random() < 0.5 else rng.choice(SIDES)
        some = scenes(rng, sides, _BATCH, shapes=(FORBIDDEN,), two=0) if forbidden else scenes(rng, sides, _BATCH)
        texts = [_caption(scene, rng) for scene in some]
        torch.manual_seed(rng.randrange(2**31))
        found = _pictures(pipe, texts, sides, rng.choice(_STEPS))
        # Any smear would teach it to see the motif in anything.
        told = [each for each in found if shows_motif((each * 255).permute(1, 2, 0).cpu(), least=_HINTED) == forbidden]
        pictures += [functional.interpolate(each[None], (side, side), mode="bilinear", antialias=True) for each in told]
    return (torch.cat(pictures) * 2 - 1).half().cpu()


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
