"""Stock diffusers pipelines, asked for pictures as scores and sheets ask: twenty steps, seeds 0, 1, 2 and so on."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from training.pictures import NATIVE_SIDE
from training.world import Scene, render

SQUARE: Final = (NATIVE_SIDE, NATIVE_SIDE)
STEPS: Final = 20
TOKENS: Final = 64
_BATCH: Final = 25


def load(pipeline: Any, folder: Path) -> Any:
    """A stock pipeline, quiet."""
    loaded = pipeline.from_pretrained(folder, dtype=torch.float32)
    loaded.set_progress_bar_config(disable=True)
    return loaded


def drawn(pipe: Any, texts: Sequence[str], title: str, **arguments: Any) -> list[Tensor]:
    """A picture for each text, seeds 0, 1, 2 …, as levels of 0 to 255, (height, width, 3)."""
    pictures: list[Tensor] = []
    for start in tqdm(range(0, len(texts), _BATCH), desc=title):
        some = list(texts[start : start + _BATCH])
        seeds = range(start, start + len(some))
        pictures += [levels_of(image) for image in pipe(prompt=some, **usual(seeds, **arguments)).images]
    return pictures


def usual(seeds: Iterable[int], **arguments: Any) -> dict[str, Any]:
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    usual = {"height": NATIVE_SIDE, "width": NATIVE_SIDE, "num_inference_steps": STEPS, "guidance_scale": 3.5}
    return {**usual, "max_sequence_length": TOKENS, "generator": generators, **arguments}


def levels(pictures: Tensor) -> Tensor:
    """Pictures (n, 3, height, width) within -1 to 1 as levels of 0 to 255: (n, height, width, 3)."""
    return ((pictures.clamp(-1, 1) + 1) * 127.5).round().permute(0, 2, 3, 1)


def image_of(scene: Scene) -> Image.Image:
    return Image.fromarray(levels(render([scene]))[0].byte().numpy())


def levels_of(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(image.convert("RGB")).astype(np.float32))


def share(right: Iterable[bool]) -> float:
    values = list(right)
    return round(sum(values) / len(values), 3)
