"""The depth of a picture, through transformers: Depth-Anything, or another estimator of its form."""

from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForDepthEstimation

from fluxfarm.errors import WorkerFault
from worker.pipelines.faults import LOADING_ERRORS, first_line


class DepthEstimator:
    def __init__(self, model: Any, processor: Any, device: torch.device) -> None:
        self._model, self._processor, self._device = model, processor, device

    @classmethod
    def load(cls, location: str, device: torch.device) -> Self:
        """Load from a directory or the hub; raises `WorkerFault` if it is missing or wrong."""
        try:
            processor = AutoImageProcessor.from_pretrained(location, backend="pil")
            model, report = AutoModelForDepthEstimation.from_pretrained(
                location, use_safetensors=True, output_loading_info=True
            )
            if report["missing_keys"]:
                raise ValueError(f"it lacks {min(report['missing_keys'])}")
        except LOADING_ERRORS as error:
            raise WorkerFault(f"The depth estimator cannot be loaded from {location}: {first_line(error)}") from error
        return cls(model.eval().to(device), processor, device)

    @torch.no_grad()
    def depth(self, picture: Image.Image) -> Image.Image:
        """Near is white, far is black; as large as the picture."""
        inputs = self._processor(picture.convert("RGB"), return_tensors="pt").to(self._device)
        found = self._model(**inputs).predicted_depth.float()[:, None]
        found = torch.nn.functional.interpolate(found, picture.size[::-1], mode="bicubic", align_corners=False)
        span = (found.max() - found.min()).clamp(min=1e-6)
        levels = ((found - found.min()) / span * 255).round()[0, 0].cpu().numpy().astype(np.uint8)
        return Image.fromarray(levels).convert("RGB")
