"""The safety checker: a transformers image classifier that says which pictures are held back.

It fails closed: whatever goes wrong is an error, never a pass.
"""

import math
from typing import Any

import torch
import transformers
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification

from fluxfarm.errors import WorkerFault
from worker.pipelines import Pixels, Verdict
from worker.pipelines.faults import LOADING_ERRORS, first_line

transformers.utils.logging.disable_progress_bar()


def load(location: str, *, labels: tuple[str, ...], threshold: float) -> "SafetyChecker":
    try:
        processor = AutoImageProcessor.from_pretrained(location, backend="pil")
        model, report = AutoModelForImageClassification.from_pretrained(
            location, use_safetensors=True, output_loading_info=True
        )
        if report["missing_keys"]:
            raise ValueError(f"it lacks {min(report['missing_keys'])}")
    except LOADING_ERRORS as error:
        raise WorkerFault(f"The safety checker cannot be loaded from {location}: {first_line(error)}") from error
    return SafetyChecker(model.eval(), processor, _blocking(model.config.id2label, labels), threshold)


def _blocking(known: dict[int, str], labels: tuple[str, ...]) -> dict[int, str]:
    wanted = {label.casefold() for label in labels}
    unknown = wanted - {label.casefold() for label in known.values()}
    if unknown or not wanted:
        # A label that never comes would be a checker that never blocks.
        raise WorkerFault(
            f"The safety checker has no label {min(unknown, default='')!r}; it has {', '.join(sorted(known.values()))}."
        )
    return {index: label for index, label in known.items() if label.casefold() in wanted}


class SafetyChecker:
    """Runs on the CPU, beside the device's thread."""

    def __init__(self, model: Any, processor: Any, blocking: dict[int, str], threshold: float) -> None:
        self._model, self._processor = model, processor
        self._blocking, self._threshold = blocking, threshold

    def check(self, pixels: Pixels) -> Verdict:
        """Judge one picture.

        Raises:
            WorkerFault: no verdict was reached, so the picture must not be handed out.

        """
        try:
            scores = self._scores(pixels)
        except (RuntimeError, ValueError, TypeError, KeyError, MemoryError) as error:
            raise WorkerFault(f"The safety checker failed: {first_line(error)}") from error
        index = max(self._blocking, key=lambda each: scores[each])
        if not all(math.isfinite(score) for score in scores):
            raise WorkerFault("The safety checker answered with something that is not a number.")
        return Verdict(self._blocking[index], scores[index], scores[index] >= self._threshold)

    @torch.no_grad()
    def _scores(self, pixels: Pixels) -> list[float]:
        inputs = self._processor(Image.fromarray(pixels), return_tensors="pt")
        logits = self._model(**inputs).logits[0].float()
        several = self._model.config.problem_type == "multi_label_classification"
        scores: list[float] = (logits.sigmoid() if several else logits.softmax(dim=-1)).tolist()
        return scores
