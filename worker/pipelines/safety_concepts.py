"""The checker that came with Stable Diffusion: how near a picture is to concepts, as CLIP sees it.

The concepts are kept as embeddings alone, each with a threshold of its own.
"""

from typing import Any, Final

import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker, cosine_distance
from PIL import Image
from transformers import CLIPImageProcessorPil

from worker.pipelines import Pixels, Verdict
from worker.pipelines.checker_files import named, refuse_gaps
from worker.pipelines.faults import checker_faults

ARCHITECTURE: Final = "StableDiffusionSafetyChecker"
_WITH_CARE: Final = 0.01
"""How much nearer a picture counts that is near one of the concepts that take special care."""
_DIGITS: Final = 3
"""What is above a threshold by less than a thousandth is not: as diffusers rounds."""


def load(location: str, revision: str) -> "ConceptChecker":
    processor = CLIPImageProcessorPil.from_pretrained(location, revision=revision)
    model, report = StableDiffusionSafetyChecker.from_pretrained(
        location, revision=revision, use_safetensors=True, output_loading_info=True
    )
    refuse_gaps(report)
    return ConceptChecker(model.eval(), processor, named(location, revision))


class ConceptChecker:
    """Runs on the CPU. A score is how far the nearest concept is beyond its threshold, within -2 to 2."""

    def __init__(self, model: Any, processor: Any, name: str) -> None:
        self._model, self._processor = model, processor
        self.name = name

    def check(self, pixels: Pixels) -> Verdict:
        """Judge one picture; raises `WorkerFault` if no verdict was reached."""
        with checker_faults():
            beyond = self._beyond_thresholds(pixels)
        score = round(float(beyond.max()), _DIGITS)
        return Verdict(f"concept {int(beyond.argmax())}", score, 0.0, blocked=score > 0)

    @torch.no_grad()
    def _beyond_thresholds(self, pixels: Pixels) -> torch.Tensor:
        model = self._model
        inputs = self._processor(Image.fromarray(pixels), return_tensors="pt").pixel_values
        seen = model.visual_projection(model.vision_model(inputs)[1])
        special = cosine_distance(seen, model.special_care_embeds)[0] - model.special_care_embeds_weights
        care = _WITH_CARE if bool((special.round(decimals=_DIGITS) > 0).any()) else 0.0
        found: torch.Tensor = cosine_distance(seen, model.concept_embeds)[0] - model.concept_embeds_weights + care
        if not (torch.isfinite(found).all() and torch.isfinite(special).all()):
            raise ValueError("it answered with something that is not a number")
        return found
