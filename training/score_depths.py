"""How well the depth estimator tells what is near: order and outline, on pictures of held-out combinations."""

from pathlib import Path
from typing import Any, Final

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from transformers import AutoImageProcessor, AutoModelForDepthEstimation

from training.asked import asked
from training.drawing import image_of, share
from training.world import Scene, outlines, two_things

_NEAR: Final = 1 / 3
"""How much of the way from the farthest to the nearest is near: about the middle of the step up to a thing."""


class Estimator:
    def __init__(self, folder: Path) -> None:
        self._processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
        self._model = AutoModelForDepthEstimation.from_pretrained(folder, dtype=torch.float32).eval()

    @torch.no_grad()
    def __call__(self, picture: Image.Image) -> Tensor:
        """Nearness from 0 to 1, (height, width)."""
        found = self._model(**self._processor(picture, return_tensors="pt")).predicted_depth[:, None]
        found = functional.interpolate(found, picture.size[::-1], mode="bicubic")[0, 0]
        spread: Tensor = (found - found.min()) / (found.max() - found.min()).clamp(min=1e-6)
        return spread


def depths(folder: Path, count: int) -> dict[str, float]:
    """Shares of scenes, of one thing and of two, whose things stand before the ground and are near as they lie."""
    estimator: Any = Estimator(folder)
    scenes = [scene for draw in ({}, {"draw": two_things}) for _, scene in asked(count, **draw)]
    found = [estimator(image_of(scene)) for scene in scenes]
    overlaps = [near_overlap(each, scene) for each, scene in zip(found, scenes, strict=True)]
    return {
        "order_right": share(in_order(each, scene) for each, scene in zip(found, scenes, strict=True)),
        "near_overlap_of_085": share(overlap >= 0.85 for overlap in overlaps),
        "near_overlap": round(sum(overlaps) / len(overlaps), 3),
    }


def in_order(found: Tensor, scene: Scene) -> bool:
    """Whether every thing is nearer than the ground, on the whole."""
    covered = outlines(scene.things, scene.width, scene.height) < 0
    ground = found[~covered.any(dim=0)]
    return all(bool(found[of_thing].mean() > ground.mean() + _NEAR) for of_thing in covered)


def near_overlap(found: Tensor, scene: Scene) -> float:
    """Intersection over union of what is near and what the things cover."""
    covered = (outlines(scene.things, scene.width, scene.height) < 0).any(dim=0)
    near = found > _NEAR
    return float((near & covered).sum() / (near | covered).sum().clamp(min=1))
