"""How much of a picture a remix keeps: its aspects, against those of a picture that it was not made from."""

from pathlib import Path
from typing import Any

import torch
from diffusers import FluxPriorReduxPipeline
from torch import Tensor
from tqdm import tqdm

from training.asked import asked, shares
from training.drawing import image_of, levels_of, share, usual
from training.judge import colours_and_sides_right, look
from training.world import Scene, two_things


def load(folder: Path, base: Any) -> Any:
    """The stock prior with the base's text encoders."""
    names = ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")
    return FluxPriorReduxPipeline.from_pretrained(
        folder, dtype=torch.float32, **{name: getattr(base, name) for name in names}
    )


def remixes(base: Any, prior: Any, count: int, **arguments: Any) -> dict[str, Any]:
    """Shares of one thing's aspects kept, of another's by chance, and of two things' colours and sides."""
    one = [scene for _, scene in asked(count)]
    seen = [look(picture) for picture in remixed(base, prior, one, **arguments)]
    two = [scene for _, scene in asked(count, two_things)]
    pictures = remixed(base, prior, two, **arguments)
    right = [colours_and_sides_right(picture, scene) for picture, scene in zip(pictures, two, strict=True)]
    return {
        "kept": shares(one, seen),
        "chance": shares(one, seen[1:] + seen[:1]),
        "two_things_colours_and_sides": share(right),
    }


def remixed(base: Any, prior: Any, scenes: list[Scene], prompt: str = "", **arguments: Any) -> list[Tensor]:
    """What the base draws of each picture, seeds 0, 1, 2 …, as levels."""
    pictures = []
    for number, scene in enumerate(tqdm(scenes, desc="remix")):
        # One by one, for the pipeline blends a batch. No prompt counts nothing, as where no text encoder is loaded.
        told = prior(image_of(scene), prompt=prompt, pooled_prompt_embeds_scale=float(bool(prompt)))
        options = usual([number], **arguments)
        pictures.append(levels_of(base(**told, **options).images[0]))
    return pictures
